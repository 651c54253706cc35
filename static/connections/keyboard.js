"use strict";
/* The keyboard: keys of every page, and of the row with the focus. Each does what a link or a button also does. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const dialog = $("#shortcuts");
  const everywhere = $("[data-search-everywhere]");
  const bar = () => $(".selection-bar");
  /* The rows of all lists. The field that searches everywhere is like a row above its results. */
  const ROW = "main :is(table:not(.matrix) > tbody > tr:not(.row-form), .items > li, .hits > li, .search-everywhere)";
  const CONTROL = "[data-search-everywhere], [type=checkbox], a[href], button, summary";
  const SELECT = "td.cell-select [type=checkbox]";
  const ACTION = ":is(button, summary, .button, .cell-action a):not([data-copy], .link-danger)";
  const FIELD = "input:not([type=checkbox]), select, textarea, [contenteditable]";

  const controlOf = (row) => [...row.querySelectorAll(CONTROL)].find((each) => each.checkVisibility() && !each.disabled);

  /* To a row's checkbox or link, for which a screen reader also says what stands out in the row. */
  function goTo(row) {
    if (!row) return false;
    const control = controlOf(row);
    const facts = [...row.querySelectorAll(".badge, .exception")].map((each) => each.textContent.trim());
    if (facts.length) control.setAttribute("aria-description", facts.join(", "));
    control.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    return true;
  }

  function move(row, step) {
    const rows = [...document.querySelectorAll(ROW)];
    const place = rows.indexOf(row);
    return row ? goTo((step > 0 ? rows.slice(place + 1) : rows.slice(0, place).reverse()).find(controlOf)) : false;
  }

  /* As a click does, so that Shift selects a range. */
  function toggle(row, { shiftKey }) {
    const box = row && $("[type=checkbox]", row);
    box?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey }));
    return Boolean(box);
  }

  /* A link opens by itself. */
  function open(row, { target }) {
    if (!row || !target.matches("tr, [type=checkbox]")) return false;
    $("a[href]", row)?.click();
    return true;
  }

  const pressInBar = (button) => button.dispatchEvent(new CustomEvent("selection:press", { bubbles: true }));

  /* The key of a button. With a selection, it is about that; otherwise about the row. */
  function press(key, row) {
    const named = `[data-key="${CSS.escape(key)}"]`;
    const inBar = bar() && $(named, bar());
    const place = row ?? (key === "e" ? null : $(SELECT)?.closest(ROW));
    if (inBar && bar().hasAttribute("data-open")) pressInBar(inBar);
    else if (!place) return false;
    else if ($(named, place)) $(named, place).click();
    else if (inBar && toggle(place, {})) pressInBar(inBar);
    else if (key === "e") ($(ACTION, place) ?? $("a[href]", place))?.click();
    else return false;
    return true;
  }

  /* Into this field or, without one, to the page that searches everywhere, with its last text. */
  function goToSearch(field) {
    const link = $(".nav-search");
    if (field) {
      field.focus();
      field.select();
    } else if (link) {
      const last = sessionStorage.getItem("search");
      window.location.assign(last ? `${link.href}?q=${encodeURIComponent(last)}` : link.href);
    }
    return true;
  }

  if (everywhere) {
    everywhere.select();
    const remember = () => sessionStorage.setItem("search", everywhere.value.trim());
    remember();
    everywhere.addEventListener("input", remember);
  }

  /* Enter opens the first hit, unless the results are those of an older text. */
  function openFirstHit() {
    const hit = $("[data-results-of]").dataset.resultsOf === everywhere.value.trim() && $(".hit-name");
    if (hit) hit.click();
    return Boolean(hit);
  }

  function closeMenu(target) {
    const menu = target.closest("details.menu[open]") ?? $("details.menu[open]:not(.sidebar-toggle)");
    if (!menu) return false;
    menu.open = false;
    $("summary", menu).focus();
    return true;
  }

  const actions = {
    ArrowDown: (row) => move(row, 1),
    ArrowUp: (row) => move(row, -1),
    Enter: open,
    x: toggle,
    "/": () => goToSearch($("[data-search]") ?? $("input[type=search]")),
    n: () => { window.location.assign(dialog.dataset.next); return true; },
    "?": () => { $("[hx-target='#keys']").click(); return true; },
  };

  function act(event) {
    const { key, target, shiftKey } = event;
    const isControl = event.ctrlKey || event.metaKey;
    if (isControl && key === "k" && $(".nav-search")) return goToSearch(everywhere);
    if (isControl || event.altKey || event.isComposing) return false;
    if (key === "Escape") return closeMenu(target);
    if (key === "Enter" && target === everywhere) return openFirstHit();
    const chosen = key === "Enter" && target.closest(".selection-bar") && $("[data-chosen]", bar());
    if (chosen && target.matches("input")) { chosen.click(); return true; }
    const isSingle = key.length === 1;
    if (target.closest(FIELD) && !(target === everywhere && key.startsWith("Arrow"))) return false;
    if (isSingle && (event.repeat || !dialog?.hasAttribute("data-single-keys"))) return false;
    const name = isSingle ? key.toLowerCase() : key;
    if (shiftKey && !["x", "/", "?"].includes(name)) return false;
    const row = target.closest(ROW);
    if (name in actions) return actions[name](row, event);
    return isSingle && press(name, row);
  }

  document.addEventListener("keydown", (event) => {
    if (!event.defaultPrevented && !$("dialog[open]") && act(event)) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[href='#list']") && goTo([...document.querySelectorAll(ROW)].find(controlOf))) event.preventDefault();
  });

  document.addEventListener("htmx:afterSwap", ({ target }) => {
    if (target.id !== "keys") return;
    dialog.showModal();
    $("#shortcuts-title").focus();
  });
})();
