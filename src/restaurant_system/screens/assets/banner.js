// The banner that shows a lost connection, and since when the page may be out of date.

import { make } from "./elements.js";
import { exactTimeOfDay } from "./times.js";
import { translate } from "./words.js";

const banner = make("div", { className: "banner", role: "alert", hidden: true });
document.body.prepend(banner);

/** Shows or hides the banner; to be used as the `live` callback of a `LiveView`. */
export function showConnection(isLive, lastGood) {
  banner.hidden = isLive;
  document.body.classList.toggle("stale", !isLive);
  if (!isLive) {
    banner.textContent = lastGood
      ? translate("connection.stale", { time: exactTimeOfDay(lastGood) })
      : translate("connection.never");
  }
}
