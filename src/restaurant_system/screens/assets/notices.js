// Messages about events: toasts on the screen, and announcements for screen readers.

import { makeUserText } from "./elements.js";

const TOAST_DURATION = 8000; // ms

const toasts = document.getElementById("toasts");
const news = document.getElementById("news");

/** Shows a text for a while; a tap on it removes it. */
export function toast(text) {
  const shown = makeUserText("p", text);
  shown.onclick = () => shown.remove();
  toasts.append(shown);
  setTimeout(() => shown.remove(), TOAST_DURATION);
}

/** Announces a text to screen readers. */
export function announce(text) {
  news.textContent = text;
}
