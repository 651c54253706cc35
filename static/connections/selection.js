"use strict";
/* Selecting rows of a list: one by one, a range with Shift, the page, or all that match. A bar with data-keep keeps
   the selection over pages, orders and filters, until another page is opened from its form or the tab is closed, and
   says how much of it isn't on the page. Without this script, the checked boxes of the page are what a form sends. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const bar = () => $(".selection-bar");
  const boxes = () => [...document.querySelectorAll("td.cell-select input[type=checkbox]")];
  /* Boxes that select others. One with data-count stands for that many rows, also on other pages. */
  const groups = () => [...document.querySelectorAll("[data-select-all], [data-count]")];
  /* The facts of each selected row and the address that showed it last, by its value. */
  let selected = new Map();
  /* Where a range starts. */
  let anchor = null;

  /* The boxes of the page, or those to decide below a heading. */
  function boxesOf(group) {
    if (!group.dataset.count) return boxes();
    const places = [...document.querySelectorAll(".row-group, [data-decision=pending] > .cell-select input[type=checkbox]")];
    const below = places.slice(places.indexOf(group.closest(".row-group")) + 1);
    const end = below.findIndex((place) => place.matches(".row-group"));
    return end < 0 ? below : below.slice(0, end);
  }

  function notOnPage() {
    const shown = new Set(boxes().map((box) => box.value));
    return [...selected].filter(([value]) => !shown.has(value));
  }

  function store(isSent = false) {
    const key = bar().dataset.keep;
    if (key) sessionStorage.setItem(key, JSON.stringify({ rows: [...selected], isSent }));
  }

  /* A selection that was sent comes back only with the page that it was sent from. */
  function restore(isOld) {
    const key = bar()?.dataset.keep;
    if (!key) return;
    const { rows, isSent } = JSON.parse(sessionStorage.getItem(key) ?? '{"rows": []}');
    selected = new Map(isSent && !isOld ? [] : rows);
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

  /* Returns how many rows of other pages are selected by their heading. */
  function showGroup(group) {
    const below = boxesOf(group);
    const checked = below.filter((box) => box.checked).length;
    const others = Number(group.dataset.count ?? below.length) - below.length;
    /* Rows that are all on the page are sent themselves. */
    if (!others) group.removeAttribute("name");
    group.checked = checked === below.length && (others ? group.checked : checked > 0);
    group.indeterminate = checked > 0 && !group.checked;
    return group.checked ? others : 0;
  }

  function show() {
    const total = groups().map(showGroup).reduce((a, b) => a + b, selected.size);
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
    for (const box of [...boxes(), ...groups()]) box.checked = false;
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
    const isGroup = groups().includes(event.target);
    if (isGroup) for (const box of boxesOf(event.target)) box.checked = event.target.checked;
    if (isGroup || event.target.matches(".cell-select input")) readBoxes();
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

  /* After a part of the page was replaced, the rows are new. All that match come with their boxes checked. */
  document.addEventListener("htmx:afterSettle", (event) => {
    const selectsAll = event.detail.requestConfig?.elt.matches("[data-select-matching]");
    if (!selectsAll) restore(true);
    readBoxes();
    if (selectsAll) $("[data-select-none]").focus({ preventScroll: true });
  });

  /* After the browser has restored the page, or its checkboxes. */
  window.addEventListener("pageshow", (event) => {
    const [{ type } = {}] = performance.getEntriesByType("navigation");
    restore(event.persisted || type === "back_forward" || type === "reload");
    readBoxes();
  });
})();
