// What only adds: every page works without it.
"use strict";
(() => {
  const search = document.getElementById("search");
  let leader = 0;
  const keys = { e: "/events", o: "/", c: "/catalog", s: "/settings" };
  document.addEventListener("keydown", (ev) => {
    if (ev.ctrlKey || ev.metaKey || ev.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(ev.target.tagName)) return;
    if (ev.key === "/") {
      ev.preventDefault();
      if (search) search.focus();
      else location.href = "/events";
    } else if (ev.key === "g") {
      leader = Date.now();
    } else if (Date.now() - leader < 1500 && keys[ev.key]) {
      location.href = keys[ev.key];
    } else if (ev.key === "?") {
      document.querySelector("footer").scrollIntoView();
    }
  });

  const live = document.getElementById("live");
  const rows = document.getElementById("rows");
  if (!live || !rows || !window.EventSource) return;
  live.hidden = false;
  let stream = null;
  const most = 500;
  const cell = (row, child) => {
    const td = row.insertCell();
    td.append(child);
    return td;
  };
  const add = (e) => {
    const row = rows.insertRow(0);
    const when = document.createElement("time");
    when.dateTime = e.time;
    when.title = e.time;
    when.textContent = "now";
    cell(row, when);
    const severity = document.createElement("span");
    severity.className = "sev sev-" + e.severitytext;
    severity.textContent = e.severitytext;
    cell(row, severity);
    const link = document.createElement("a");
    link.href = "/events/" + e.sequence.replace(/^0+/, "");
    link.textContent = e.type;
    cell(row, link);
    cell(row, e.subject || "").className = "what";
    while (rows.rows.length > most) rows.deleteRow(-1);
  };
  live.addEventListener("click", () => {
    if (stream) {
      stream.close();
      stream = null;
    } else {
      stream = new EventSource(live.dataset.stream);
      stream.onmessage = (m) => add(JSON.parse(m.data));
    }
    live.setAttribute("aria-pressed", String(Boolean(stream)));
    live.textContent = stream ? "Live: on" : "Live";
  });
})();
