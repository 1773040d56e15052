// Cells of the experts' table: one grid holds any number of experts, where a component each would freeze the page.
window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};
(function (cells) {
  const make = (tag, props, ...children) => window.React.createElement(tag, props, ...children);
  const ink = (row) => ({ background: row.colour, color: row.ink });
  cells.ExpertChip = ({ data }) =>
    make("span", { className: "expert-chip", style: ink(data), title: `expert ${data.expert}` }, String(data.expert));
  cells.ExpertBar = ({ data, value }) =>
    make("span", { className: "expert-share", title: `${value} of all calibration tokens` },
      make("span", { className: "expert-bar" },
        make("span", { style: { width: `${100 * value / data.largest}%`, background: data.colour } })),
      `${(100 * value).toPrecision(3)} %`);
  cells.ExpertWords = ({ value }) =>
    make("span", { className: "expert-words" }, ...(value || []).map(([word, times], place) =>
      make("span", { key: place }, make("code", null, word), ` ${times.toLocaleString("en")}  `)));
})(window.dashAgGridComponentFunctions);
