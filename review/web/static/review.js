// The queue by keyboard, what others do as they do it, and the way back from a verdict.
// Everything here only presses buttons of the page: what a key does, a form does without scripts.
"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = () => document.getElementById("main");
  // What a page asks by itself keeps no session awake.
  const BY_ITSELF = { "X-By-Itself": "1" };
  // A key pressed twice by accident must not decide the case that came after the first press.
  const TWICE_MS = 250;
  let busy = false, coming = 0, decidedBy = "", decidedAt = 0;

  // Where one is in the list

  const links = () => all(".cases a");
  const opened = () => find(".cases a[aria-current]");

  function move(by) {
    const rows = links();
    if (!rows.length) return;
    const here = document.activeElement?.closest(".cases li")?.querySelector("a") ?? opened();
    const at = rows.indexOf(here);
    const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
    rows[next].focus({ preventScroll: true });
    rows[next].scrollIntoView({ block: "nearest" });
  }

  function mark(caseId) {
    for (const link of links()) {
      if (link.parentElement.dataset.case === caseId) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    main().classList.toggle("open", Boolean(caseId));
    main().dataset.case = caseId ?? "";
  }

  const chosen = () => all(".cases input:checked");

  function countChosen() {
    const counter = find("#bulk-bar .count");
    if (counter) counter.textContent = `${chosen().length} selected`;
  }

  // Keys

  function press(selector) {
    const button = find(selector);
    if (!button || button.disabled) return false;
    if (busy && button.closest("form")?.method === "post") return true;
    button.click();
    return true;
  }

  // A verdict is on the case that one sees: not on the one before it while another is on its way.
  function onCase(selector) {
    if (coming) {
      say("Not done: another case is on its way.");
      return true;
    }
    return press(selector);
  }

  function verdict(word) {
    const now = performance.now(), isTwice = word === decidedBy && now - decidedAt < TWICE_MS;
    [decidedBy, decidedAt] = [word, now];
    if (isTwice) return;
    if (chosen().length) press(`#bulk-bar button[value="${word}"]`);
    // Not what is in a menu: another verdict on a case that has one is no slip of a key.
    else if (!onCase(`.acts > form > button[value="${word}"]`)) say(whyNot());
  }

  function whyNot() {
    if (!find("#case")?.dataset.case) return "Open a case first: j and k move, Enter opens.";
    const why = find("#case .notice.warn, #case .notice.good");
    return why ? why.textContent.trim() : "You may look at cases, and not decide them.";
  }

  function select() {
    const row = document.activeElement?.closest(".cases li") ?? opened()?.parentElement;
    const box = row && find("input", row);
    if (!box) return;
    box.checked = !box.checked;
    countChosen();
  }

  function field(selector) {
    const found = find(selector);
    found?.focus();
    found?.scrollIntoView({ block: "center" });
  }

  // Within a menu that is open arrows go from one of its buttons to the next.
  function within(menu, by) {
    const buttons = all("button, a", menu), at = buttons.indexOf(document.activeElement);
    buttons[(at + by + buttons.length) % buttons.length]?.focus();
  }

  const KEYS = {
    j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
    f: () => verdict("fraud"), l: () => verdict("legit"), o: () => verdict("unknown"),
    e: () => onCase("#escalate"), u: () => press("#undo"), c: () => press("#claim") || press("#release"), n: () => press("#next"),
    x: select, a: () => field("#to"), w: () => field("#note"), i: () => field("#url"),
    s: () => {
      const menu = document.getElementById("snooze");
      if (!menu) return;
      menu.open = !menu.open;
      if (menu.open) find("button", menu).focus();
    },
    "/": () => find("#search")?.select() ?? find("#search")?.focus(),
    "?": () => document.getElementById("keys").showModal(),
    Escape: () => {
      const filters = find("#filters[open]");
      if (filters) {
        filters.open = false;
        find("summary", filters).focus();
        return;
      }
      for (const box of chosen()) box.checked = false;
      countChosen();
    },
  };

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    const sends = event.key === "Enter" && target.matches?.("textarea");
    if (((event.ctrlKey || event.metaKey) && !sends) || event.altKey || event.isComposing || find("dialog[open]")) return;
    if (target.matches?.("textarea, select, input:not([type=checkbox])")) {
      if (event.key === "Escape") {
        target.blur();
        if (find("#filters[open]")) KEYS.Escape();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) target.form?.requestSubmit();
      return;
    }
    const menu = target.closest?.("details.menu[open]");
    if (menu && /^Arrow(Up|Down)$/.test(event.key)) {
      event.preventDefault();
      within(menu, event.key === "ArrowDown" ? 1 : -1);
      return;
    }
    if (event.repeat && !/^[jk]$|^Arrow/.test(event.key)) return;
    if (/^Arrow/.test(event.key) && !target.closest?.(".cases")) return;
    const act = KEYS[event.key];
    if (!act) return;
    if (event.key !== "Escape") event.preventDefault();
    act();
  });

  // What was just done, and the time left to take it back

  function say(text) {
    const old = document.getElementById("said");
    const said = document.createElement("div");
    said.id = "said";
    said.className = "toast";
    said.setAttribute("role", "status");
    said.textContent = text;
    if (old) old.replaceWith(said); else document.body.append(said);
    setTimeout(() => said.remove(), 8000);
  }

  let ticking = 0;
  function countDown() {
    clearInterval(ticking);
    const toast = document.getElementById("toast");
    if (!toast) return;
    // The list comes anew under a bar that stays; its time does not begin anew with it.
    toast.dataset.ends ??= Date.now() + Number(toast.dataset.left) * 1000;
    const ends = Number(toast.dataset.ends);
    const tick = () => {
      const left = (ends - Date.now()) / 1000;
      if (left <= 0 || !toast.isConnected) {
        clearInterval(ticking);
        toast.remove();
        return;
      }
      const progress = find("progress", toast), seconds = find(".left", toast);
      if (progress) progress.value = left;
      if (seconds) seconds.textContent = `${Math.ceil(left)} s`;
    };
    tick();
    ticking = setInterval(tick, 250);
  }

  // Before and after htmx puts something else in place: what a person had in hand stays there

  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target, xhr = event.detail.xhr;
    if (xhr.status >= 400 && !(xhr.getResponseHeader("content-type") ?? "").includes("html")) {
      event.detail.shouldSwap = false;
      say(xhr.responseText.trim() || `The server answered ${xhr.status}.`);
      return;
    }
    if (target.id !== "main" && target.id !== "list") return;
    const pane = find("#case"), active = document.activeElement;
    kept = {
      top: find("#scroll")?.scrollTop ?? 0, boxes: chosen().map((box) => box.value), main: target.id === "main",
      case: pane?.dataset.case, caseTop: pane?.scrollTop ?? 0,
      // Who writes notes goes on writing, who searches goes on to what was found.
      field: active?.closest("#case form")?.querySelector("textarea, select, input:not([type=hidden])")?.id,
      searched: Boolean(active?.closest(".search")),
    };
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (kept) {
      const scroll = find("#scroll");
      if (scroll) scroll.scrollTop = kept.top;
      if (!kept.main) for (const box of all(".cases input")) box.checked = kept.boxes.includes(box.value);
    }
    if (event.detail.target.id === "case") mark(find("#case")?.dataset.case);
    if (event.detail.target.id === "main" || event.detail.target.id === "case") {
      opened()?.scrollIntoView({ block: "nearest" });
      const pane = find("#case"), isSame = Boolean(kept?.main && pane?.dataset.case && kept.case === pane.dataset.case);
      if (isSame) pane.scrollTop = kept.caseTop;
      const found = kept?.searched && !pane?.dataset.case ? links()[0] : null;
      const goesTo = (isSame && kept.field && document.getElementById(kept.field)) || found || find("#case h2");
      if (document.activeElement === document.body || kept?.main) goesTo?.focus({ preventScroll: true });
      if (main().dataset.said) find("#spoken").textContent = main().dataset.said;
    }
    if (event.detail.target.id === "list") mark(main().dataset.case);
    kept = null;
    countChosen();
    countDown();
  });
  const opens = ({ target, requestConfig }) =>
    requestConfig.verb === "get" && ["main", "case"].includes(target?.id) && !("X-By-Itself" in requestConfig.headers);
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.requestConfig.verb !== "get") busy = true;
    else if (opens(event.detail)) coming += 1;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig.verb !== "get") busy = false;
    else if (opens(event.detail)) coming = Math.max(0, coming - 1);
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => say("The server did not answer. Look at the case before you try again."));
  }
  document.addEventListener("htmx:responseError", (event) => {
    say(`The server answered ${event.detail.xhr.status}. Look at the case before you try again.`);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".cases input")) countChosen();
  });

  // What others do, as they do it

  let source = null, lastId = "", waits = 1, refreshing = 0, pointed = 0, alive = 0;
  document.addEventListener("pointermove", (event) => {
    if (event.target.closest?.("#list")) pointed = Date.now();
    alive = Date.now();
  });
  document.addEventListener("keydown", () => { alive = Date.now(); });

  function refresh() {
    if (refreshing || !document.getElementById("list")) return;
    const wait = () => {
      // Nothing moves under a pointer that is about to press, nor while a verdict is on its way.
      if (busy || Date.now() - pointed < 1200) {
        refreshing = setTimeout(wait, 300);
        return;
      }
      refreshing = 0;
      const address = new URL("/review/list" + (main().dataset.filter ?? ""), location.href);
      address.searchParams.set("shown", String(Math.max(links().length, 1)));
      htmx.ajax("GET", address.pathname + address.search, { target: "#list", select: "#list", swap: "outerHTML", headers: BY_ITSELF });
    };
    refreshing = setTimeout(wait, 350);
  }

  function touched(deed) {
    refresh();
    const pane = document.getElementById("case");
    if (!pane || deed.case !== main().dataset.case || deed.by === main().dataset.me) return;
    const typing = all("textarea, input[type=text], input[type=url]", pane).some((field) => field.value !== field.defaultValue);
    if (typing || busy) find("#stale")?.removeAttribute("hidden");
    else htmx.ajax("GET", location.pathname + location.search, { target: "#case", select: "#case", swap: "outerHTML", headers: BY_ITSELF });
  }

  function state(word, text) {
    const link = document.getElementById("link");
    link.dataset.state = word;
    link.textContent = text;
  }

  function listen() {
    source = new EventSource("/review/events" + (lastId ? `?after=${encodeURIComponent(lastId)}` : ""));
    source.addEventListener("open", () => {
      if (waits > 1) refresh();
      waits = 1;
      state("live", "live");
    });
    source.addEventListener("deed", (event) => {
      lastId = event.lastEventId;
      touched(JSON.parse(event.data));
    });
    source.addEventListener("again", (event) => {
      lastId = event.lastEventId;
      refresh();
    });
    source.addEventListener("error", () => {
      state("lost", "not live");
      waits = Math.min(waits * 2, 16);
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      setTimeout(listen, (waits + Math.random()) * 500);
      if (waits >= 8) refresh();
    });
  }
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // A claim is held as long as somebody is there.
  setInterval(() => {
    const form = document.getElementById("touch");
    if (!form || Date.now() - alive > 60000) return;
    fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "HX-Request": "true" } }).catch(() => {});
  }, 60000);

  document.addEventListener("DOMContentLoaded", () => {
    opened()?.scrollIntoView({ block: "nearest" });
    countChosen();
    countDown();
    lastId = main().dataset.after;
    listen();
    document.getElementById("show-keys")?.addEventListener("click", () => KEYS["?"]());
  });
})();
