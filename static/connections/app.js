"use strict";
/* Comfort on top of pages that work without it. No eval, no inline handlers; htmx is optional here too. */
(() => {
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const fold = (text) => text.normalize("NFKC").trim().replace(/\s+/gu, " ").toLowerCase();

  function announce(text) {
    const live = $("#live");
    if (!live) return;
    live.textContent = "";
    window.setTimeout(() => { live.textContent = text; }, 50);
  }

  function focusOn(element) {
    if (!element) return;
    if (!element.matches("input, button, [tabindex]")) element.setAttribute("tabindex", "-1");
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  /* Theme: change at once, store by the same POST that works without JavaScript. */
  async function switchTheme(form, button) {
    const before = root.dataset.theme;
    const show = (theme) => {
      root.dataset.theme = theme;
      for (const other of form.querySelectorAll("button[name=theme]")) other.setAttribute("aria-pressed", String(other.value === theme));
    };
    const body = new FormData(form);
    body.set("theme", button.value);
    show(button.value);
    try {
      const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin", redirect: "manual" });
      if (answer.type !== "opaqueredirect" && !answer.ok) show(before);
    } catch {
      show(before);
    }
  }

  /* One submission at a time. */
  const submitButtons = (form) => [...form.elements].filter((element) => element.type === "submit");

  function markBusy(form, submitter) {
    form.dataset.inFlight = "";
    form.setAttribute("aria-busy", "true");
    $("#progress")?.classList.add("is-busy");
    /* After the browser has read the form, else the button's own name and value would be lost. */
    window.setTimeout(() => {
      if (!("inFlight" in form.dataset)) return;
      for (const button of submitButtons(form)) button.disabled = true;
      const word = submitter?.dataset.busy;
      if (word) {
        submitter.dataset.word = submitter.textContent;
        submitter.textContent = word;
      }
      if (!byHtmx(form)) lock(form);
    }, 0);
    showInFlight(form);
  }

  /* From here to the answer nobody can know whether anything was sent: no way out says that nothing was. */
  function showInFlight(form) {
    for (const claim of unsentClaims(form)) claim.hidden = true;
    for (const sentence of form.querySelectorAll("[data-in-flight-text]")) {
      sentence.hidden = false;
      if (form.hasAttribute("data-confirm")) announce(sentence.textContent.trim());
    }
  }

  const unsentClaims = (form) => form.hasAttribute("data-confirm")
    ? document.querySelectorAll("[data-cancel], [data-unsent]")
    : form.querySelectorAll("[data-cancel]");
  /* htmx reads the form only when it sends, which may be after asking for a new token. */
  const byHtmx = (form) => "htmx" in window && form.hasAttribute("hx-post");

  function lock(form) {
    for (const control of form.elements) {
      if (control.disabled || control.type === "hidden") continue;
      control.disabled = true;
      control.dataset.locked = "";
    }
  }

  function markIdle(form) {
    delete form.dataset.inFlight;
    form.removeAttribute("aria-busy");
    for (const sentence of form.querySelectorAll("[data-in-flight-text]")) {
      sentence.hidden = true;
      if (form.hasAttribute("data-confirm")) announce("");
    }
    for (const control of form.querySelectorAll("[data-locked]")) {
      control.disabled = false;
      delete control.dataset.locked;
    }
    $("#progress")?.classList.remove("is-busy");
    for (const button of submitButtons(form)) {
      button.disabled = false;
      if (button.dataset.word !== undefined) {
        button.textContent = button.dataset.word;
        delete button.dataset.word;
      }
    }
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-theme-form]") && event.submitter) {
      event.preventDefault();
      switchTheme(form, event.submitter);
      return;
    }
    if (form.method !== "post" || form.hasAttribute("data-repeatable")) return;
    if ("inFlight" in form.dataset) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    markBusy(form, event.submitter);
  }, true);

  /* The back button may show a page as it was left: after its form was sent, what it says is old. */
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && $("form[data-in-flight]")) window.location.reload();
  });

  /* Confirming by typing: say when it matches, never stand in the way; the server decides. */
  function hintConfirmation(field) {
    const form = field.form;
    const hint = form && $("[data-confirm-hint]", form);
    if (!hint || !("confirm" in form.dataset)) return;
    hint.textContent = fold(field.value) === fold(form.dataset.confirm) ? "Matches" : "";
  }

  document.addEventListener("input", (event) => {
    if (event.target.name === "confirmation") hintConfirmation(event.target);
  });

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form?.matches("[data-autosubmit]") && event.target.matches("select, [type=checkbox], [type=radio], [type=date]")) form.requestSubmit();
  });

  /* Filters that are not set stay out of the address. */
  document.addEventListener("formdata", (event) => {
    if (!event.target.matches("[data-autosubmit]")) return;
    for (const name of new Set(event.formData.keys())) {
      if (event.formData.getAll(name).every((value) => value === "")) event.formData.delete(name);
    }
  });

  /* Copy */
  async function copy(button) {
    const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom)?.textContent : button.dataset.copy;
    const word = $("[data-copy-word]", button);
    let done = true;
    try {
      await navigator.clipboard.writeText(source ?? "");
    } catch {
      done = copyBySelection(source ?? "");
    }
    if (!word) return;
    word.textContent = done ? "Copied" : "Not copied";
    button.toggleAttribute("data-done", done);
    announce(word.textContent);
    window.setTimeout(() => { word.textContent = "Copy"; button.removeAttribute("data-done"); }, 2000);
  }

  /* The clipboard interface exists on https and loopback only. */
  function copyBySelection(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (button) copy(button);
    for (const menu of document.querySelectorAll("details.menu[open]:not(.sidebar-toggle)")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const search = $("[data-search]") ?? $("input[type=search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    }
    if (event.key === "Escape") {
      const menu = event.target.closest("details.menu[open]");
      if (!menu) return;
      menu.open = false;
      $("summary", menu).focus();
    }
  });

  /* A passkey as the answer to "is it you?": the form is sent with what the browser says for it. */
  function load(address) {
    return new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = address;
      script.addEventListener("load", done);
      script.addEventListener("error", fail);
      document.head.append(script);
    });
  }

  async function usePasskey(button) {
    const form = button.form;
    if (!form.noValidate && !form.reportValidity()) return;
    try {
      if (!window.webauthnJSON) await load(button.dataset.passkeyScript);
      const body = new URLSearchParams({ csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value });
      const answer = await fetch(button.dataset.passkey, { method: "POST", body, credentials: "same-origin" });
      if (!answer.ok) throw new Error(`${answer.status} for a challenge`);
      form.elements["step_up-passkey"].value = JSON.stringify(await window.webauthnJSON.get(await answer.json()));
    } catch (exception) {
      document.dispatchEvent(new CustomEvent("allauth.error", { detail: { exception }, cancelable: true }));
      return;
    }
    form.requestSubmit();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-passkey]");
    if (button) usePasskey(button);
  });

  /* A passkey that the person or the browser refused. */
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const box = document.getElementById("no-passkey")?.content.firstElementChild.cloneNode(true);
    if (!box) return;
    document.querySelectorAll("[data-silent]").forEach((old) => old.remove());
    $("#notices").prepend(box);
    focusOn($(".banner-head", box));
  });

  /* htmx */
  const isAct = (detail) => detail.requestConfig?.verb !== "get";
  /* Our server did not do what was asked, and said so. 408 is a proxy that gave up waiting for it. */
  const isRefusal = (status) => status >= 400 && status < 500 && status !== 408;
  const outcomeHeading = () => $("#outcome :is(h1, h2, h3)");
  let spoken = "";

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    spoken = outcomeHeading()?.textContent.trim() ?? "";
    if (xhr.status < 400 || event.detail.shouldSwap) return;
    /* An error may bring the fragment that was asked for; a whole page is never put into a fragment. */
    const body = xhr.responseText;
    if (target?.id && !/<html[\s>]/i.test(body) && body.includes(`id="${target.id}"`)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });

  document.addEventListener("htmx:beforeSend", (event) => {
    const form = event.detail.requestConfig?.elt;
    if (form?.matches?.("form[data-in-flight]")) lock(form);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    /* A form that its answer replaced speaks through a parent; the request still knows it. */
    const form = event.detail.requestConfig?.elt?.closest?.("form");
    if (!form) return;
    markIdle(form);
    if (isRefusal(event.detail.xhr.status)) for (const claim of unsentClaims(form)) claim.hidden = false;
  });

  document.addEventListener("htmx:afterSettle", (event) => {
    const detail = event.detail;
    if (isAct(detail) || detail.target?.id === "outcome") document.querySelectorAll("[data-silent]").forEach((box) => box.remove());
    const heading = outcomeHeading();
    if (isAct(detail)) {
      const errors = $("[data-focus]", document.getElementById(detail.target?.id) ?? document);
      focusOn(errors ?? (detail.target?.id === "outcome" || detail.elt?.id === "outcome" ? heading : null));
    } else if (heading && heading.textContent.trim() !== spoken) {
      announce(heading.textContent.trim());
    }
    document.querySelectorAll("input[name=confirmation]").forEach(hintConfirmation);
  });

  /* Who signed in again, in another tab, has a new form token: take it before the next act. */
  let tokenIsOld = false;

  async function renewToken() {
    const answer = await fetch(window.location.href, { credentials: "same-origin" });
    const headers = new DOMParser().parseFromString(await answer.text(), "text/html").body.getAttribute("hx-headers");
    const token = JSON.parse(headers)["X-CSRFToken"];
    document.body.setAttribute("hx-headers", headers);
    for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = token;
    tokenIsOld = false;
  }

  document.addEventListener("htmx:confirm", (event) => {
    if (!tokenIsOld || event.detail.verb === "get") return;
    event.preventDefault();
    const go = () => event.detail.issueRequest(true);
    /* Without a new one the act is refused again, and says so. */
    renewToken().then(go, go);
  });

  /* Our own server is silent, or refuses: say so where the answer was expected. */
  function showSilence(event, status) {
    const asked = event.detail.elt;
    const record = asked?.closest("[data-record-url]") ?? $("#outcome[data-record-url]");
    /* A look that failed is no act: the next one comes by itself. */
    if (!isAct(event.detail) && asked?.hasAttribute("data-quiet")) return;
    /* Only a form that asks for the confirmation sends anything to Datadog. */
    const sending = isAct(event.detail) && asked?.closest("[data-confirm]");
    const refused = isRefusal(status);
    const unsent = status === 401 || status === 403;
    if (unsent) tokenIsOld = true;
    const kind = unsent ? "refused-unsent" : status === 429 ? "too-often" : refused ? "refused" : record && sending ? "no-answer-deletion" : "no-answer";
    const box = document.getElementById(kind).content.firstElementChild.cloneNode(true);
    /* What may have been sent cannot be left with “nothing is sent”. */
    if (kind === "no-answer-deletion") $("[data-cancel]", sending)?.remove();
    const statusPlace = $("[data-status]", box);
    if (statusPlace) statusPlace.textContent = String(status);
    const link = $("[data-record]", box);
    if (link) link.href = record.dataset.recordUrl;
    const reload = $("[data-reload]", box);
    if (reload) reload.href = window.location.href;
    document.querySelectorAll("[data-silent]").forEach((old) => old.remove());
    const outcome = $("#outcome");
    if (outcome && isAct(event.detail)) outcome.prepend(box);
    else $("#notices").prepend(box);
    focusOn($(".banner-head", box));
  }

  document.addEventListener("htmx:sendError", (event) => showSilence(event, 0));
  document.addEventListener("htmx:timeout", (event) => showSilence(event, 0));
  document.addEventListener("htmx:responseError", (event) => showSilence(event, event.detail.xhr.status));

  document.querySelectorAll("input[name=confirmation]").forEach(hintConfirmation);
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  }
  focusOn($("[data-focus]"));
})();
