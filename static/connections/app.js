"use strict";
/* Enhances pages that also work without JavaScript. htmx is optional here too. */
(() => {
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  /* What a response with an error is about. */
  const FOCUSED = "[data-focus], [aria-invalid=true]";
  /* Normalizes text the way the server compares a confirmation. */
  const normalize = (text) => text.normalize("NFKC").trim().replace(/\s+/gu, " ").toLowerCase();

  function announce(text) {
    const live = $("#live");
    live.textContent = "";
    window.setTimeout(() => { live.textContent = text; }, 50);
  }

  function focusOn(element) {
    if (!element) return;
    if (!element.matches("input, select, button, [tabindex]")) element.setAttribute("tabindex", "-1");
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  /* Change the theme immediately, and store it with the same POST that the form makes without JavaScript. */
  async function switchTheme(form, button) {
    const previous = root.dataset.theme;
    const apply = (theme) => {
      root.dataset.theme = theme;
      for (const choice of form.querySelectorAll("button[name=theme]")) choice.setAttribute("aria-pressed", String(choice.value === theme));
    };
    const body = new FormData(form);
    body.set("theme", button.value);
    apply(button.value);
    try {
      const response = await fetch(form.action, { method: "POST", body, credentials: "same-origin", redirect: "manual" });
      if (response.type !== "opaqueredirect" && !response.ok) apply(previous);
    } catch {
      apply(previous);
    }
  }

  /* A form can't be submitted again while it is in flight, nor can the forms that its response replaces. */
  function submitButtons(form) {
    const target = form.getAttribute("hx-target");
    const forms = target ? [...document.querySelectorAll(`form[hx-target="${target}"]`)] : [form];
    return forms.flatMap((each) => [...each.elements]).filter((element) => element.type === "submit");
  }

  function markBusy(form, submitter) {
    form.dataset.inFlight = "";
    form.setAttribute("aria-busy", "true");
    $("#progress").classList.add("is-busy");
    /* Only after the browser has read the form, because it omits disabled buttons and fields. */
    window.setTimeout(() => {
      if (!("inFlight" in form.dataset)) return;
      for (const button of submitButtons(form)) button.disabled = true;
      const busyLabel = submitter?.dataset.busy;
      if (busyLabel) {
        submitter.dataset.idleLabel = submitter.textContent;
        submitter.textContent = busyLabel;
      }
      if (!isSentByHtmx(form)) lock(form);
    }, 0);
    /* Until the response arrives, a DELETE might have been sent. */
    for (const element of unsentElements(form)) element.hidden = true;
    showInFlightText(form, true);
  }

  function showInFlightText(form, isShown) {
    for (const sentence of form.querySelectorAll("[data-in-flight-text]")) {
      sentence.hidden = !isShown;
      if (form.hasAttribute("data-confirm")) announce(isShown ? sentence.textContent.trim() : "");
    }
  }

  /* Texts and links that are correct only while nothing has been sent. */
  const unsentElements = (form) => form.hasAttribute("data-confirm")
    ? document.querySelectorAll("[data-cancel], [data-unsent]")
    : form.querySelectorAll("[data-cancel]");
  /* htmx reads the form when it sends it, which can be after fetching a new token: see htmx:beforeSend. */
  const isSentByHtmx = (form) => "htmx" in window && form.hasAttribute("hx-post");

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
    showInFlightText(form, false);
    for (const control of form.querySelectorAll("[data-locked]")) {
      control.disabled = false;
      delete control.dataset.locked;
    }
    $("#progress").classList.remove("is-busy");
    for (const button of submitButtons(form)) {
      button.disabled = mightBeSent(button.form);
      if (button.dataset.idleLabel !== undefined) {
        button.textContent = button.dataset.idleLabel;
        delete button.dataset.idleLabel;
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
    /* A response with what the fields mean brings the digest that the form must contain. */
    const preview = form.querySelector("[data-preview][data-requested]");
    if (preview) {
      event.preventDefault();
      /* Only then does htmx send a request that it has queued, for which the form waits again. */
      const submit = () => window.setTimeout(() => form.requestSubmit(event.submitter), 0);
      preview.addEventListener("htmx:afterRequest", submit, { once: true });
      return;
    }
    markBusy(form, event.submitter);
  }, true);

  /* Folded fields stay as agreed, so they aren't sent. Without JavaScript, their unchanged values are. */
  function fold(details) {
    for (const fields of details.querySelectorAll("fieldset")) fields.disabled = !details.open;
  }
  document.querySelectorAll("details[data-folded]").forEach(fold);
  document.addEventListener("toggle", ({ target: details }) => {
    if (!details.matches("[data-folded]") || $("fieldset", details).disabled !== details.open) return;
    fold(details);
    details.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);

  document.addEventListener("htmx:beforeRequest", ({ target }) => {
    if (target.matches("[data-preview]")) target.dataset.requested = "";
  });
  document.addEventListener("htmx:afterRequest", ({ target }) => {
    delete target.dataset?.requested;
  }, true);

  /* The back button can restore a page from before its form was sent. */
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && $("form[data-in-flight]")) window.location.reload();
  });

  /* Only a hint, because the server compares the confirmation. */
  function hintConfirmation(field) {
    const form = field.form;
    const hint = form && $("[data-confirm-hint]", form);
    if (!hint || !("confirm" in form.dataset)) return;
    hint.textContent = normalize(field.value) === normalize(form.dataset.confirm) ? "Matches" : "";
  }

  document.addEventListener("input", (event) => {
    if (event.target.name === "confirmation") hintConfirmation(event.target);
    if (event.target.matches("[aria-invalid=true]")) clearError(event.target);
  });

  /* The error of a field goes when the field changes. Whether it is right now, the server decides. */
  function clearError(field) {
    field.removeAttribute("aria-invalid");
    const described = (field.getAttribute("aria-describedby") ?? "").split(" ");
    for (const id of described) if (/[-_]error$/.test(id)) document.getElementById(id)?.remove();
    field.setAttribute("aria-describedby", described.filter((id) => !/[-_]error$/.test(id)).join(" "));
  }

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    /* A year that is still being typed is a date, too: 0002, 0020, 0202. */
    const isTyping = event.target.type === "date" && event.target.value < "2000";
    if (form?.matches("[data-autosubmit]") && event.target.matches("select, [type=checkbox], [type=radio], [type=date]") && !isTyping) form.requestSubmit();
  });

  /* The note of a row that was just opened. */
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.(".row-opener[open]")) return;
    $("input[name=note]", event.target.closest("tr").nextElementSibling)?.focus();
  }, true);

  /* Keep empty filters out of the URL. */
  document.addEventListener("formdata", (event) => {
    if (!event.target.matches("[data-autosubmit]")) return;
    for (const name of new Set(event.formData.keys())) {
      const values = event.formData.getAll(name).filter((value) => value !== "");
      event.formData.delete(name);
      for (const value of values) event.formData.append(name, value);
    }
  });

  function textToCopy(button) {
    if (button.matches("[data-copy-title]")) return button.closest("[title]").title;
    return button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom)?.textContent : button.dataset.copy;
  }

  async function copy(button) {
    const source = textToCopy(button);
    const label = $("[data-copy-word]", button);
    let isCopied = true;
    try {
      await navigator.clipboard.writeText(source ?? "");
    } catch {
      isCopied = copyBySelection(source ?? "");
    }
    label.textContent = isCopied ? "Copied" : "Not copied";
    button.toggleAttribute("data-done", isCopied);
    announce(label.textContent);
    window.setTimeout(() => { label.textContent = "Copy"; button.removeAttribute("data-done"); }, 2000);
  }

  /* navigator.clipboard exists only in secure contexts. */
  function copyBySelection(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from], [data-copy-title]");
    if (button) copy(button);
    for (const menu of document.querySelectorAll("details.menu[open]:not(.sidebar-toggle)")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  /* A link to a field of the same page moves the focus there. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#id_']");
    if (link) document.getElementById(link.hash.slice(1))?.focus();
  });

  /* Back from a deletion, the list of connections is where it was, with the focus on the row after the deleted one. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    const row = link?.closest("tr[data-connection]");
    if (link?.matches("[data-back]")) window.sessionStorage.setItem("isBack", "yes");
    if (!row || !link.search.includes("connection_id=")) return;
    const next = row.nextElementSibling?.dataset.connection ?? "";
    window.sessionStorage.setItem("place", JSON.stringify([window.location.pathname + window.location.search, window.scrollY, next]));
  });

  function returnToPlace() {
    const [address, scrolled, connection] = JSON.parse(window.sessionStorage.getItem("place") ?? "[]");
    if (window.sessionStorage.getItem("isBack") === null || address !== window.location.pathname + window.location.search) return;
    window.sessionStorage.removeItem("isBack");
    window.scrollTo(0, scrolled);
    const row = connection && $(`tr[data-connection="${connection}"]`);
    if (row) $("a", row)?.focus({ preventScroll: true });
  }
  returnToPlace();

  /* The matrix: the cell that is hovered or focused highlights its column and opens a card. */
  const card = document.createElement("div");
  card.className = "matrix-card";
  card.setAttribute("aria-hidden", "true");

  function leaveCell(matrix) {
    for (const cell of matrix.querySelectorAll(".is-hovered")) cell.classList.remove("is-hovered");
    card.remove();
  }

  function enterCell(cell) {
    const matrix = cell.closest(".matrix");
    leaveCell(matrix);
    const head = matrix.tHead.rows[0].cells[cell.cellIndex];
    if (!head.matches("th:not(.matrix-total)")) return;
    for (const row of matrix.rows) row.cells[cell.cellIndex].classList.add("is-hovered");
    const link = $("a", cell);
    if (!link) return;
    const orgs = [cell.parentElement.cells[0], head];
    const names = document.createElement("strong");
    names.textContent = orgs.map((each) => each.textContent.trim()).join(" → ");
    /* The label is "<letters>: <source> to <destination>: <contents>", then ". " and the last change. */
    const label = link.getAttribute("aria-label");
    const name = orgs.map((each) => each.dataset.name).join(" to ");
    const prefix = `${link.textContent.trim()}: ${name}: `.length;
    const end = link.matches(".is-changed") ? label.lastIndexOf(". ") : label.length;
    card.replaceChildren(names, label.slice(prefix, end));
    if (end < label.length) {
      const change = document.createElement("span");
      change.className = "matrix-card-change";
      change.textContent = label.slice(end + 2);
      card.append(change);
    }
    document.body.append(card);
    const { left, bottom, top } = cell.getBoundingClientRect();
    const below = bottom + 8 + card.offsetHeight < window.innerHeight;
    card.style.left = `${Math.max(8, Math.min(left, window.innerWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${below ? bottom + 8 : top - 8 - card.offsetHeight}px`;
  }

  for (const matrix of document.querySelectorAll(".matrix")) {
    for (const name of ["pointerover", "focusin"]) {
      matrix.addEventListener(name, (event) => {
        const cell = event.target.closest("tbody td");
        if (cell) enterCell(cell);
        else leaveCell(matrix);
      });
    }
    for (const name of ["pointerleave", "focusout"]) matrix.addEventListener(name, () => leaveCell(matrix));
    matrix.parentElement.addEventListener("scroll", () => {
      const cell = $("tbody td:is(:hover, :focus-within)", matrix);
      if (cell) enterCell(cell);
      else leaveCell(matrix);
    }, { passive: true });
  }

  /* The identity check by passkey: the form is sent with the browser's assertion. */
  function loadScript(url) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = url;
      script.addEventListener("load", resolve);
      script.addEventListener("error", reject);
      document.head.append(script);
    });
  }

  async function usePasskey(button) {
    const form = button.form;
    if (!form.noValidate && !form.reportValidity()) return;
    try {
      if (!window.webauthnJSON) await loadScript(button.dataset.passkeyScript);
      const body = new URLSearchParams({ csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value });
      const response = await fetch(button.dataset.passkey, { method: "POST", body, credentials: "same-origin" });
      if (!response.ok) throw new Error(`The request for a challenge returned ${response.status}.`);
      form.elements["step_up-passkey"].value = JSON.stringify(await window.webauthnJSON.get(await response.json()));
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

  /* Banners of connection_lost.html, one at a time. */
  const bannerFrom = (templateId) => document.getElementById(templateId).content.firstElementChild.cloneNode(true);
  const removeBanners = () => document.querySelectorAll("[data-silent]").forEach((banner) => banner.remove());

  function showBanner(banner, place) {
    removeBanners();
    place.prepend(banner);
    focusOn($(".banner-head", banner));
  }

  /* Also fired by allauth's own scripts. */
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    showBanner(bannerFrom("passkey-failed"), $("#messages"));
  });

  /* htmx */
  const isAction = (detail) => detail.requestConfig?.verb !== "get";
  /* Org Admin refused the request. 408 comes from a proxy that timed out. */
  const isRefusal = (status) => status >= 400 && status < 500 && status !== 408;
  /* Whether its response was lost. Then it can't be submitted again. */
  const mightBeSent = (form) => "mightBeSent" in form.dataset;
  const outcomeHeading = () => $("#headline, #outcome :is(h2, h3), #batch :is(.banner-head, [data-headline])");
  let previousHeading = "";

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    previousHeading = outcomeHeading()?.textContent.trim() ?? "";
    if (xhr.status < 400 || event.detail.shouldSwap) return;
    /* Swap an error only if it has the target's own part of the page. */
    if (target?.id && xhr.responseText.includes(`id="${target.id}"`)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });

  /* A poll can be in flight when another response replaces its part of the page. Its response is older by then and
     has no target, which htmx would report as an error, so it is dropped. */
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.shouldSwap) $("#watch", detail.target)?.addEventListener("htmx:beforeOnLoad", (event) => event.preventDefault());
  });

  /* While an action is in flight, a poll replaces nothing: what the page says then would be wrong, and the response
     to the action would have no target. */
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.elt.id === "watch" && $("form[data-in-flight]")) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSend", (event) => {
    const form = event.detail.requestConfig?.elt;
    if (form?.matches?.("form[data-in-flight]")) lock(form);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    /* If the response replaced the form, the event fires on another element. */
    const form = event.detail.requestConfig?.elt?.closest?.("form");
    if (!form) return;
    /* Until the next page is there, it is still in flight. */
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) return;
    markIdle(form);
    if (mightBeSent(form)) lock(form);
    if (isRefusal(event.detail.xhr.status)) for (const element of unsentElements(form)) element.hidden = false;
  });

  /* The outcome says everything that these parts of the confirmation page said. */
  document.addEventListener("htmx:afterSwap", () => {
    for (const part of document.querySelectorAll("#confirm:has(#outcome) .before-request")) part.remove();
  });

  document.addEventListener("htmx:afterSettle", (event) => {
    const detail = event.detail;
    if (isAction(detail) || detail.target?.id === "outcome") removeBanners();
    const heading = outcomeHeading();
    /* What the page does by itself leaves the focus where it is. */
    if (isAction(detail) && !detail.requestConfig?.elt?.hasAttribute("data-quiet")) {
      const errors = $(FOCUSED, document.getElementById(detail.target?.id) ?? document);
      focusOn(errors ?? (detail.target?.id === "outcome" || detail.elt?.id === "outcome" ? heading : null));
    } else if (heading && heading !== document.activeElement && heading.textContent.trim() !== previousHeading) {
      announce(heading.textContent.trim());
    }
    document.querySelectorAll("input[name=confirmation]").forEach(hintConfirmation);
  });

  /* Signing in again in another tab changes the CSRF token, so fetch the new one before the next action. */
  let isTokenStale = false;

  async function renewToken() {
    const response = await fetch(window.location.href, { credentials: "same-origin" });
    const headers = new DOMParser().parseFromString(await response.text(), "text/html").body.getAttribute("hx-headers");
    const token = JSON.parse(headers)["X-CSRFToken"];
    document.body.setAttribute("hx-headers", headers);
    for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = token;
    isTokenStale = false;
  }

  document.addEventListener("htmx:confirm", (event) => {
    if (!isTokenStale || event.detail.verb === "get") return;
    event.preventDefault();
    const proceed = () => event.detail.issueRequest(true);
    /* Without a new token, the request is refused again and a banner says so. */
    renewToken().then(proceed, proceed);
  });

  /* Org Admin did not respond (status 0) or returned an error. Say so where the result was expected. */
  function showFailure(event, status) {
    const element = event.detail.elt;
    /* A failed poll needs no banner, because the next one follows. */
    if (!isAction(event.detail) && element?.hasAttribute("data-quiet")) return;
    const record = element?.closest("[data-record-url]") ?? $("#outcome[data-record-url]");
    /* Only forms with a confirmation send something to Datadog. */
    const sendingForm = isAction(event.detail) && element?.closest("[data-confirm]");
    if (status === 401 || status === 403) isTokenStale = true;
    const refusal = isAction(event.detail) && status === 403 && refusalIn(event.detail.xhr);
    const id = refusal ? "request-denied" : failureBannerId(status, record && sendingForm, isAction(event.detail));
    const isLost = id.startsWith("connection-lost");
    const form = isAction(event.detail) && element?.closest("form");
    if (isLost && record && form) keepTyped(form, record.dataset.recordUrl);
    /* A DELETE might have been sent. */
    if (isLost && record && sendingForm) {
      sendingForm.dataset.mightBeSent = "";
      lock(sendingForm);
    }
    const banner = bannerFrom(isLost && sendingForm && record?.id === "batch" ? "connection-lost-bulk-deletion" : id);
    for (const place of banner.querySelectorAll("[data-refusal]")) place.textContent = refusal;
    for (const place of banner.querySelectorAll("[data-status]")) place.textContent = String(status);
    for (const place of banner.querySelectorAll("[data-for-status]")) place.hidden = place.dataset.forStatus !== String(status);
    const effect = element?.closest("[data-unsaved]")?.dataset.unsaved;
    if (effect) for (const place of banner.querySelectorAll("[data-effect]")) place.textContent = effect;
    for (const link of banner.querySelectorAll("[data-record]")) link.href = record.dataset.recordUrl;
    for (const link of banner.querySelectorAll("[data-reload]")) link.href = record?.dataset.recordUrl ?? window.location.href;
    showBanner(banner, (isAction(event.detail) && $("#outcome")) || $("#messages"));
  }

  /* Why the page of a refusal says that the person may not do this; undefined on another page. */
  function refusalIn(xhr) {
    return new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("#refusal")?.textContent;
  }

  function failureBannerId(status, sendingForm, isPost) {
    if (isPost && (status === 401 || status === 403)) return "request-refused-unsaved";
    if (status === 429) return "rate-limited";
    if (isRefusal(status)) return "request-refused";
    return sendingForm ? "connection-lost-deletion" : "connection-lost";
  }

  /* What was typed into a form whose response was lost, for the page that shows the form again. */
  function keepTyped(form, recordUrl) {
    const fields = [...form.elements].filter((control) => control.matches("textarea, [type=text]:not([name=confirmation]), [type=checkbox]"));
    const typed = fields.map((control) => [control.name, control.value, control.checked]);
    if (typed.length || form.hasAttribute("data-confirm")) window.sessionStorage.setItem("typed", JSON.stringify([form.getAttribute("action"), recordUrl, typed]));
  }

  function restoreTyped() {
    const [action, recordUrl, typed] = JSON.parse(window.sessionStorage.getItem("typed") ?? "[]");
    const form = action && $(`form[action="${action}"]`);
    const record = form?.closest("[data-record-url]");
    if (!record || record.dataset.recordUrl !== recordUrl) return;
    window.sessionStorage.removeItem("typed");
    for (const [name, value, isChecked] of typed) Object.assign(form.elements[name] ?? {}, { value, checked: isChecked });
    if (record.id === "batch") showBanner(bannerFrom("not-recorded"), $("#messages"));
  }

  document.addEventListener("htmx:sendError", (event) => showFailure(event, 0));
  document.addEventListener("htmx:timeout", (event) => showFailure(event, 0));
  document.addEventListener("htmx:responseError", (event) => showFailure(event, event.detail.xhr.status));

  restoreTyped();
  document.querySelectorAll("input[name=confirmation]").forEach(hintConfirmation);
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  }
  focusOn($(FOCUSED));
})();
