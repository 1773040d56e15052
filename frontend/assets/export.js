// The cards' export menus: copies a command, saves a plot as a picture, and closes when one looks elsewhere.
(function () {
  const INK = "#212529", PAPER = "#ffffff";

  function copyByHand(text) {  // where a page without TLS has no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("the browser did not copy"));
  }

  function tell(button, text) {
    button.dataset.text = button.dataset.text || button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = button.dataset.text; }, 1500);
  }

  function copy(button) {
    const text = button.dataset.copy;
    const done = navigator.clipboard ? navigator.clipboard.writeText(text).catch(() => copyByHand(text)) : copyByHand(text);
    done.then(() => tell(button, "copied"), () => tell(button, "not copied"));
  }

  async function picture(button) {
    const plot = document.querySelector(`#${button.dataset.plot} .js-plotly-plot`);
    if (!plot) return tell(button, "no plot");
    // Drawn for paper, whatever the theme: the page's colours come from its style sheet, which a picture has not.
    const layout = { ...plot.layout, paper_bgcolor: PAPER, plot_bgcolor: PAPER, font: { ...plot.layout.font, color: INK } };
    const size = { width: plot.offsetWidth, height: plot.offsetHeight, scale: 2 };
    const url = await window.Plotly.toImage({ data: plot.data, layout }, { format: button.dataset.image, ...size });
    const link = document.createElement("a");
    const place = location.pathname.split("/").slice(-4).filter((part) => part !== "neurons").join("-");
    link.href = url;
    link.download = `${place}-${button.dataset.name}.${button.dataset.image}`;
    link.click();
    return tell(button, "saved");
  }

  document.addEventListener("click", (event) => {
    const inside = event.target instanceof Element ? event.target.closest(".export") : null;
    for (const menu of document.querySelectorAll(".export[open]")) if (menu !== inside) menu.open = false;
    const button = inside ? event.target.closest("button") : null;
    if (button && button.dataset.copy !== undefined) copy(button);
    if (button && button.dataset.image !== undefined) picture(button).catch(() => tell(button, "failed"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll(".export[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
})();
