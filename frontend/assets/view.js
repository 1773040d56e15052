// The view in the address, changed in place: no step of the history, no new page; parts of the page follow it.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.view = {
  // changes: entries of the query; null takes one out. `_at`: the path they are for, should one have left it since.
  set(changes) {
    const address = new URL(window.location.href);
    if (changes && changes._at && changes._at !== address.pathname) return;
    for (const [key, value] of Object.entries(changes || {})) {
      if (key.startsWith("_")) continue;  // for other callbacks
      if (value === null || value === "") address.searchParams.delete(key);
      else address.searchParams.set(key, value);
    }
    if (address.href !== window.location.href) {
      window.history.replaceState(window.history.state, "", address);
      window.dash_clientside.set_props("url", { search: address.search, href: address.href });
    }
  },
  // The selected row of the table, by a rule of style: it holds for rows that are fetched later too.
  row(selected) {
    let rule = document.getElementById("selected-row");
    if (!rule) {
      rule = document.createElement("style");
      rule.id = "selected-row";
      document.head.append(rule);
    }
    const key = selected && selected.key;
    rule.textContent = key
      ? `#neuron-table .ag-row[row-id="${CSS.escape(key)}"] { background: var(--selected); box-shadow: inset 3px 0 #cc79a7; }`
      : "";
  },
};

// Arrow keys in a layer's table mark the neuron of the row that has the focus.
document.addEventListener("keyup", (event) => {
  if (!/^(Arrow|Page|Home|End)/.test(event.key) || !document.getElementById("layer-selected")) return;
  const focused = document.activeElement && document.activeElement.closest("#neuron-table .ag-row[row-id]");
  if (!focused) return;
  const selected = focused.getAttribute("row-id").split(".").pop();
  window.dash_clientside.set_props("set-view", { data: { selected, _by: "table" } });
});

// Enter opens: the neuron of the row that has the focus, else the one that is selected.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.defaultPrevented || !(event.target instanceof Element)) return;
  const row = event.target.closest("#neuron-table .ag-row[row-id]");
  if (row) {
    window.dash_clientside.set_props("open-row", { data: { row: row.getAttribute("row-id"), at: Date.now() } });
    return;
  }
  const open = document.getElementById("layer-open");
  const busy = event.target.closest('a, button, input, textarea, select, [role="slider"], [role="dialog"], [role="grid"]');
  if (open && !busy) open.click();
});
