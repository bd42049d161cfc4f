// Messages about events: toasts on the screen, and announcements for screen readers.

import { make } from "./elements.js";

const TOAST_DURATION = 8000; // ms

const toasts = document.getElementById("toasts");
const news = document.getElementById("news");

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
