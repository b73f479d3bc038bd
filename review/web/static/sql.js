// The SQL console: Ctrl+Enter runs, a column's name goes where the caret is, and a mistake is where the caret goes.
"use strict";
const query = document.getElementById("query"), sql = document.getElementById("sql");

function showMistake() {
  const wrong = document.querySelector("#answer [data-line]");
  if (!wrong) return;
  const lines = sql.value.split("\n"), line = Number(wrong.dataset.line) - 1;
  const start = lines.slice(0, line).reduce((sum, one) => sum + one.length + 1, 0) + Number(wrong.dataset.column) - 1;
  const word = /^\w*/.exec(sql.value.slice(start))[0].length;
  sql.focus();
  sql.setSelectionRange(start, start + Math.max(word, 1));
}

if (query) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      const run = document.getElementById("run");
      if (!run.disabled) query.requestSubmit(run);
    }
  });
  for (const button of document.querySelectorAll("[data-insert]")) {
    button.addEventListener("click", () => {
      sql.setRangeText(button.dataset.insert, sql.selectionStart, sql.selectionEnd, "end");
      sql.focus();
    });
  }
  // These go to pages of their own: a file, and the page with what is kept now.
  for (const button of document.querySelectorAll("[data-plain]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      query.action = button.getAttribute("formaction");
      query.submit();
      query.action = "/sql";
    });
  }
  let began = 0, timer = 0;
  document.addEventListener("htmx:beforeRequest", () => {
    const run = document.getElementById("run");
    began = Date.now();
    timer = setInterval(() => { run.firstChild.textContent = `Running, ${Math.round((Date.now() - began) / 1000)} s `; }, 500);
  });
  document.addEventListener("htmx:afterRequest", () => {
    clearInterval(timer);
    document.getElementById("run").firstChild.textContent = "Run ";
  });
  document.addEventListener("htmx:afterSettle", showMistake);
  showMistake();
}
