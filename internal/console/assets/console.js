// What pages do beyond what the server made: they are told what changes, a whole page of jobs can be chosen, and a
// link of exportd-dev signs in. Without it all else works.
"use strict";
(() => {
  const policy = window.trustedTypes ? trustedTypes.createPolicy("console", { createHTML: made => made }) : { createHTML: made => made };

  // A page that is told what changes. What is open and where the keyboard is stays so. While nobody looks, it asks
  // for nothing: a browser has six connections to a server, and other tabs want some.
  const place = document.getElementById("live"), pulse = document.getElementById("pulse"), source = document.body.dataset.live;
  const say = text => { if (pulse && pulse.textContent !== text) pulse.textContent = text; };
  // The same again is not shown, and nothing while a button of the mouse is down: what is under it would be another
  // element when it is let go, and the click be lost.
  const parsed = made => { const t = document.createElement("template"); t.innerHTML = policy.createHTML(made); return t.innerHTML.trim(); };
  let shown = place ? place.innerHTML.trim() : "", held = false, waiting = null;
  addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(() => {
    held = false;
    if (waiting !== null) { const made = waiting; waiting = null; show(made); }
  }));
  const show = made => {
    if (held) { waiting = made; return; }
    const now = parsed(made);
    if (now === shown) return;
    shown = now;
    const open = new Set([...place.querySelectorAll("details[open][id]")].map(d => d.id));
    const links = () => [...place.querySelectorAll("a, button, summary, [tabindex]")];
    const at = links().indexOf(document.activeElement);
    place.innerHTML = policy.createHTML(made); // from this server, escaped as the page was
    for (const id of open) { const d = document.getElementById(id); if (d) d.open = true; }
    if (at >= 0) links()[at]?.focus({ preventScroll: true });
  };
  let stream = null;
  const stop = () => { stream?.close(); stream = null; };
  const follow = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(source);
    stream.addEventListener("open", () => say("live"));
    stream.addEventListener("error", () => say(stream?.readyState === EventSource.CLOSED ? "not live: too many pages are open" : "not live: connecting again"));
    stream.addEventListener("page", e => show(e.data));
    stream.addEventListener("over", () => { stop(); location.reload(); });
    stream.addEventListener("out", () => { stop(); location.reload(); });
  };
  if (source && place && window.EventSource) {
    document.addEventListener("visibilitychange", () => document.hidden ? (stop(), say("not live while hidden")) : follow());
    addEventListener("pagehide", stop);
    follow();
  }

  // All jobs of a page.
  const all = document.getElementById("all"), chosen = document.getElementById("chosen"), form = document.getElementById("jobs");
  if (all && form) {
    const boxes = () => [...form.querySelectorAll("input[name=id]")];
    const count = () => {
      const n = boxes().filter(b => b.checked).length;
      chosen.textContent = n ? n + " chosen" : "";
      all.checked = n > 0 && n === boxes().length;
      all.indeterminate = n > 0 && !all.checked;
    };
    all.hidden = false;
    all.addEventListener("change", () => { for (const b of boxes()) b.checked = all.checked; count(); });
    form.addEventListener("change", e => { if (e.target !== all) count(); });
    count();
  }

  // A link that signs in has what it needs behind the #, which no server sees.
  const signIn = document.getElementById("sign-in"), token = /^#token=([\w-]+)$/.exec(location.hash);
  if (signIn && token) {
    history.replaceState(null, "", location.pathname + location.search);
    signIn.elements.token.value = token[1];
    signIn.noValidate = true;
    signIn.submit();
  }
})();
