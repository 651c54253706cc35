/* A one-time link carries its token after the # sign, so that it reaches no server log. Move it
   into the form's field and out of the address bar. Without JavaScript, the field stays visible and
   the person pastes the link. */
(() => {
  "use strict";
  const input = document.querySelector("[data-link-token]");
  if (!input) return;
  const token = location.hash.slice(1);
  if (token) {
    input.value = token;
    history.replaceState(null, "", location.pathname);
  }
  /* After a form error, the field contains the token that was submitted. */
  if (input.value && !input.hasAttribute("aria-invalid")) input.closest(".field").hidden = true;
  document.querySelector("input:not([type=hidden]):not([data-link-token])")?.focus();
})();
