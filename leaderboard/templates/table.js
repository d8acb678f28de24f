"use strict";
// Tables can be read without this script; with it, they are sorted by their headings and filtered by a field.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const status = document.getElementById(table.dataset.status);
  const field = document.getElementById(table.dataset.filter);

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...sorted([...body.rows], column, ascending));
    });
  });

  field.closest("p").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    status.textContent = `${shown} of ${body.rows.length} entries shown`;
  });
}

function sorted(rows, column, ascending) {
  const value = (row) => row.cells[column].dataset.value;
  const order = (a, b) => {
    const [first, second] = [value(a), value(b)];
    // What is missing comes last, whichever way the rest is sorted.
    if (first === "" || second === "") return (first === "") - (second === "");
    const difference = Number.isNaN(Number(first)) ? first.localeCompare(second) : Number(first) - Number(second);
    return ascending ? difference : -difference;
  };
  return rows.sort(order);
}
