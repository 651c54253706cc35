"use strict";
/* Decide in the row. Without this script, a row's links open its form on the server. */
(() => {
  const review = document.getElementById("review");
  const template = document.getElementById("decision-form-template");
  if (!review || !template) return;
  /* Saving replaces a row's element, so the current row is identified by its ID. */
  let currentId = "";

  const rows = () => [...review.querySelectorAll("tr[data-connection]")];
  const current = () => document.getElementById(currentId);
  const openForm = () => document.getElementById("decision-form");

  function makeCurrent(row) {
    current()?.classList.remove("is-current");
    currentId = row.id;
    row.classList.add("is-current");
  }

  function goTo(row) {
    if (!row) return;
    makeCurrent(row);
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  function goToNextPending(id) {
    const all = rows();
    const place = all.findIndex((row) => row.id === id);
    goTo(all.slice(place + 1).find((row) => row.dataset.decision === "pending") ?? all[place]);
  }

  function markOpen(row, decision) {
    for (const link of row.querySelectorAll("[data-decide]")) link.toggleAttribute("data-open", link.dataset.decide === decision);
  }

  function closeForm() {
    const form = openForm();
    if (!form) return;
    for (const link of review.querySelectorAll("[data-decide][data-open]")) link.removeAttribute("data-open");
    form.remove();
    goTo(current());
  }

  /* Keeps what was typed when the other decision is chosen for the same row. */
  function openFormOf(row, decision) {
    const previous = openForm()?.previousElementSibling === row ? openForm().querySelector("form") : null;
    const opened = template.content.firstElementChild.cloneNode(true);
    const form = opened.querySelector("form");
    const { connection, digest, decision: chosen, reason, keep_until: until, version } = form.elements;
    connection.value = row.dataset.connection;
    digest.value = row.querySelector("input[name=digest]").value;
    chosen.value = decision;
    form.querySelector("[data-reason-label]").textContent = `Reason to ${decision} ${row.dataset.pair}`;
    form.querySelector("[data-until]").hidden = decision !== "keep";
    until.disabled = decision !== "keep";
    const agreement = form.querySelector("[data-agreement]");
    if (agreement) {
      const offered = row.dataset.offered?.split(" ") ?? [];
      version.value = row.dataset.version ?? "";
      agreement.hidden = agreement.disabled = decision !== "keep" || !offered.length;
      for (const label of agreement.querySelectorAll("[data-offer]")) {
        label.hidden = label.control.disabled = !offered.includes(label.dataset.offer);
      }
    }
    for (const typed of previous?.querySelectorAll("input:not([type=hidden]), select") ?? []) {
      if (typed.name in form.elements) form.elements[typed.name].value = typed.value;
    }
    if (openForm()) closeForm();
    makeCurrent(row);
    markOpen(row, decision);
    row.after(opened);
    window.htmx?.process(opened);
    reason.focus({ preventScroll: true });
    opened.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.closest("#decision-form")) { event.preventDefault(); closeForm(); }
  });

  review.addEventListener("click", (event) => {
    const link = event.target.closest("[data-decide]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      openFormOf(link.closest("tr"), link.dataset.decide);
    } else if (event.target.closest("[data-close-form]")) {
      event.preventDefault();
      closeForm();
    }
  });

  review.addEventListener("focusin", (event) => {
    const row = event.target.closest("tr[data-connection]");
    if (row) makeCurrent(row);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.requestConfig?.elt;
    if (event.detail.xhr.status !== 200 || !form?.matches?.("[data-decision-form]")) return;
    if (form.id === "decide-selected") { goTo(current()); return; }
    /* htmx repeats the event once the form has been removed. */
    if (!form.isConnected) return;
    openForm()?.remove();
    goToNextPending(currentId);
  });

  if (openForm()) makeCurrent(openForm().previousElementSibling);
})();
