// Says things that happen by themselves: to all who look (a toast), or to those who listen.

import { makeUserText } from "./elements.js";

const READ = 8000; // ms for which a toast stays

const toasts = document.getElementById("toasts");
const news = document.getElementById("news");

/** Shows a sentence for a while; a tap on it puts it away. */
export function toast(text) {
  const shown = makeUserText("p", text);
  shown.onclick = () => shown.remove();
  toasts.append(shown);
  setTimeout(() => shown.remove(), READ);
}

/** Tells a sentence to those who listen to the screen. */
export function announce(text) {
  news.textContent = text;
}
