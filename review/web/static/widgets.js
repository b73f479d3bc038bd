// The page of widgets' links: a button that copies what is to be pasted.
"use strict";
const copy = document.getElementById("copy"), snippet = document.getElementById("snippet");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(snippet.value);
    copy.textContent = "Copied";
  });
}
