// Looks again every two seconds and puts in what changed. Without it the page reloads itself.
"use strict";
(() => {
  const EVERY = 2000, PATIENCE = 5000;
  const live = document.getElementById("live");
  const button = document.getElementById("pause");
  let paused = false;
  let lost = false;

  const say = (text, old) => {
    if (live.textContent !== text) live.textContent = text;
    document.body.classList.toggle("old", old);
  };

  // Whoever marks something, or went somewhere by keyboard or scrolled aside, stays there.
  const renew = (page) => {
    const marked = getSelection();
    if (marked && !marked.isCollapsed) return;
    const focus = document.activeElement && document.activeElement.id;
    for (const section of page.querySelectorAll("main section")) {
      const shown = document.getElementById(section.id);
      if (!shown || shown.outerHTML === section.outerHTML) continue;
      const scrolled = [...shown.querySelectorAll(".scroll")].map((box) => [box.id, box.scrollLeft, box.scrollTop]);
      shown.replaceWith(document.importNode(section, true));
      for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
    }
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    if (document.title !== page.title) document.title = page.title;
  };

  const look = async () => {
    if (!paused && !document.hidden) {
      try {
        const signal = AbortSignal.timeout(PATIENCE);
        const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", signal });
        if (!answer.ok) throw new Error(String(answer.status));
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (!paused) {
          renew(page);
          say("Live", false);
        }
        lost = false;
      } catch {
        if (!lost) say(`No answer since ${new Date().toLocaleTimeString()}: what is shown is old`, true);
        lost = true;
      }
    }
    setTimeout(look, EVERY);
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    lost = false;
    button.textContent = paused ? "Resume" : "Pause";
    say(paused ? "Paused" : "Live", false);
  });
  say("Live", false);
  setTimeout(look, EVERY);
})();
