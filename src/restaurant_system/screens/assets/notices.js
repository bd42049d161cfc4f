// Messages about events: toasts on the screen, and announcements for screen readers.

import { make } from "./elements.js";

const TOAST_DURATION = 8000; // ms

const toasts = document.getElementById("toasts");
const news = document.getElementById("news");

// What is outside of a modal dialog lies below it, and has no effect: while one is open, the messages and the
// buttons that undo are inside of it.
const notices = ["undo", "toasts", "news"].map((id) => document.getElementById(id)).filter((each) => each?.parentElement === document.body);
new MutationObserver((changes) => {
  const opened = changes.map(({ target }) => target).filter((each) => each.matches("dialog[open]"));
  const place = opened.pop() ?? document.querySelector("dialog[open]") ?? document.body;
  if (notices[0].parentElement === place) return;
  place.append(...notices);
  for (const each of notices) each.inert = false; // where compat.js opens the dialog
}).observe(document.body, { subtree: true, attributeFilter: ["open"] });

/** Shows a text of the page for a while, unless it is shown already; a tap on it removes it. */
export function toast(text) {
  if ([...toasts.children].some((each) => each.textContent === text)) return;
  const shown = make("p", { className: "user-text", dir: "auto" }, text);
  shown.onclick = () => shown.remove();
  toasts.append(shown);
  setTimeout(() => shown.remove(), TOAST_DURATION);
}

/** Announces a text to screen readers. */
export function announce(text) {
  news.textContent = text;
}
