// The sweep's slider: prepared counts change place in the plot without a call, and the address follows.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.sweep = {
  show(place, data) {
    if (!data || place === undefined || place === null) return window.dash_clientside.no_update;
    const plot = (id) => document.querySelector(`#${id} .js-plotly-plot`);
    const shown = plot("sweep-graph"), curves = plot("sweep-curves");
    const raised = (counts) => counts.map((count) => Math.max(count, data.bottom));
    if (shown) {
      window.Plotly.restyle(shown, {
        y: [raised(data.sparse[place]), raised(data.expanded[place])],
        customdata: [data.sparse[place], data.expanded[place]],
      }, [1, 2]);
      shown.closest(".plot").setAttribute("aria-label", data.words[place]);
    }
    if (curves) {
      const moved = {};
      (curves.layout.shapes || []).forEach((_, i) => {
        moved[`shapes[${i}].x0`] = moved[`shapes[${i}].x1`] = data.sparsity[place];
      });
      window.Plotly.relayout(curves, moved);
    }
    document.querySelectorAll(".sweep-row").forEach((row) =>
      row.classList.toggle("current", row.id === `sweep-row-${place}`));
    const address = new URL(window.location.href);
    address.searchParams.set("zeros", data.titles[place].replace(" %", ""));
    window.history.replaceState(window.history.state, "", address);
    return data.words[place];
  },
};
// Steps to neighbours and tabs were made before the slider moved: they take its place along.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("#page a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !document.getElementById("sweep-slider")) return;
  const zeros = new URL(window.location.href).searchParams.get("zeros"), target = new URL(link.href);
  if (!zeros || !target.pathname.endsWith("/sweep") || target.searchParams.get("zeros") === zeros) return;
  target.searchParams.set("zeros", zeros);
  event.preventDefault();
  event.stopPropagation();
  window.dash_clientside.set_props("url", { href: target.pathname + target.search });
}, true);
