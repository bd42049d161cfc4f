// Messages about events: toasts on the screen, and announcements for screen readers.

import { makeUserText, visible } from "./elements.js";

const TOAST_DURATION = 8000; // ms

const toasts = document.getElementById("toasts");
const news = document.getElementById("news");

/** Shows a text for a while, unless it is shown already; a tap on it removes it. */
export function toast(text) {
  if ([...toasts.children].some((each) => each.textContent === visible(text))) return;
  const shown = makeUserText("p", text);
  shown.onclick = () => shown.remove();
  toasts.append(shown);
  setTimeout(() => shown.remove(), TOAST_DURATION);
}

/** Announces a text to screen readers. */
export function announce(text) {
  news.textContent = text;
}
