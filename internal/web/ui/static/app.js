// What only adds: every page can be read without it.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const typing = (el) => /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName) || el.isContentEditable;
  const kept = (name, value) => {
    try {
      if (value === undefined) return localStorage.getItem(name);
      localStorage.setItem(name, value);
    } catch { /* storage may be forbidden: nothing is kept then */ }
    return null;
  };

  // Theme: system, light, dark.
  const themes = ["system", "light", "dark"];
  const theme = $("theme");
  const wear = (name) => {
    document.documentElement.dataset.theme = name;
    if (theme) theme.textContent = "Theme: " + name;
  };
  wear(themes.includes(kept("theme")) ? kept("theme") : "system");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
      kept("theme", next);
      wear(next);
    });
  }

  // Times: how long ago, in the zone of this browser, in UTC.
  const zones = ["ago", "local", "UTC"];
  const zone = $("zone");
  let how = zones.includes(kept("zone")) ? kept("zone") : "ago";
  const pad = (n) => String(n).padStart(2, "0");
  const utc = (d) => d.toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
  const local = (d) => d.getFullYear() + "-" + pad(d.getMonth() + 1) + "-" + pad(d.getDate()) + " " + pad(d.getHours()) + ":" + pad(d.getMinutes()) + ":" + pad(d.getSeconds());
  const ago = (d) => {
    const s = Math.round((Date.now() - d) / 1000);
    if (s < -172800) return "in " + Math.floor(-s / 86400) + " days";
    if (s < -7200) return "in " + Math.floor(-s / 3600) + " h";
    if (s < -60) return "in " + Math.floor(-s / 60) + " min";
    if (s < 10) return "now";
    if (s < 120) return s + " s ago";
    if (s < 7200) return Math.floor(s / 60) + " min ago";
    if (s < 172800) return Math.floor(s / 3600) + " h ago";
    return Math.floor(s / 86400) + " days ago";
  };
  const clock = (root) => {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const d = new Date(t.dateTime);
      if (isNaN(d)) continue;
      t.title = local(d) + " here, " + utc(d);
      t.textContent = how === "UTC" ? utc(d) : how === "local" ? local(d) : ago(d);
    }
  };
  const setZone = () => {
    if (zone) zone.textContent = "Times: " + how;
    clock(document);
  };
  const nextZone = () => {
    how = zones[(zones.indexOf(how) + 1) % zones.length];
    kept("zone", how);
    setZone();
  };
  if (zone) {
    zone.hidden = false;
    zone.addEventListener("click", nextZone);
  }
  setZone();
  setInterval(() => clock(document), 30000);
  document.addEventListener("htmx:afterSettle", () => ready(document));

  // Where there is room, what narrows a list down stands open.
  const side = document.querySelector("details.side");
  if (side && matchMedia("(min-width: 1000px)").matches) side.open = true;

  // Copying.
  const ready = (root) => {
    clock(root);
    for (const b of root.querySelectorAll("[data-copy]")) b.hidden = !navigator.clipboard;
  };
  ready(document);
  document.addEventListener("click", async (ev) => {
    const b = ev.target.closest("[data-copy]");
    if (!b) return;
    try {
      await navigator.clipboard.writeText(b.parentElement.querySelector("code").textContent);
      b.textContent = "Copied";
    } catch {
      b.textContent = "Select it by hand";
    }
  });

  // The drawer: an event beside the list.
  const drawer = $("drawer");
  let opener = null;
  const close = () => {
    if (!drawer || drawer.hidden) return false;
    drawer.hidden = true;
    drawer.replaceChildren();
    document.body.classList.remove("drawer-open");
    for (const r of document.querySelectorAll("tr.on")) r.classList.remove("on");
    if (opener) opener.focus();
    return true;
  };
  const show = async (link) => {
    opener = link;
    for (const r of document.querySelectorAll("tr.on")) r.classList.remove("on");
    link.closest("tr").classList.add("on");
    drawer.hidden = false;
    drawer.setAttribute("role", "region");
    drawer.setAttribute("aria-label", "Event");
    document.body.classList.add("drawer-open");
    await htmx.ajax("GET", link.getAttribute("href"), { target: "#drawer", select: "#detail", swap: "innerHTML" });
    const first = drawer.querySelector("[data-close]");
    if (first) first.focus();
  };
  document.addEventListener("click", (ev) => {
    if (ev.target.closest("[data-close]")) return void close();
    const link = ev.target.closest("table.events a.open");
    if (!link || !drawer || !window.htmx || ev.ctrlKey || ev.metaKey || ev.shiftKey || innerWidth < 900) return;
    ev.preventDefault();
    show(link);
  });

  // Keys.
  const help = $("keys");
  if (help && $("help")) {
    $("help").hidden = false;
    $("help").addEventListener("click", () => help.showModal());
  }
  const walk = (by) => {
    const links = [...document.querySelectorAll("table a.open")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement.closest("a.open") || opener);
    const next = links[Math.min(Math.max(at + by, 0), links.length - 1)];
    next.focus();
    if (drawer && !drawer.hidden && next.closest("table.events")) show(next);
  };
  let leader = 0;
  document.addEventListener("keydown", (ev) => {
    if (ev.key === "Escape" && close()) return;
    if (ev.ctrlKey || ev.metaKey || ev.altKey || typing(ev.target)) return;
    if (Date.now() - leader < 1500) {
      leader = 0;
      const to = [...document.querySelectorAll("[data-key]")].find((a) => a.dataset.key === ev.key);
      if (to) location.href = to.href;
      return;
    }
    switch (ev.key) {
      case "/":
        ev.preventDefault();
        if ($("search")) $("search").focus();
        else location.href = "/events";
        break;
      case "g": leader = Date.now(); break;
      case "j": walk(1); break;
      case "k": walk(-1); break;
      case "l": if ($("live")) $("live").click(); break;
      case "t": nextZone(); break;
      case "?": if (help) help.showModal(); break;
    }
  });

  // Live: new events on top of the list, as the server draws them.
  const live = $("live");
  const rows = $("rows");
  if (!live || !rows || !window.EventSource) return;
  live.hidden = false;
  let stream = null;
  const most = 500;
  const toggle = () => {
    if (stream) {
      stream.close();
      stream = null;
    } else {
      stream = new EventSource(live.dataset.stream);
      stream.onopen = () => { live.textContent = "Live: on"; };
      stream.onerror = () => { live.textContent = "Live: reconnecting"; };
      stream.onmessage = (m) => {
        if (!m.data) return;
        const id = /id="(e\d+)"/.exec(m.data);
        if (id && document.getElementById(id[1])) return; // the list had it already
        rows.closest("table").hidden = false;
        rows.insertAdjacentHTML("afterbegin", m.data);
        rows.firstElementChild.classList.add("fresh");
        clock(rows.firstElementChild);
        while (rows.rows.length > (live.hasAttribute("data-auto") ? 12 : most)) rows.deleteRow(-1);
      };
    }
    live.setAttribute("aria-pressed", String(Boolean(stream)));
    live.textContent = stream ? "Live: connecting" : "Live";
  };
  live.addEventListener("click", toggle);
  if (live.hasAttribute("data-auto")) toggle();
})();
