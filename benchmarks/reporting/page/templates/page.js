"use strict";

(() => {
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const comparison = find("#comparison");
  const status = find("#status");

  // Dark or light: what the system asks for, until the button says otherwise.

  const theme = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

  function nameTheme() {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Show the page ${isDark() ? "light" : "dark"}`);
  }

  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  system.addEventListener("change", nameTheme);

  // Columns are shown and hidden by groups.

  function showGroup(box) {
    for (const cell of all(`[data-group="${box.value}"]`, comparison)) cell.hidden = !box.checked;
    settle(comparison);
    reach();
  }

  // One cell of a table can be reached by the tab key, the others from it by the arrow keys.

  const shownCells = (row) => all("td", row).filter((cell) => !cell.hidden);

  function walkTo(table, cell) {
    for (const other of all("tbody td[tabindex='0']", table)) other.tabIndex = -1;
    if (cell) cell.tabIndex = 0;
  }

  function settle(table) {
    if (find("tbody td[tabindex='0']:not([hidden])", table)) return;
    walkTo(table, all("tbody td", table).find((cell) => !cell.hidden));
  }

  function neighbour(cell, key) {
    const inRow = shownCells(cell.parentElement);
    const rows = all("tbody tr", cell.closest("table")).filter((row) => find("td", row));
    const along = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const across = { ArrowUp: -1, ArrowDown: 1 }[key];
    if (along) return inRow[inRow.indexOf(cell) + along];
    if (across) return rows[rows.indexOf(cell.parentElement) + across]?.cells[cell.cellIndex];
    return { Home: inRow[0], End: inRow.at(-1) }[key];
  }

  function makeWalkable(table) {
    for (const cell of all("tbody td", table)) cell.tabIndex = -1;
    settle(table);
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("tbody td");
      const next = cell && !event.ctrlKey && !event.altKey && !event.metaKey && neighbour(cell, event.key);
      if (!next) return;
      event.preventDefault();
      walkTo(table, next);
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    table.addEventListener("focusin", (event) => {
      const cell = event.target.closest("tbody td");
      if (cell) walkTo(table, cell);
    });
  }

  // Sorting: the best first, then the other way round; what is missing stays last.

  function compare(a, b, kind) {
    if (a === undefined || b === undefined) return null;
    return kind === "number" ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
  }

  function sort(head) {
    const first = head.dataset.better === "higher" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const body = find("tbody.contenders", comparison);
    const keyed = [...body.rows].map((row) => ({ row, key: row.cells[head.cellIndex].dataset.value }));
    keyed.sort((a, b) => {
      const known = compare(a.key, b.key, head.dataset.kind);
      return known === null ? (a.key === undefined) - (b.key === undefined) : sign * known;
    });
    body.append(...keyed.map(({ row }) => row));
    for (const other of all("thead [aria-sort]", comparison)) other.setAttribute("aria-sort", other === head ? order : "none");
    status.textContent = `Sorted by ${find("button", head).textContent}, ${order}.`;
  }

  // What explains a heading or a cell appears when it is pointed at and when it has the focus.

  const tip = find("#tip");
  let explained = null;
  let leaving = 0;

  // A cell says what it is, its column's heading what that means.
  const meaning = (target) =>
    target.matches("#comparison td") ? comparison.tHead.rows[1].cells[target.cellIndex].dataset.meaning : "";

  function explain(target) {
    clearTimeout(leaving);
    if (target === explained) return;
    hide();
    explained = target;
    explained.setAttribute("aria-describedby", "tip");
    tip.textContent = [explained.dataset.tip, meaning(explained)].filter(Boolean).join("\n");
    tip.hidden = false;
    show();
  }

  function show() {
    const target = explained.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, target.left), document.documentElement.clientWidth - width - 8);
    const below = target.bottom + 6;
    const fits = below + height <= window.innerHeight - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${fits ? below : Math.max(8, target.top - height - 6)}px`;
  }

  function hide() {
    clearTimeout(leaving);
    explained?.removeAttribute("aria-describedby");
    explained = null;
    tip.hidden = true;
  }

  function leave() {
    clearTimeout(leaving);
    leaving = setTimeout(hide, 120);
  }

  const explainable = (event) => event.target.closest?.("[data-tip]");
  document.addEventListener("pointerover", (event) => {
    if (explainable(event)) explain(explainable(event));
    else if (tip.contains(event.target)) clearTimeout(leaving);
    else if (explained && explained !== document.activeElement) leave();
  });
  document.addEventListener("focusin", (event) => (explainable(event) ? explain(explainable(event)) : hide()));
  document.addEventListener("focusout", leave);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.documentElement.addEventListener("pointerleave", () => explained !== document.activeElement && leave());
  document.addEventListener("scroll", () => {
    if (!explained) return;
    if (explained === document.activeElement || explained.matches(":hover") || tip.matches(":hover")) show();
    else hide();
  }, { passive: true, capture: true });

  // What is wider than the page scrolls by itself, and by the keyboard where it does.

  function reach() {
    for (const box of all(".scroll")) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);

  // Files and the clipboard.

  function download(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function copy(source, button) {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    status.textContent = "Copied the command.";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  // On paper nothing can be opened, so what is worth reading is open.

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details[data-print]:not([open])");
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });

  nameTheme();
  theme.hidden = false;
  for (const table of all("table.walk")) makeWalkable(table);
  if (comparison) {
    find("#controls").hidden = false;
    for (const box of all("#controls input")) {
      showGroup(box);
      box.addEventListener("change", () => showGroup(box));
    }
    for (const head of all("thead button", comparison)) head.addEventListener("click", () => sort(head.closest("th")));
    const csv = find("#csv");
    csv.addEventListener("click", () => download(csv.dataset.file, JSON.parse(find("#table-csv").textContent)));
  } else reach();
  const button = find("#copy");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => copy(find("#command"), button));
  }
})();
