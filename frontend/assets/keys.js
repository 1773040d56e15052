// Keys that work on every page, and the list of them that "?" shows. Ignored while typing and inside grids and lists.
// A row: the keys as they are shown, what they do, the key as the browser names it, and the id of the link or button to press.
(function () {
  const KEYS = [
    ["←", "previous neuron", "ArrowLeft", "nav-previous"],
    ["→", "next neuron", "ArrowRight", "nav-next"],
    ["↑", "the same neuron of the block after", "ArrowUp", "nav-up"],
    ["↓", "the same neuron of the block before", "ArrowDown", "nav-down"],
    ["r", "a random neuron", "r", "nav-random"],
    ["p", "pin what is shown, or take the pin away", "p", "nav-pin"],
    ["/", "jump to block.projection.neuron, for example 15.up_proj.402", "/", "jump"],
    ["?", "this list", "?", "keys-button"],
    ["Esc", "close a list, a form or a menu", null, null],
    ["Tab", "the next link, field or plot", null, null],
  ];

  const typing = (element) =>
    element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) ||
    element.closest('[role="grid"], [role="treegrid"], [role="listbox"], [role="slider"], [role="dialog"], dialog, pre, .plot-table-rows') !== null;

  const made = (tag, text) => { const one = document.createElement(tag); if (text) one.textContent = text; return one; };

  function list() {
    const dialog = made("dialog"), table = made("table"), close = made("button", "Close"), title = made("h2", "Keys");
    dialog.id = "keys";
    title.id = "keys-title";
    dialog.setAttribute("aria-labelledby", title.id);
    close.className = "button";
    close.addEventListener("click", () => dialog.close());
    for (const [shown, what] of KEYS) {
      const row = made("tr"), head = made("th");
      head.scope = "row";
      head.append(made("kbd", shown));
      row.append(head, made("td", what));
      table.append(row);
    }
    dialog.append(title, table, close);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("#keys-button, .dismiss");
    if (!button) return;
    if (button.id === "keys-button") list();
    else button.closest(".card").hidden = true;
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && event.key !== "?") return;
    if (!(event.target instanceof Element) || typing(event.target)) return;
    const [, , , id] = KEYS.find((row) => row[2] === event.key) || [];
    const found = id && document.getElementById(id);
    if (!found) return;
    if (id === "jump") found.focus(); else found.click();
    event.preventDefault();
  });
})();
