// Arrow keys go to the neighbours a page links to; "r" to a random one; "p" pins; "/" goes to the jump box. Ignored while typing.
(function () {
  const LINKS = { ArrowLeft: "nav-previous", ArrowRight: "nav-next", ArrowUp: "nav-up", ArrowDown: "nav-down",
    r: "nav-random", p: "nav-pin" };
  const typing = (element) =>
    element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) ||
    element.closest('[role="grid"], [role="listbox"], [role="slider"], [role="dialog"], pre') !== null;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (!(event.target instanceof Element) || typing(event.target)) return;
    if (event.key === "/") {
      const jump = document.getElementById("jump");
      if (jump) { jump.focus(); event.preventDefault(); }
      return;
    }
    const link = document.getElementById(LINKS[event.key] || "");
    if (link) { link.click(); event.preventDefault(); }
  });
})();
