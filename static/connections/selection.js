"use strict";
/* Selecting rows of a list: one by one, a range with Shift, the page, or all that match. A bar with data-keep keeps
   the selection over pages, orders, filters and the pages of its rows, until its form is sent, the list is opened from
   elsewhere or the tab is closed, and says how much of it isn't on the page. Without this script, the checked boxes of
   the page are what a form sends. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const bar = () => $(".selection-bar");
  const boxes = () => [...document.querySelectorAll("td.cell-select input[type=checkbox]")];
  /* The facts of each selected row and the address that showed it last, by its value. */
  let selected = new Map();
  /* Where a range starts. */
  let anchor = null;
  /* Where the first selected row was when the bar's form was sent. */
  let place = -1;

  /* The box of a link's row or, in a heading, those of the rows below it without an exception, if there are any. */
  function boxesOf(link) {
    const rows = [link.closest("tr")];
    if (rows[0].matches(".row-group")) {
      let next = rows.pop();
      while ((next = next.nextElementSibling) && !next.matches(".row-group")) rows.push(next);
    }
    const named = boxes().filter((box) => rows.includes(box.closest("tr")));
    const usual = named.filter((box) => !("exception" in box.dataset));
    return usual.length && rows.length > 1 ? usual : named;
  }

  function notOnPage() {
    const shown = new Set(boxes().map((box) => box.value));
    return [...selected].filter(([value]) => !shown.has(value));
  }

  function store(isSent = false) {
    const key = bar().dataset.keep;
    if (key) sessionStorage.setItem(key, JSON.stringify({ rows: [...selected], isSent }));
  }

  const isFromElsewhere = () => document.referrer && !new URL(document.referrer).pathname.startsWith(window.location.pathname);

  /* A selection that was sent, or that another part of the site followed, comes back only with its own page. */
  function restore(isOld) {
    const key = bar()?.dataset.keep;
    if (!key) return;
    const { rows, isSent } = JSON.parse(sessionStorage.getItem(key) ?? '{"rows": []}');
    selected = new Map((isSent || isFromElsewhere()) && !isOld ? [] : rows);
    for (const box of boxes()) box.checked = selected.has(box.value);
  }

  function readBoxes() {
    if (!bar()) return;
    if (!bar().dataset.keep) selected.clear();
    for (const box of boxes()) {
      if (box.checked) selected.set(box.value, { facts: box.dataset.facts ?? "", url: window.location.href });
      else selected.delete(box.value);
    }
    store();
    show();
  }

  const counted = (count, { one, many }) => `${count} ${count === 1 ? one : many}`;

  function show() {
    const total = selected.size;
    const all = $("[data-select-all]");
    const checked = boxes().filter((box) => box.checked).length;
    if (all) all.checked = checked > 0 && checked === boxes().length;
    if (all) all.indeterminate = checked > 0 && !all.checked;
    const [first, ...others] = notOnPage();
    bar().toggleAttribute("data-open", total > 0);
    $(".selection-count", bar()).textContent = `${total} selected`;
    for (const place of bar().querySelectorAll("[data-selected]")) place.textContent = counted(total, place.dataset);
    const facts = [...selected.values()].flatMap((row) => row.facts.split(" "));
    for (const place of bar().querySelectorAll("[data-fact]")) {
      const count = facts.filter((fact) => fact === place.dataset.fact).length;
      place.textContent = counted(count, place.dataset);
      place.hidden = count === 0;
    }
    const note = $(".selection-elsewhere", bar());
    if (!note) return;
    note.hidden = !first;
    if (!first) return;
    $("strong", note).textContent = counted(others.length + 1, $("strong", note).dataset);
    $("a", note).href = first[1].url;
  }

  function selectNone() {
    for (const box of boxes()) box.checked = false;
    selected.clear();
    readBoxes();
  }

  document.addEventListener("click", (event) => {
    const box = event.target.closest("td.cell-select input[type=checkbox]");
    if (event.target.closest("[data-select-none]")) selectNone();
    if (event.target.closest("[data-select-page]")) {
      selected.clear();
      readBoxes();
    }
    if (!box) return;
    const all = boxes();
    const [from, to] = [all.indexOf(anchor), all.indexOf(box)].sort((a, b) => a - b);
    if (event.shiftKey && from >= 0) {
      for (const each of all.slice(from, to + 1)) each.checked = box.checked;
      window.getSelection().removeAllRanges();
    }
    anchor = box;
  });

  document.addEventListener("change", (event) => {
    const isAll = event.target.matches("[data-select-all]");
    if (isAll) for (const box of boxes()) box.checked = event.target.checked;
    if (isAll || event.target.matches(".cell-select input")) readBoxes();
  });

  /* Press a button of the bar. If a field is missing, go there; Enter then presses the button. */
  function press(button) {
    const missing = [...bar().querySelectorAll(":invalid")].find((each) => each.checkVisibility());
    for (const each of bar().querySelectorAll("[data-key]")) each.toggleAttribute("data-chosen", Boolean(missing) && each === button);
    if (missing) missing.focus();
    else button.click();
  }

  document.addEventListener("selection:press", ({ target }) => press(target));

  /* A link selects its rows in place of others, unless they are all selected already. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-select]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const named = boxesOf(link);
    const isSelected = named.every((box) => box.checked);
    if (!isSelected) for (const box of boxes()) box.checked = named.includes(box);
    readBoxes();
    const key = link.dataset.key;
    if (key) press($(`[data-key="${CSS.escape(key)}"]`, bar()));
  });

  /* Close the form that a button of the bar has opened in it. The selection stays. */
  function fold() {
    $("#agreement").replaceChildren();
    $("[data-key]", bar()).focus();
    store();
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-fold]")) fold();
  });

  /* On the window, after everything else that Escape closes. */
  window.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || $("dialog[open]") || !bar()?.hasAttribute("data-open")) return;
    if ($("#agreement > *")) fold();
    else if (!event.target.closest("input:not([type=checkbox]), select, textarea")) selectNone();
  });

  /* The selected rows of other pages. */
  document.addEventListener("formdata", (event) => {
    if (event.target !== bar() || !bar().dataset.keep) return;
    for (const [value] of notOnPage()) event.formData.append(bar().dataset.name, value);
    store(true);
  });

  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (detail.elt === bar()) place = boxes().findIndex((box) => box.checked);
  });

  /* After a part of the page was replaced, the rows are new. All that match come with their boxes checked. What was
     selected might have left the list, so the focus goes to the row that has its place. */
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    const selectsAll = detail.requestConfig?.elt.matches("[data-select-matching]");
    if (!selectsAll) restore(true);
    readBoxes();
    if (selectsAll) $("[data-select-none]").focus({ preventScroll: true });
    if (detail.requestConfig?.elt.id === "decide-selected" && detail.xhr.status === 200) (boxes()[place] ?? boxes().at(-1) ?? $("#list a"))?.focus();
  });

  /* After the browser has restored the page, or its checkboxes. */
  window.addEventListener("pageshow", (event) => {
    const [{ type } = {}] = performance.getEntriesByType("navigation");
    restore(event.persisted || type === "back_forward" || type === "reload");
    readBoxes();
  });
})();
