"use strict";
/* Selecting rows of a list: one by one, a range with Shift, the page, or all that match. A bar with data-keep keeps
   the selection over pages, orders and filters, until another page is opened from its form or the tab is closed.
   Without this script, the checked rows of the page are what a form sends. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const bar = () => $(".selection-bar");
  const boxes = () => [...document.querySelectorAll("td.cell-select input[type=checkbox]")];
  /* The facts of each selected row, by its value. */
  let selected = new Map();
  /* Where a range starts. */
  let anchor = null;

  const stored = () => JSON.parse(sessionStorage.getItem(bar().dataset.keep) ?? "{}");

  function store(isSent = false) {
    const key = bar()?.dataset.keep;
    if (!key) return;
    if (selected.size) sessionStorage.setItem(key, JSON.stringify({ rows: [...selected], isSent }));
    else sessionStorage.removeItem(key);
  }

  /* A selection that was sent comes back only with the page that it was sent from. */
  function restore(isOld) {
    if (!bar()?.dataset.keep) return;
    const { rows = [], isSent = false } = stored();
    selected = new Map(isSent && !isOld ? [] : rows);
    for (const box of boxes()) box.checked = selected.has(box.value);
  }

  function readBoxes() {
    if (!bar()?.dataset.keep) selected.clear();
    for (const box of boxes()) {
      if (box.checked) selected.set(box.value, box.dataset.facts ?? "");
      else selected.delete(box.value);
    }
    store();
    show();
  }

  function select(rows) {
    selected = new Map(rows);
    for (const box of boxes()) box.checked = selected.has(box.value);
    store();
    show();
  }

  const counted = (count, { one, many }) => `${count} ${count === 1 ? one : many}`;

  function show() {
    const all = $("[data-select-all]");
    if (all) {
      const checked = boxes().filter((box) => box.checked).length;
      all.checked = checked > 0 && checked === boxes().length;
      all.indeterminate = checked > 0 && !all.checked;
    }
    if (!bar()) return;
    bar().toggleAttribute("data-open", selected.size > 0);
    $(".selection-count", bar()).textContent = `${selected.size} selected`;
    for (const place of bar().querySelectorAll("[data-selected]")) place.textContent = counted(selected.size, place.dataset);
    const elsewhere = selected.size - boxes().filter((box) => box.checked).length;
    const facts = [...selected.values()].flatMap((text) => text.split(" ")).concat(Array(elsewhere).fill("elsewhere"));
    for (const place of bar().querySelectorAll("[data-fact]")) {
      const count = facts.filter((fact) => fact === place.dataset.fact).length;
      place.textContent = counted(count, place.dataset);
      place.hidden = count === 0;
    }
  }

  async function selectMatching(button) {
    try {
      const response = await fetch(button.dataset.selectMatching, { credentials: "same-origin" });
      select([...selected, ...(await response.json())]);
    } catch {
      /* The page says what is wrong. */
      window.location.reload();
    }
  }

  document.addEventListener("click", (event) => {
    const box = event.target.closest("td.cell-select input[type=checkbox]");
    const matching = event.target.closest("[data-select-matching]");
    if (matching) selectMatching(matching);
    if (event.target.closest("[data-select-none]")) select([]);
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
    if (event.target.matches(".cell-select input")) readBoxes();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !selected.size) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, details[open]")) return;
    select([]);
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
