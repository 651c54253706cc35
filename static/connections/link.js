/* A one-time link carries its token after the # sign, which no server and no log ever sees.
   Here it moves into the form's field and out of the address bar. Without JavaScript the field
   stays visible, to paste the link into. */
(() => {
  "use strict";
  const input = document.querySelector("[data-link-token]");
  if (!input) return;
  const token = location.hash.slice(1);
  if (token) {
    input.value = token;
    history.replaceState(null, "", location.pathname);
  }
  /* After a refused form the server has put the token back; its field only matters when empty. */
  if (input.value && !input.hasAttribute("aria-invalid")) input.closest(".field").hidden = true;
  document.querySelector("input:not([type=hidden]):not([data-link-token])")?.focus();
})();
