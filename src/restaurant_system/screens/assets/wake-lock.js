// Keeps the screen of the device on while the page is shown. Browsers offer that over TLS and on the
// machine itself, and refuse it with a low battery. Otherwise a notice says what people can do.

import { make } from "./elements.js";
import { load, store } from "./stored.js";
import { translate } from "./words.js";

const READ = "screen-notice-read";
const NOTICE_DURATION = 30000; // ms; on a wall it cannot be closed

let lock = null;
let wasRefused = false;

document.addEventListener("visibilitychange", keepOn); // the browser ends the lock of a hidden page
keepOn();

async function keepOn() {
  if (document.visibilityState !== "visible" || lock !== null) return;
  if (!("wakeLock" in navigator)) return refuse();
  try {
    lock = await navigator.wakeLock.request("screen");
    lock.addEventListener("release", () => {
      lock = null;
    });
  } catch {
    refuse();
  }
}

function refuse() {
  if (!wasRefused && !load(READ, false)) showNotice();
  wasRefused = true;
}

function showNotice() {
  const button = make("button", { type: "button", onclick: close }, translate("screen.read"));
  const text = make("p", {}, translate("screen.may_turn_off"));
  const notice = make("div", { className: "screen-notice" }, text, button);
  (document.querySelector("footer, .over-foot") ?? document.body).append(notice);
  setTimeout(() => notice.remove(), NOTICE_DURATION);

  function close() {
    store(READ, true);
    notice.remove();
  }
}
