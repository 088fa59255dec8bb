// Sorting, filtering and opening; without it the page has the same tables, figures and sections.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const sections = all("details.section");
  const folds = all("details");

  // A link to something inside a closed section opens it, and one to a filtered row brings the row back.
  const reveal = () => {
    let target = null;
    try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no address of ours */ }
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target.hidden) all("input[type=search]").forEach((input) => { input.value = ""; input.oninput(); });
    all("tr.here").forEach((row) => row.classList.remove("here"));
    if (target.tagName === "TR") target.classList.add("here");
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    // The same link once more changes no hash.
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) reveal();
  });

  const expand = document.getElementById("expand");
  const relabel = () => {
    expand.textContent = sections.every((each) => each.open) ? "Collapse all" : "Expand all";
  };
  expand.hidden = false;
  expand.onclick = () => {
    const open = !sections.every((each) => each.open);
    sections.forEach((each) => { each.open = open; });
    relabel();
  };
  sections.forEach((each) => each.addEventListener("toggle", relabel));

  // On a phone the answers come before what gave no reason to doubt them.
  const passed = document.getElementById("passed");
  const narrow = matchMedia("(max-width: 40rem)");
  const fold = () => { if (passed) passed.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = folds.filter((each) => !each.open);
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));

  // Numbers by their value, text by the alphabet; what does not exist stays last in both directions.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.order;
    return number === undefined ? (cell.textContent.trim() === "–" ? null : cell.textContent.trim()) : Number(number);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));
  all("table").forEach((table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    if (original.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      // A button needs a name.
      if (!heading.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.onclick = () => {
        const next = { ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")] || "ascending";
        all("th[aria-sort]", table.tHead).forEach((each) => each.removeAttribute("aria-sort"));
        let rows = original;
        if (next !== "none") {
          heading.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          const keyed = original.map((row) => [keyOf(row, column), row]);
          rows = [
            ...keyed.filter(([key]) => key !== null).sort((a, b) => sign * compare(a[0], b[0])),
            ...keyed.filter(([key]) => key === null),
          ].map(([, row]) => row);
        }
        body.append(...rows);
      };
    });
  });

  all(".filter").forEach((filter) => {
    const input = filter.querySelector("input");
    const rows = [...document.getElementById(input.dataset.of).querySelector("tbody").rows];
    const status = filter.querySelector("[role=status]");
    filter.hidden = false;
    input.oninput = () => {
      const wanted = input.value.trim().toLowerCase();
      rows.forEach((row) => { row.hidden = !(row.dataset.words || row.textContent).toLowerCase().includes(wanted); });
      const shown = rows.filter((row) => !row.hidden).length;
      status.textContent = `${shown} of ${rows.length} ${input.dataset.noun}`;
    };
    // Not every browser clears a search at Escape.
    input.onkeydown = (event) => {
      if (event.key === "Escape") { input.value = ""; input.oninput(); }
    };
    input.oninput();
  });

  // What does not scroll needs no stop of the Tab key.
  const measure = (region) => {
    const overflows = region.scrollWidth > region.clientWidth + 1;
    region.parentElement.classList.toggle("overflows", overflows);
    if (overflows) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  };
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => measure(entry.target)));
  all(".scroll").forEach((region) => { measure(region); observer.observe(region); });

  if (location.hash) reveal();
})();
