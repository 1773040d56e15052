// The table of a plot: made from what is drawn when it is opened, so that it costs nothing until somebody wants it.
(function () {
  const MOST = 500;
  const plain = (text) => String(text ?? "").replace(/<[^>]*>/g, "");
  const shown = (value) => typeof value === "number" ? String(Number(value.toPrecision(6))) : plain(value);
  const made = (tag, text) => { const one = document.createElement(tag); if (text !== undefined) one.textContent = text; return one; };
  const axis = (plot, trace, letter) => plot._fullLayout[(trace[letter + "axis"] || letter).replace(letter, letter + "axis")];
  const title = (plot, trace, letter) => plain(axis(plot, trace, letter)?.title?.text) || letter;

  // Rows of one trace: [series, x, y] or, of a heatmap, [series, x, y, value]; cells without a value are left out.
  function rows(trace) {
    const name = plain(trace.name || "");
    if (trace.z) {
      return Array.from(trace.z).flatMap((line, i) => Array.from(line).map((value, j) =>
        [name, trace.x ? trace.x[j] : j, trace.y ? trace.y[i] : i, value])).filter((row) => row[3] !== null && !Number.isNaN(row[3]));
    }
    const x = Array.from(trace.x || []), y = Array.from(trace.y || []);
    return x.map((value, i) => [name, value, y[i]]).filter((row) => row[2] !== null && row[2] !== undefined);
  }

  function fill(place, plot) {
    const traces = (plot._fullData || []).filter((trace) => trace.visible === true && (trace.x || trace.z));
    const all = traces.flatMap(rows), first = traces[0] || {};
    const wide = traces.some((trace) => trace.z);
    const bar = traces.find((trace) => trace.z && trace.colorbar);
    const head = ["series", title(plot, first, "x"), title(plot, first, "y")];
    if (wide) head.push(plain(bar?.colorbar?.title?.text || plot._fullLayout.coloraxis?.colorbar?.title?.text) || "value");
    const table = made("table"), top = made("tr"), body = made("tbody"), thead = made("thead"), caption = made("caption");
    const left = all.length - MOST;
    caption.textContent = left > 0 ? `The first ${MOST} of ${all.length.toLocaleString("en")} rows; all come over the API.`
      : `${all.length} rows.`;
    for (const text of head) { const cell = made("th", text); cell.scope = "col"; top.append(cell); }
    thead.append(top);
    for (const row of all.slice(0, MOST)) {
      const line = made("tr");
      for (const value of row) line.append(made("td", shown(value)));
      body.append(line);
    }
    table.className = "numbers";
    table.append(caption, thead, body);
    place.replaceChildren(table);
  }

  document.addEventListener("toggle", (event) => {
    const details = event.target;
    if (!(details instanceof Element) || !details.matches("details.plot-table") || !details.open) return;
    const plot = details.parentElement.querySelector(".js-plotly-plot");
    if (plot) fill(details.querySelector(".plot-table-rows"), plot);
  }, true);
})();
