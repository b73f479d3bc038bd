// The live dashboard: numbers as the server says them, lines as they come in, and what was missed when a connection broke.
"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // What a page asks by itself keeps no session awake.
  const BY_ITSELF = { "X-By-Itself": "1" };
  const SPARK_S = 900, GAP_S = 90, STALE_MS = 30000, WIDE_EVERY_MS = 60000, BACK_S = 60;
  const main = document.getElementById("main");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // Times and values: `t` ascending, `v` an array of the same length for each name, null where nobody could say

  function emptyStore() { return { t: [], v: {}, gap: GAP_S }; }

  function push(store, at, values) {
    if (store.t.length && at <= store.t[store.t.length - 1]) return;
    // A hole, so that no line is drawn over a time in which nobody looked.
    if (store.t.length && at - store.t[store.t.length - 1] > store.gap) put(store, at - 1, {});
    put(store, at, values);
  }
  function put(store, at, values) {
    const before = store.t.length;
    store.t.push(at);
    for (const name in values) store.v[name] ??= new Array(before).fill(null);
    for (const name in store.v) store.v[name].push(values[name] ?? null);
  }
  function trim(store, since) {
    let drop = 0;
    while (drop < store.t.length && store.t[drop] < since) drop++;
    if (drop < 60) return;
    store.t.splice(0, drop);
    for (const name in store.v) store.v[name].splice(0, drop);
  }
  function loaded(answer) {
    const store = emptyStore();
    const steps = answer.t.slice(1).map((at, index) => at - answer.t[index]).sort((one, other) => one - other);
    if (steps.length) store.gap = Math.max(GAP_S, 2.5 * steps[steps.length >> 1]);
    answer.t.forEach((at, index) => {
      const values = {};
      for (const name in answer.v) values[name] = answer.v[name][index];
      push(store, at, values);
    });
    return store;
  }

  const state = { range: "15m", seconds: SPARK_S, recent: emptyStore(), wide: null, now: 0, hidden: new Set(), loading: 0 };

  // Tiles

  const text = (place, words) => { if (place.textContent !== words) place.textContent = words; };

  function fill(tiles) {
    for (const tile of tiles) {
      const place = document.getElementById(`tile-${tile.id}`);
      if (!place) continue;
      text(find("b", place), tile.value);
      text(find(".unit", place), tile.unit);
      text(find(".words", place), tile.note);
      const badge = find(".badge", place);
      badge.hidden = !tile.warning;
      badge.className = `badge ${tile.is_bad ? "fraud" : "warn"}`;
      text(badge, tile.warning);
      if (tile.is_bad || tile.warning) place.dataset.state = tile.is_bad ? "bad" : "warn";
      else delete place.dataset.state;
      place.dataset.series = tile.series;
    }
  }

  function sparks() {
    const { t, v } = state.recent, begin = state.now - SPARK_S;
    for (const place of all("#tiles a")) {
      const column = v[place.dataset.series] ?? [];
      const points = [];
      let high = 0;
      column.forEach((value, index) => {
        if (value === null || t[index] < begin) return;
        points.push([(t[index] - begin) / SPARK_S * 100, value]);
        if (value > high) high = value;
      });
      const scaled = points.map(([x, value]) => `${x.toFixed(1)} ${(26 - (high ? value / high : 0) * 23).toFixed(1)}`);
      const line = scaled.length > 1 ? `M${scaled.join("L")}` : "";
      find(".line", place).setAttribute("d", line);
      find(".area", place).setAttribute("d", line && `${line}L${points[points.length - 1][0].toFixed(1)} 28L${points[0][0].toFixed(1)} 28Z`);
    }
  }

  function rows(id, table, numbersFrom) {
    const body = document.getElementById(id), words = JSON.stringify(table);
    if (body.dataset.shown === words) return;
    body.dataset.shown = words;
    body.replaceChildren(...table.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((cell, index) => {
        const place = document.createElement("td");
        if (index >= numbersFrom) place.className = "n";
        place.textContent = cell;
        return place;
      }));
      return row;
    }));
    document.getElementById(`no-${id}`).hidden = table.length > 0;
  }

  function trouble(words) {
    const place = document.getElementById("trouble");
    if (place.textContent !== words) place.textContent = words;
    place.hidden = !words;
  }

  // Drawing, at most once a frame and only while somebody can see it

  let charts = [], drawing = 0;
  function redraw() {
    if (drawing || document.hidden) return;
    drawing = requestAnimationFrame(() => {
      drawing = 0;
      const store = state.wide ?? state.recent;
      for (const chart of charts) chart.draw(store);
      sparks();
    });
  }

  // Reading what was

  async function read(range) {
    const answer = await fetch(`/dashboard/series?range=${range}`, { headers: BY_ITSELF });
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async function load() {
    const turn = ++state.loading, range = state.range;
    try {
      const recent = await read("15m");
      const wide = range === "15m" ? null : await read(range);
      if (turn !== state.loading) return;
      const before = state.recent;
      state.recent = loaded(recent);
      // Ticks that came while this was on its way are newer than it.
      before.t.forEach((at, index) => {
        push(state.recent, at, Object.fromEntries(Object.keys(before.v).map((name) => [name, before.v[name][index]])));
      });
      state.wide = wide && loaded(wide);
      state.now = Math.max(state.now, recent.now);
      redraw();
    } catch (error) {
      if (turn === state.loading) setTimeout(load, 5000);
    }
  }

  function choose(link, event) {
    event?.preventDefault();
    for (const other of all(".ranges a")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    state.range = link.dataset.range;
    state.seconds = Number(link.dataset.seconds);
    if (event) history.replaceState(null, "", link.getAttribute("href"));
    if (state.range === "15m") state.wide = null;
    load();
  }

  // Ticks as they come

  let source = null, lastId = "", lastAt = 0, waits = 1;

  function link(word, words) {
    const place = document.getElementById("link");
    place.dataset.state = word;
    text(place, words);
  }
  function take(at, values) {
    push(state.recent, at, values);
    trim(state.recent, at - SPARK_S - 30);
    if (state.wide && state.range === "1h") {
      push(state.wide, at, values);
      trim(state.wide, at - 3630);
    }
    if (at > state.now) state.now = at;
  }
  // The clock of the pages was set back: what is drawn lies in a time to come, and would be all that is drawn until then.
  function backwards(at) {
    if (at >= state.now - BACK_S) return false;
    state.recent = emptyStore();
    state.wide = null;
    state.now = at;
    return true;
  }
  function heard(event) {
    if (event.lastEventId) lastId = event.lastEventId;
    lastAt = Date.now();
  }

  function listen() {
    source = new EventSource("/dashboard/events" + (lastId ? `?after=${encodeURIComponent(lastId)}` : ""));
    source.addEventListener("hello", () => {
      lastAt = Date.now();
      waits = 1;
      link("live", "live");
    });
    source.addEventListener("tick", (event) => {
      heard(event);
      const tick = JSON.parse(event.data);
      if (backwards(tick.t)) load();
      take(tick.t, tick.v);
      fill(tick.tiles);
      rows("models", tick.models, 2);
      rows("drifted", tick.drifted, 1);
      trouble(tick.trouble);
      link("live", "live");
      redraw();
    });
    source.addEventListener("missed", (event) => {
      heard(event);
      for (const [at, values] of JSON.parse(event.data).ticks) take(at, values);
      redraw();
    });
    source.addEventListener("again", (event) => {
      heard(event);
      backwards(Number(event.lastEventId) / 1000);
      load();
    });
    source.addEventListener("error", () => {
      link("lost", "not live");
      waits = Math.min(waits * 2, 16);
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      setTimeout(listen, (waits + Math.random()) * 500);
      if (waits >= 8) fetch("/dashboard/series?range=15m&name=events_per_s", { headers: BY_ITSELF }).then((answer) => { if (answer.status === 401) location.reload(); }, () => {});
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    Chart.begin();
    charts = all(".chart").map((figure) => new Chart(figure, state));
    const recolour = () => {
      Chart.forgetColours();
      for (const chart of charts) chart.recolour();
    };
    document.addEventListener("theme", recolour);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    if (!main.dataset.there) {
      link("live", "live");
      return;
    }
    for (const place of all(".ranges a")) {
      place.addEventListener("click", (event) => {
        if (!event.ctrlKey && !event.metaKey && !event.shiftKey) choose(place, event);
      });
    }
    let sizing = 0;
    new ResizeObserver(() => {
      cancelAnimationFrame(sizing);
      sizing = requestAnimationFrame(() => charts.forEach((chart) => chart.resize()));
    }).observe(main);
    document.addEventListener("visibilitychange", redraw);
    for (const place of all("#tiles a")) {
      place.addEventListener("click", (event) => {
        const figure = document.getElementById(place.hash.slice(1));
        event.preventDefault();
        history.replaceState(null, "", place.hash);
        figure.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "nearest" });
        find(".plot", figure).focus({ preventScroll: true });
      });
    }
    lastId = Number(main.dataset.after) ? main.dataset.after : "";
    choose(find(".ranges a[aria-current]"));
    listen();
    setInterval(() => { if (state.range !== "15m" && state.range !== "1h" && !document.hidden) load(); }, WIDE_EVERY_MS);
    // A connection may be gone without a word: then the browser is still waiting.
    setInterval(() => { if (Date.now() - lastAt > STALE_MS && lastAt) link("lost", "not live"); }, 5000);
  });
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
