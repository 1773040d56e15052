// Links that were made without it keep what is pinned: only "unpin" leaves it behind.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || link.target) return;
  if (link.classList.contains("unpin") || link.origin !== window.location.origin) return;
  const pin = new URL(window.location.href).searchParams.get("pin"), target = new URL(link.href);
  if (!pin || target.searchParams.has("pin") || !(target.pathname === "/" || target.pathname.startsWith("/runs/"))) return;
  target.searchParams.set("pin", pin);
  event.preventDefault();
  event.stopPropagation();
  window.dash_clientside.set_props("url", { href: target.pathname + target.search });
}, true);
