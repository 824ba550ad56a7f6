// The editor of flows: numbers beside the lines, the way from a problem to its line,
// and lines that begin where the one before began.
"use strict";
(() => {
  const text = document.getElementById("document");
  if (!text) return;
  const lines = text.parentElement.querySelector(".lines");
  let count = 0;
  const number = () => {
    const now = text.value.split("\n").length;
    if (now !== count) {
      count = now;
      lines.textContent = Array.from({ length: now }, (_, i) => i + 1).join("\n");
    }
    lines.scrollTop = text.scrollTop;
  };
  lines.hidden = false;
  text.parentElement.classList.add("numbered");
  text.addEventListener("input", number);
  text.addEventListener("scroll", () => { lines.scrollTop = text.scrollTop; });
  number();

  document.addEventListener("click", (ev) => {
    const link = ev.target.closest("a[data-line]");
    if (!link) return;
    ev.preventDefault();
    const all = text.value.split("\n");
    const line = Math.min(Number(link.dataset.line), all.length);
    const at = all.slice(0, line - 1).reduce((sum, l) => sum + l.length + 1, 0);
    const place = at + Math.min(Math.max(Number(link.dataset.column) - 1, 0), all[line - 1].length);
    text.focus();
    text.setSelectionRange(place, at + all[line - 1].length);
    text.scrollTop = (line - 5) * (text.scrollHeight / all.length);
  });

  text.addEventListener("keydown", (ev) => {
    if (ev.key !== "Enter" || ev.isComposing || ev.ctrlKey || ev.metaKey || ev.altKey) return;
    const before = text.value.slice(0, text.selectionStart);
    const line = before.slice(before.lastIndexOf("\n") + 1);
    const indent = /^ *(?:- )?/.exec(line)[0].replace("-", " ") + (/:\s*$/.test(line) ? "  " : "");
    if (!indent) return;
    ev.preventDefault();
    // execCommand alone keeps undo.
    if (!document.execCommand("insertText", false, "\n" + indent)) text.setRangeText("\n" + indent, text.selectionStart, text.selectionEnd, "end");
    number();
  });
})();
