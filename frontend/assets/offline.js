// Says so when nothing answers any more, and goes on by itself once something does.
(function () {
  const ask = window.fetch.bind(window);
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  let waiting = false, leaving = false;

  function banner() {
    const made = document.createElement("div");
    made.id = "offline";
    made.setAttribute("role", "alert");
    made.textContent = "The server does not answer. What is on the screen stays; this page goes on by itself once it is back.";
    document.body.append(made);
    return made;
  }

  async function wait() {
    if (waiting || leaving) return;
    waiting = true;
    const shown = banner();
    for (let back = false; !back; ) {
      await pause(1000);
      back = await ask("/api/v1/health").then((answer) => answer.status < 500, () => false);
    }
    shown.remove();
    waiting = false;
    window.dash_clientside.set_props("reload", { data: Date.now() });
  }

  window.addEventListener("pagehide", () => { leaving = true; });
  window.addEventListener("pageshow", () => { leaving = false; });
  window.fetch = (...request) => ask(...request).catch((error) => {
    if (error.name !== "AbortError") wait();
    throw error;
  });
})();
