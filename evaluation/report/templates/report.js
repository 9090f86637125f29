"use strict";
{
  const collator = new Intl.Collator("en", { numeric: true });

  const key = (cell, numeric) => {
    if (!numeric) return cell.textContent;
    return cell.hasAttribute("data-value") ? Number(cell.dataset.value) : null;
  };

  const sort = (table, headers, column) => {
    const header = headers[column];
    const numeric = header.classList.contains("number");
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const compare = (a, b) => {
      // What has no value stays last in both directions.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      const order = numeric ? a.key - b.key : collator.compare(a.key, b.key);
      return ascending ? order : -order;
    };
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row.cells[column], numeric) }));
    rows.sort(compare);
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    table.tBodies[0].append(...rows.map((entry) => entry.row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, headers, column));
      header.append(button);
    });
  }

  for (const filter of document.querySelectorAll(".filter")) {
    const rows = [...document.getElementById(filter.dataset.table).tBodies[0].rows];
    const texts = rows.map((row) =>
      [...row.cells].filter((cell) => cell.tagName === "TH").map((cell) => cell.textContent).join(" ").toLowerCase());
    const input = filter.querySelector("input");
    const shown = filter.querySelector("output");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, index) => {
        row.hidden = !words.every((word) => texts[index].includes(word));
        count += !row.hidden;
      });
      shown.textContent = words.length ? `${count} of ${rows.length} rows` : "";
    });
    filter.hidden = false;
  }
}
