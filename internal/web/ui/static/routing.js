// Cells of the routing page are set as they are chosen.
"use strict";
(() => {
  const said = document.getElementById("said");
  document.body.classList.add("at-once");
  const complain = (text) => {
    const box = document.createElement("div");
    box.className = "problem";
    box.setAttribute("role", "alert");
    box.textContent = text;
    said.replaceChildren(box);
  };
  document.addEventListener("change", async (ev) => {
    const select = ev.target.closest("table.routing select");
    if (!select) return;
    const row = select.closest("tr"), was = [...select.options].find((o) => o.defaultSelected);
    const body = new URLSearchParams({ type: select.form.elements.type.value, q: select.form.elements.q.value, [select.name]: select.value });
    row.setAttribute("aria-busy", "true");
    select.disabled = true;
    try {
      const r = await fetch("/routing", { method: "POST", body, headers: { "HX-Request": "true" } });
      const text = await r.text();
      if (!r.ok || r.redirected) {
        const page = new DOMParser().parseFromString(text, "text/html");
        throw new Error((page.querySelector("[role=alert]") || { textContent: "The server answered " + r.status + "." }).textContent);
      }
      const inside = document.createElement("template");
      inside.innerHTML = text;
      const fresh = inside.content.querySelector("tr");
      row.replaceWith(fresh);
      said.replaceChildren();
      const again = fresh.querySelector(`select[name="${select.name}"]`);
      if (again) again.focus();
    } catch (e) {
      row.removeAttribute("aria-busy");
      select.disabled = false;
      select.value = was ? was.value : "";
      complain("It is not set. " + e.message);
    }
  });
})();
