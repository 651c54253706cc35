"use strict";
/* Selecting rows of a list: one by one, a range with Shift, the page, or all that match. A bar with data-keep keeps
   the selection over pages, orders and filters, until another page is opened from its form or the tab is closed.
   Without this script, the checked boxes of the page are what a form sends. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const bar = () => $(".selection-bar");
  const boxes = () => [...document.querySelectorAll("td.cell-select input[type=checkbox]")];
  /* A box with data-count stands for that many rows, also on other pages. It is selected instead of single rows, not
     with them. */
  const wholes = () => [...document.querySelectorAll("input[data-count]")];
  /* The facts of each selected row, by its value. */
  let selected = new Map();
  /* Where a range starts. */
  let anchor = null;

  const stored = () => JSON.parse(sessionStorage.getItem(bar().dataset.keep) ?? "{}");
  const digestOf = (whole) => whole.checked ? whole.dataset.digest : "";

  function store(isSent = false) {
    const key = bar()?.dataset.keep;
    if (!key) return;
    const whole = wholes().map(digestOf).join("");
    if (selected.size || whole) sessionStorage.setItem(key, JSON.stringify({ rows: [...selected], whole, isSent }));
    else sessionStorage.removeItem(key);
  }

  /* A selection that was sent comes back only with the page that it was sent from. */
  function restore(isOld) {
    if (!bar()?.dataset.keep) return;
    const { rows = [], whole = "", isSent = false } = isOld || !stored().isSent ? stored() : {};
    selected = new Map(rows);
    for (const box of boxes()) box.checked = selected.has(box.value);
    for (const each of wholes()) each.checked = each.dataset.digest === whole;
  }

  function readBoxes() {
    if (!bar()?.dataset.keep) selected.clear();
    for (const box of boxes()) {
      if (box.checked && !box.disabled) selected.set(box.value, box.dataset.facts ?? "");
      else selected.delete(box.value);
    }
    store();
    show();
  }

  function clear(kind) {
    for (const box of kind()) box.checked = false;
    if (kind === boxes) selected.clear();
  }

  const counted = (count, { one, many }) => `${count} ${count === 1 ? one : many}`;

  /* The rows of the page look selected, and a click on one doesn't give up the others. */
  function showEverything(isSelected) {
    for (const box of boxes()) {
      box.disabled = isSelected;
      box.checked ||= isSelected;
    }
  }

  function show() {
    const everything = bar() && $("[data-count]", bar());
    if (everything) showEverything(everything.checked);
    const all = $("[data-select-all]");
    if (all) {
      const checked = boxes().filter((box) => box.checked).length;
      all.checked = checked > 0 && checked === boxes().length;
      all.indeterminate = checked > 0 && !all.checked;
    }
    if (!bar()) return;
    const whole = wholes().filter((box) => box.checked).map((box) => Number(box.dataset.count));
    const total = whole.reduce((a, b) => a + b, selected.size);
    bar().toggleAttribute("data-open", total > 0);
    $(".selection-count", bar()).textContent = `${total} selected`;
    for (const place of bar().querySelectorAll("[data-selected]")) place.textContent = counted(total, place.dataset);
    const elsewhere = selected.size && selected.size - boxes().filter((box) => box.checked).length;
    const facts = [...selected.values()].flatMap((text) => text.split(" ")).concat(Array(elsewhere).fill("elsewhere"));
    for (const place of bar().querySelectorAll("[data-fact]")) {
      const count = facts.filter((fact) => fact === place.dataset.fact).length;
      place.textContent = counted(count, place.dataset);
      place.hidden = count === 0;
    }
  }

  function selectNone() {
    clear(boxes);
    clear(wholes);
    store();
    show();
  }

  document.addEventListener("click", (event) => {
    const box = event.target.closest("td.cell-select input[type=checkbox]");
    if (event.target.closest("[data-select-none]")) selectNone();
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
    if (event.target.matches("[data-select-all]")) for (const box of boxes()) box.checked = event.target.checked;
    const isWhole = event.target.matches("[data-count]");
    if (!isWhole && !event.target.matches(".cell-select input")) return;
    clear(isWhole ? boxes : wholes);
    readBoxes();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !bar()?.hasAttribute("data-open")) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, details[open]")) return;
    selectNone();
  });

  /* The selected rows of other pages. */
  document.addEventListener("formdata", (event) => {
    if (event.target !== bar() || !bar().dataset.keep) return;
    const shown = new Set(boxes().map((box) => box.value));
    for (const value of selected.keys()) if (!shown.has(value)) event.formData.append(bar().dataset.name, value);
    store(true);
  });

  /* After a part of the page was replaced, the rows are new. */
  document.addEventListener("htmx:afterSettle", () => {
    restore(true);
    readBoxes();
  });

  /* After the browser has restored the page, or its checkboxes. */
  window.addEventListener("pageshow", (event) => {
    const [{ type } = {}] = performance.getEntriesByType("navigation");
    restore(event.persisted || type === "back_forward" || type === "reload");
    readBoxes();
  });
})();
