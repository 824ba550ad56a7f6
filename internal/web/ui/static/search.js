// Boxes of filters complete, and a range of the graph can be dragged.
"use strict";
(() => {
  let boxes = 0;
  const begin = () => {
    for (const box of document.querySelectorAll("#search:not([data-plain]), [data-complete]")) {
      if (!box.hasAttribute("aria-autocomplete")) complete(box, boxes++);
    }
  };
  begin();
  document.addEventListener("htmx:afterSettle", begin);
  for (const svg of document.querySelectorAll(".graph > svg[data-step]")) drag(svg);

  function complete(input, n) {
    const single = input.tagName === "INPUT"; // a text of several lines is no combobox
    const list = document.createElement("ul");
    list.className = "suggest";
    list.id = n ? "suggest-of-" + n : "suggest";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Suggestions");
    list.hidden = true;
    input.after(list);
    if (single) input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    const expanded = (yes) => { if (single) input.setAttribute("aria-expanded", String(yes)); };
    expanded(false);
    let token = "", at = -1, asked = 0, timer = 0;

    const hide = () => {
      list.hidden = true;
      at = -1;
      expanded(false);
      input.removeAttribute("aria-activedescendant");
    };
    const mark = (n) => {
      at = n;
      [...list.children].forEach((li, i) => li.setAttribute("aria-selected", String(i === n)));
      if (n < 0) return;
      list.children[n].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", list.children[n].id);
    };
    const take = (li) => {
      const caret = input.selectionStart;
      const from = caret - token.length;
      input.setRangeText(li.dataset.text, from, caret, "end");
      input.dispatchEvent(new Event("input", { bubbles: true }));
      hide();
      input.focus();
      ask();
    };
    const ask = async () => {
      const turn = ++asked;
      const before = input.value.slice(0, input.selectionStart);
      let got;
      try {
        const r = await fetch("/events/complete?text=" + encodeURIComponent(before));
        if (!r.ok) return;
        got = await r.json();
      } catch { return; }
      if (turn !== asked || document.activeElement !== input) return;
      token = got.token;
      list.replaceChildren(...got.items.map((item, i) => {
        const li = document.createElement("li");
        li.id = list.id + "-" + i;
        li.setAttribute("role", "option");
        li.dataset.text = item.text;
        const name = document.createElement("bdi");
        name.textContent = item.label;
        const doc = document.createElement("small");
        doc.textContent = item.doc;
        li.append(name, doc);
        li.addEventListener("mousedown", (ev) => { ev.preventDefault(); take(li); });
        return li;
      }));
      list.hidden = got.items.length === 0;
      expanded(!list.hidden);
      mark(-1);
    };
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(ask, 80);
    });
    input.addEventListener("blur", hide);
    input.addEventListener("keydown", (ev) => {
      if (ev.key === "ArrowDown" && list.hidden && !input.value.includes("\n")) return void ask();
      if (list.hidden) return;
      if (ev.key === "ArrowDown") mark((at + 1) % list.children.length);
      else if (ev.key === "ArrowUp") mark((at + list.children.length - (at < 0 ? 0 : 1)) % list.children.length);
      else if ((ev.key === "Enter" || ev.key === "Tab") && at >= 0) take(list.children[at]);
      else if (ev.key === "Escape") { ev.stopPropagation(); return void hide(); }
      else return;
      ev.preventDefault();
    });
  }

  function drag(svg) {
    const first = Number(svg.dataset.first), step = Number(svg.dataset.step), until = Number(svg.dataset.until);
    const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
    const bars = Math.max(1, Math.ceil((until - first) / step));
    const barAt = (ev) => {
      const box = svg.getBoundingClientRect();
      return Math.min(bars - 1, Math.max(0, Math.floor((ev.clientX - box.left) / box.width * bars)));
    };
    let from = -1, rect = null;
    svg.addEventListener("pointerdown", (ev) => {
      if (ev.button !== 0) return;
      from = barAt(ev);
      rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("class", "range");
      rect.setAttribute("y", "0");
      rect.setAttribute("height", String(height));
      svg.append(rect);
      svg.setPointerCapture(ev.pointerId);
      move(ev);
    });
    const move = (ev) => {
      if (!rect) return;
      const to = barAt(ev), low = Math.min(from, to), high = Math.max(from, to) + 1;
      rect.setAttribute("x", String(low * width / bars));
      rect.setAttribute("width", String((high - low) * width / bars));
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointercancel", () => { if (rect) rect.remove(); rect = null; });
    svg.addEventListener("pointerup", (ev) => {
      if (!rect) return;
      const to = barAt(ev), low = Math.min(from, to), high = Math.max(from, to) + 1;
      const url = new URL(location.pathname === "/events" ? location.href : "/events", location.origin);
      url.searchParams.delete("cursor");
      url.searchParams.set("since", new Date(first + low * step).toISOString());
      url.searchParams.set("until", new Date(first + high * step).toISOString());
      location.href = url;
    });
  }
})();
