// The console works without this file. It adds: the choice of dark or light, pages that refresh, and receipts as they come.
"use strict";

const scheme = document.getElementById("scheme");
const chosen = () => { try { return localStorage.getItem("scheme"); } catch { return null; } };
if (chosen()) document.documentElement.dataset.scheme = chosen();
if (scheme) {
  scheme.hidden = false;
  scheme.addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.scheme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.scheme = next;
    try { localStorage.setItem("scheme", next); } catch { /* the choice lasts for this page */ }
  });
}

// A refresh would close what somebody has opened or is typing, so it waits.
document.addEventListener("htmx:beforeRequest", (event) => {
  const place = event.target;
  if (event.detail.requestConfig.triggeringEvent) return;
  if (place.querySelector("details[open]") || place.contains(document.activeElement) || document.hidden) event.preventDefault();
});

const state = document.getElementById("operation-state");
if (state && state.dataset.state === "running") {
  const lines = document.getElementById("operation-lines");
  const source = new EventSource(state.dataset.events);
  const ends = { done: ["good", "✓ Done"], refused: ["bad", "✗ Refused: nothing was changed"], failed: ["bad", "✗ Failed"] };
  source.addEventListener("line", (event) => {
    const line = JSON.parse(event.data);
    if (line.number < lines.children.length) return;
    const item = document.createElement("li");
    item.textContent = line.text;
    lines.append(item);
  });
  source.addEventListener("end", (event) => {
    const [kind, words] = ends[JSON.parse(event.data).state];
    const shown = document.createElement("span");
    shown.className = `state ${kind}`;
    shown.textContent = words;
    state.replaceChildren(shown);
    source.close();
  });
}
