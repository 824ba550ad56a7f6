// Pages about telling keep themselves up to date: the server says that something
// has changed, and what has changed of this page is taken from a new one.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live || !live.dataset.changes || !window.EventSource) return;
  live.hidden = false;
  const count = document.querySelector("[data-unseen]");
  const pause = 500;
  // The answer to a form is not at the address of its page: such a page says where it is.
  const part = document.querySelector("[data-part]");
  const self = part ? part.dataset.part : "";
  let stream = null, timer = 0, asking = false, again = false;

  // What a row says, without how long ago it was.
  const says = (row) => {
    const copy = row.cloneNode(true);
    for (const t of copy.querySelectorAll("time")) t.replaceChildren();
    for (const t of copy.querySelectorAll("time")) t.removeAttribute("title");
    copy.classList.remove("fresh");
    if (!copy.className) copy.removeAttribute("class");
    return copy.outerHTML;
  };
  // In what somebody has open or writes, nothing is replaced.
  const held = (el) => el.querySelector("details[open]") || el.contains(document.activeElement);
  const take = (el) => document.importNode(el, true);
  const merge = (old, next) => {
    const were = new Map([...old.rows].map((r) => [r.id, r]));
    const list = [...next.rows].map((row) => {
      const was = were.get(row.id);
      if (was && (held(was) || says(was) === says(row))) return was;
      const taken = take(row);
      if (!was) taken.classList.add("fresh");
      return taken;
    });
    for (const row of [...old.rows]) if (!list.includes(row)) row.remove();
    let at = old.firstElementChild;
    for (const row of list) {
      if (row === at) { at = at.nextElementSibling; continue; }
      old.insertBefore(row, at);
      if (window.htmx) htmx.process(row);
    }
  };
  const refresh = async () => {
    if (asking) return void (again = true);
    asking = true;
    try {
      const r = await fetch(self || location.pathname + location.search.replace(/([?&])said=[^&]*/, "$1"), { headers: { accept: "text/html" } });
      if (!r.ok || r.redirected) return;
      const page = new DOMParser().parseFromString(await r.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const next = page.getElementById(part.id);
        if (!next) continue;
        const rows = part.querySelectorAll("tbody"), newRows = next.querySelectorAll("tbody");
        if (rows.length === 1 && newRows.length === 1 && rows[0].rows[0].id) merge(rows[0], newRows[0]);
        else if (!held(part) && says(part) !== says(next)) {
          const taken = take(next);
          part.replaceWith(taken);
          if (window.htmx) htmx.process(taken);
        }
      }
      document.dispatchEvent(new Event("htmx:afterSettle")); // times are written anew
    } catch { /* the stream says when the server is back */ } finally {
      asking = false;
      if (again) { again = false; soon(); }
    }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, pause); };

  const toggle = () => {
    if (stream) {
      stream.close();
      stream = null;
    } else {
      stream = new EventSource(live.dataset.changes);
      stream.onopen = () => { live.textContent = "Live: on"; };
      stream.onerror = () => { live.textContent = "Live: reconnecting"; };
      stream.onmessage = (m) => {
        const { unseen } = JSON.parse(m.data);
        if (count) {
          count.textContent = String(unseen);
          count.hidden = unseen === 0;
        }
        soon();
      };
    }
    live.setAttribute("aria-pressed", String(Boolean(stream)));
    live.textContent = stream ? "Live: connecting" : "Live";
  };
  live.addEventListener("click", toggle);
  toggle();

  // Who opens a message has seen it.
  document.addEventListener("click", (ev) => {
    const link = ev.target.closest("a[data-seen]");
    if (link && navigator.sendBeacon) navigator.sendBeacon(link.dataset.seen);
  });
})();
