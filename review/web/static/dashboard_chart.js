// One chart of the live dashboard, drawn by uPlot: its lines, its legend, its limits, and the cursor by keyboard.
// `view` is the page's: `now` and `seconds` say what is in sight, `hidden` which lines are not.
"use strict";
const Chart = (() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const HEIGHT = 200;

  // Numbers in words, for axes and legends; tiles come written

  function digits(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
    if (size >= 100) return Math.round(value).toLocaleString("en");
    return String(+value.toPrecision(size < 0.1 ? 2 : 3));
  }
  const UNITS = {
    share: (value) => `${+(value * 100).toPrecision(value < 0.1 ? 2 : 3)}%`,
    ms: (value) => `${digits(value)} ms`,
    s: (value) => `${digits(value)} s`,
    "/s": (value) => `${digits(value)}/s`,
    "/min": (value) => `${digits(value)}/min`,
    number: digits,
  };

  // Colours are the style sheet's, whichever theme is on

  const probe = document.createElement("span");
  probe.hidden = true;
  const inks = new Map();
  function ink(name) {
    if (!inks.has(name)) {
      probe.className = `k${name}`;
      inks.set(name, getComputedStyle(probe).color);
    }
    return inks.get(name);
  }

  // On a logarithmic axis: 1, 2, 5 and no more.
  const ROUND = (u, splits) => splits.map((split) => split > 0 && /^[125]e/.test(split.toExponential()) ? split : null);

  return class Chart {
    constructor(figure, view) {
      this.view = view;
      this.spec = JSON.parse(figure.dataset.chart);
      this.plot = find(".plot", figure);
      this.keys = find(".keys", figure);
      this.nothing = find(".nothing", figure);
      this.names = [];
      this.uplot = null;
      this.write = UNITS[this.spec.unit];
      this.plot.addEventListener("keydown", (event) => this.pressed(event));
      this.plot.addEventListener("blur", () => this.uplot?.setCursor({ left: -10, top: -10 }));
    }

    namesIn(store) {
      const has = (name) => store.v[name]?.some((value) => value !== null);
      return this.spec.names.flatMap((pattern) => pattern.endsWith(".*")
        ? Object.keys(store.v).filter((name) => name.startsWith(pattern.slice(0, -1)) && has(name)).sort()
        : has(pattern) ? [pattern] : []);
    }
    label(name) {
      const part = name.slice(name.indexOf(".") + 1);
      if (this.spec.labels[name]) return this.spec.labels[name];
      return name.startsWith("held_per_min") ? `${part} held` : name.startsWith("stopped_per_min") ? `${part} declined` : part;
    }
    colour(index) { return this.spec.colours[this.names[index]] ?? index % 5; }

    draw(store) {
      const names = this.namesIn(store);
      this.nothing.hidden = names.length > 0;
      if (!names.length) {
        this.clear();
        return;
      }
      const columns = [store.t, ...names.map((name) => store.v[name])];
      if (!this.uplot || names.join() !== this.names.join()) this.build(names, columns);
      else this.uplot.setData(columns);
      this.say();
    }
    clear() {
      this.uplot?.destroy();
      this.uplot = null;
      this.names = [];
      this.keys.replaceChildren();
    }

    build(names, columns) {
      const focused = document.activeElement?.closest?.(".keys") === this.keys ? document.activeElement.dataset.name : null;
      this.clear();
      this.names = names;
      const soft = () => ink("soft"), rule = () => ink("rule");
      const axis = { stroke: soft, grid: { stroke: rule, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      this.uplot = new uPlot({
        width: Math.max(this.plot.clientWidth, 120), height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: "live" }, points: { size: 6 } },
        padding: [8, 8, 0, 0],
        scales: {
          x: { time: true, range: () => [this.view.now - this.view.seconds, this.view.now] },
          y: this.spec.log
            ? { distr: 3, range: (u, low, high) => [Math.min(low ?? 1, 1) * 0.8, Math.max(high ?? 1, ...this.spec.limits.map((limit) => limit[0])) * 1.4] }
            : { range: (u, low, high) => [Math.min(low ?? 0, 0), (Math.max(high ?? 0, 0) || 1) * 1.08] },
        },
        axes: [
          { ...axis, size: 28, space: 70, values: "{HH}:{mm}", ...this.times() },
          { ...axis, size: (u, splits) => 14 + 6.7 * Math.max(4, ...(splits ?? []).map((split) => split?.length ?? 0)), space: 32, values: (u, splits) => splits.map((split) => split === null ? "" : this.write(split)),
            ...(this.spec.log ? { filter: ROUND, grid: { ...axis.grid, filter: ROUND } } : {}) },
        ],
        series: [{}, ...names.map((name, index) => ({
          label: this.label(name), width: 1.6, points: { show: false }, spanGaps: false,
          stroke: () => ink(this.colour(index)), dash: index > 4 ? [5, 4] : undefined, show: !this.view.hidden.has(this.spec.id + name),
        }))],
        hooks: { draw: [(u) => this.limits(u)], setCursor: [() => this.say()] },
      }, columns, this.plot);
      this.keys.replaceChildren(...names.map((name, index) => this.key(name, index)));
      if (focused) find(`[data-name="${CSS.escape(focused)}"]`, this.keys)?.focus();
    }
    times() {
      const pad = (number) => String(number).padStart(2, "0");
      const clock = (date) => `${pad(date.getHours())}:${pad(date.getMinutes())}`;
      return { values: (u, splits) => splits.map((at) => {
        const date = new Date(at * 1000);
        if (this.view.seconds <= 86400) return clock(date);
        return date.getHours() ? clock(date) : date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
      }) };
    }
    key(name, index) {
      const button = document.createElement("button"), swatch = document.createElement("i");
      const words = document.createElement("span"), value = document.createElement("b");
      button.type = "button";
      button.dataset.name = name;
      button.setAttribute("aria-pressed", String(!this.view.hidden.has(this.spec.id + name)));
      button.title = "Show or hide this line";
      swatch.className = `k${this.colour(index)}`;
      words.textContent = this.label(name);
      button.append(swatch, words, value);
      button.addEventListener("click", () => {
        const id = this.spec.id + name, shown = this.view.hidden.has(id);
        if (shown) this.view.hidden.delete(id); else this.view.hidden.add(id);
        button.setAttribute("aria-pressed", String(shown));
        this.uplot.setSeries(index + 1, { show: shown });
      });
      return button;
    }
    // Dashed lines for the budget and the like, where the scale reaches them.
    limits(u) {
      const context = u.ctx, { left, top, width, height } = u.bbox;
      context.save();
      context.fillStyle = ink("soft");
      context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      context.textAlign = "right";
      for (const [value, words] of this.spec.limits) {
        const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
        if (y < top || y > top + height) continue;
        context.beginPath();
        context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
        context.strokeStyle = ink("edge");
        context.lineWidth = devicePixelRatio;
        context.moveTo(left, y);
        context.lineTo(left + width, y);
        context.stroke();
        // A halo, so that it can be read where a line runs through it.
        context.setLineDash([]);
        context.strokeStyle = ink("card");
        context.lineWidth = 4 * devicePixelRatio;
        context.strokeText(words, left + width - 4, y - 4 * devicePixelRatio);
        context.fillText(words, left + width - 4, y - 4 * devicePixelRatio);
      }
      context.restore();
    }
    // The legend's values: where the cursor is, else the newest.
    say() {
      if (!this.uplot) return;
      const [times, ...columns] = this.uplot.data, at = this.uplot.cursor.idx ?? times.length - 1;
      all("button b", this.keys).forEach((place, index) => {
        const value = columns[index]?.[at] ?? null;
        const text = value === null ? "–" : this.write(value);
        if (place.textContent !== text) place.textContent = text;
      });
    }
    pressed(event) {
      if (!this.uplot || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key) || event.target !== this.plot) return;
      event.preventDefault();
      const times = this.uplot.data[0], last = times.length - 1;
      let first = times.findIndex((at) => at >= this.view.now - this.view.seconds);
      if (first < 0) first = 0;
      const step = Math.max(Math.round((last - first) / 60), 1) * (event.key === "ArrowLeft" ? -1 : 1);
      const here = this.uplot.cursor.idx ?? last;
      const to = event.key === "Home" ? first : event.key === "End" ? last : Math.min(Math.max(here + step, first), last);
      this.uplot.setCursor({ left: this.uplot.valToPos(times[to], "x"), top: HEIGHT / 2 });
      clearTimeout(this.reading);
      this.reading = setTimeout(() => {
        const values = all("button", this.keys).map((button) => `${find("span", button).textContent} ${find("b", button).textContent}`);
        document.getElementById("read").textContent = `${new Date(times[to] * 1000).toLocaleTimeString()}: ${values.join(", ")}`;
      }, 250);
    }
    resize() { this.uplot?.setSize({ width: Math.max(this.plot.clientWidth, 120), height: HEIGHT }); }
    recolour() { this.uplot?.redraw(false); }

    static begin() { document.body.append(probe); }
    static forgetColours() { inks.clear(); }
  };
})();
