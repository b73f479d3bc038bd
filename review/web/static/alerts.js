// On every page: how many alerts fire. On their own page: how they stand, as long as nobody is filling in a form.
"use strict";

async function freshPart(address, id) {
  // By itself: a page that nobody looks at must not keep its session awake.
  const answer = await fetch(address, { headers: { "X-By-Itself": "1", accept: "text/html" }, redirect: "error" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
  const shown = document.getElementById(id);
  if (!fresh || !shown || fresh.isEqualNode(shown) || isBusy(shown)) return;
  shown.replaceWith(document.importNode(fresh, true));
}

function isBusy(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

document.addEventListener("DOMContentLoaded", () => {
  const refresh = () => {
    if (document.hidden) return;
    const onPage = document.getElementById("alerts-now") !== null;
    freshPart("/alerts/pill", "alert-pill").catch(() => {});
    if (onPage) freshPart("/alerts", "alerts-now").catch(() => {});
  };
  setInterval(refresh, 15000);
  document.addEventListener("visibilitychange", refresh);
});
