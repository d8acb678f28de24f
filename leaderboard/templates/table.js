"use strict";
// Tables can be read without this script; with it, they are sorted by their headings and filtered by a field.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const entries = [...body.rows].filter((row) => !row.classList.contains("none"));
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
      body.append(...sorted([...entries], column, ascending));
    });
  });

  field.closest("p").hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const row of entries) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    status.textContent = `${shown} of ${entries.length} entries shown`;
  });
}

function sorted(rows, column, ascending) {
  const value = (row) => row.cells[column].dataset.value;
  // One order for a whole column: by number where every value that is there is one.
  const numeric = rows.every((row) => !Number.isNaN(Number(value(row))));
  const order = (a, b) => {
    const [first, second] = [value(a), value(b)];
    // What is missing comes last, whichever way the rest is sorted.
    if (first === "" || second === "") return (first === "") - (second === "");
    const difference = numeric ? Number(first) - Number(second) : first.localeCompare(second);
    return ascending ? difference : -difference;
  };
  return rows.sort(order);
}
