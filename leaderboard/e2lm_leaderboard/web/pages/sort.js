// Sorts a table by the column whose heading is pressed; the first order is the ranking's own.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const place = [...heading.parentNode.children].indexOf(heading);
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    const key = (row) => row.cells[place].dataset.key ?? row.cells[place].textContent.trim();
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y);
      return rising ? order : -order;
    });
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    body.append(...rows);
  });
}

// Shows the rows that hold what is typed; without scripts the field is not there.
const filter = document.querySelector("#filter");
if (filter) {
  filter.closest(".filter").hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of document.querySelectorAll("table.ranking tbody tr")) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}
