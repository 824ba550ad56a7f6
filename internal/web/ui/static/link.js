// A link in a mail carries its token behind the #: it goes into the form, and
// out of the address.
"use strict";
(() => {
  const field = document.querySelector("input[name=token]");
  const take = () => {
    const found = /^#token=([\w-]+)$/.exec(location.hash);
    if (!field || !found) return;
    field.value = found[1];
    const label = field.closest("label");
    if (label) label.hidden = true;
    history.replaceState(null, "", location.pathname);
  };
  take();
  addEventListener("hashchange", take);
})();
