// Writing rules: words as one types, and faults at their character. Without it the form says the same when it is sent.
"use strict";
(() => {
  const SHOWN = 40, PAUSE_MS = 250;
  const NAME = /[A-Za-z_]\w*$/;
  const csrf = () => document.querySelector('meta[name="csrf"]').content;

  async function vocabulary(address) {
    const answer = await fetch(address, { headers: { accept: "application/json" } });
    return answer.ok ? answer.json() : [];
  }

  // What fits at the caret: after "in" the kept lists; words that begin so before words that have it within.
  function fitting(words, before) {
    const typed = NAME.exec(before)?.[0] ?? "";
    const ahead = before.slice(0, before.length - typed.length);
    if (/["'][^"']*$/.test(ahead.replace(/"[^"]*"|'[^']*'/g, "")) || /\d$/.test(ahead)) return { typed, found: [] };
    const afterIn = /\bin\s+$/.test(ahead);
    const low = typed.toLowerCase();
    const found = words
      .filter((word) => (word.kind === "list") === afterIn)
      .map((word) => ({ word, at: word.text.toLowerCase().indexOf(low), begins: beginning(word.text, low) }))
      .filter(({ at, begins }) => at >= 0 || begins)
      .sort((a, b) => rank(a) - rank(b) || a.word.text.length - b.word.text.length || (a.word.text < b.word.text ? -1 : 1))
      .slice(0, SHOWN)
      .map(({ word }) => word);
    return { typed, found };
  }

  const rank = ({ at, begins }) => (at === 0 ? 0 : begins ? 1 : 2);

  // "cc1" finds card_count_1h: the letters begin its parts, in order.
  function beginning(text, low) {
    if (low.length < 2) return false;
    let place = 0;
    for (const part of text.toLowerCase().split("_")) if (part[0] === low[place]) place += 1;
    return place === low.length;
  }

  class Editor {
    constructor(form, box) {
      this.form = form;
      this.box = box;
      this.text = box.querySelector("textarea");
      this.back = box.querySelector(".code-back");
      this.list = box.querySelector(".code-words");
      this.says = form.querySelector(".code-says");
      this.spoken = form.querySelector("[data-spoken]");
      this.words = [];
      this.found = [];
      this.chosen = 0;
      this.checks = 0;
      this.text.setAttribute("aria-autocomplete", "list");
      this.text.setAttribute("aria-haspopup", "listbox");
      this.text.setAttribute("aria-controls", this.list.id);
      this.text.addEventListener("input", () => this.typed());
      this.text.addEventListener("keydown", (event) => this.pressed(event));
      this.text.addEventListener("blur", () => this.close());
      this.text.addEventListener("click", () => this.close());
      this.text.addEventListener("scroll", () => { this.back.scrollTop = this.text.scrollTop; });
      // Before the text loses the focus.
      this.list.addEventListener("pointerdown", (event) => {
        const option = event.target.closest("li");
        if (!option) return;
        event.preventDefault();
        this.take(this.found[[...this.list.children].indexOf(option)]);
      });
      this.grow();
      if (this.text.value.trim()) this.check();
    }

    typed() {
      this.grow();
      this.mark(null);
      this.complete(false);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.check(), PAUSE_MS);
    }

    grow() {
      this.text.style.height = "auto";
      this.text.style.height = `${Math.min(this.text.scrollHeight + 2, 420)}px`;
    }

    pressed(event) {
      const open = !this.list.hidden;
      if (event.key === " " && event.ctrlKey) {
        event.preventDefault();
        this.complete(true);
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.form.requestSubmit();
      } else if (!open) {
        return;
      } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        this.choose((this.chosen + (event.key === "ArrowDown" ? 1 : -1) + this.found.length) % this.found.length);
      } else if ((event.key === "Enter" || event.key === "Tab") && !event.shiftKey) {
        event.preventDefault();
        this.take(this.found[this.chosen]);
      } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        this.close();
      }
    }

    complete(asked) {
      const at = this.text.selectionStart;
      const { typed, found } = fitting(this.words, this.text.value.slice(0, at));
      const wanted = asked || typed.length > 0 || /\bin\s$/.test(this.text.value.slice(0, at));
      const isWhole = found.length > 0 && found[0].text === typed;
      if (at !== this.text.selectionEnd || !wanted || !found.length || (isWhole && !asked)) return this.close();
      this.found = found;
      this.list.replaceChildren(...found.map((word, place) => this.option(word, place)));
      this.list.hidden = false;
      this.place(at - typed.length);
      this.choose(0);
      this.spoken.textContent = `${found.length} words fit; arrow keys choose, Enter takes.`;
    }

    option(word, place) {
      const option = document.createElement("li");
      option.id = `${this.list.id}-${place}`;
      option.setAttribute("role", "option");
      for (const [tag, name, text] of [["code", "", word.text], ["span", "says", word.says], ["span", "kind", word.kind]]) {
        const part = document.createElement(tag);
        if (name) part.className = name;
        part.textContent = text;
        option.append(part);
      }
      return option;
    }

    // Below the word, as the copy behind the text has it.
    place(at) {
      const mark = this.write(at, 1);
      const { offsetLeft, offsetTop, offsetHeight } = mark;
      this.mark(null);
      const room = this.box.clientWidth - this.list.offsetWidth;
      this.list.style.left = `${Math.max(0, Math.min(offsetLeft, room))}px`;
      this.list.style.top = `${offsetTop - this.text.scrollTop + offsetHeight + 6}px`;
    }

    choose(place) {
      this.chosen = place;
      [...this.list.children].forEach((option, index) => {
        option.setAttribute("aria-selected", String(index === place));
        if (index === place) {
          option.scrollIntoView({ block: "nearest" });
          this.text.setAttribute("aria-activedescendant", option.id);
        }
      });
    }

    take(word) {
      const at = this.text.selectionStart, value = this.text.value;
      const typed = NAME.exec(value.slice(0, at))?.[0] ?? "";
      const after = word.kind === "function" ? "(" : word.kind === "sign" ? " " : "";
      this.close();
      this.text.focus();
      this.text.setSelectionRange(at - typed.length, at);
      // So that the browser's own undo takes it back.
      if (!document.execCommand("insertText", false, word.text + after)) {
        this.text.setRangeText(word.text + after, at - typed.length, at, "end");
        this.text.dispatchEvent(new Event("input"));
      }
      this.close();
      if (word.text === "in") this.complete(true);
    }

    close() {
      this.list.hidden = true;
      this.text.removeAttribute("aria-activedescendant");
      this.spoken.textContent = "";
    }

    async check() {
      const value = this.text.value, number = ++this.checks;
      if (!value.trim()) return this.say(null, "");
      let answer;
      try {
        const body = new URLSearchParams({ when: value });
        answer = await fetch(this.form.dataset.check, { method: "POST", body, headers: { "X-CSRF-Token": csrf() } });
        if (!answer.ok) throw new Error(String(answer.status));
        answer = await answer.json();
      } catch {
        if (number === this.checks) this.say(null, "It cannot be checked just now; it is when you save.");
        return;
      }
      if (number === this.checks && value === this.text.value) this.say(answer.fault, answer.fault ? "" : "Understood.");
    }

    say(fault, words) {
      this.mark(fault);
      this.text.toggleAttribute("aria-invalid", false);
      this.says.replaceChildren();
      this.says.className = `code-says small${fault ? " wrong" : words === "Understood." ? " good" : ""}`;
      if (!fault) {
        this.says.textContent = words;
        return;
      }
      this.text.setAttribute("aria-invalid", "true");
      const said = document.createElement("span");
      said.className = "fault-words";
      said.textContent = fault.message[0].toUpperCase() + fault.message.slice(1);
      const where = document.createElement("span");
      where.className = "soft";
      where.textContent = ` (line ${fault.line}, character ${fault.column})`;
      this.says.append(said, where);
    }

    mark(fault) {
      if (fault) this.write(fault.at, fault.length);
      else this.back.replaceChildren();
      this.back.scrollTop = this.text.scrollTop;
    }

    write(at, length) {
      const value = this.text.value, mark = document.createElement("mark");
      mark.textContent = value.slice(at, at + length) || " ";
      this.back.replaceChildren(value.slice(0, at), mark, value.slice(at + length));
      return mark;
    }
  }

  function actions(form) {
    const chosen = form.querySelector("[data-action]");
    const show = () => {
      for (const field of form.querySelectorAll("[data-of]")) field.hidden = field.dataset.of !== chosen.value;
    };
    chosen.addEventListener("change", show);
    show();
  }

  // A backtest that is done changes what may be done next; what somebody has typed meanwhile is not thrown away.
  function isTouched() {
    return [...document.querySelectorAll("main input:not([type=hidden]), main textarea")].some(
      (field) => (field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue));
  }

  document.addEventListener("backtest-done", () => {
    if (!isTouched()) location.reload();
    else for (const notice of document.querySelectorAll("[data-stale]")) notice.hidden = false;
  });

  document.addEventListener("DOMContentLoaded", async () => {
    const forms = [...document.querySelectorAll("form[data-vocabulary]")];
    const editors = forms.map((form) => new Editor(form, form.querySelector("[data-completes]")));
    forms.forEach(actions);
    if (!forms.length) return;
    const words = await vocabulary(forms[0].dataset.vocabulary);
    for (const editor of editors) editor.words = words;
    document.documentElement.dataset.words = String(words.length);
  });
})();
