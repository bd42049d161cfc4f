// Says across the whole page that what it shows may be old, and since when.

import { make } from "./elements.js";
import { exactTimeOfDay } from "./times.js";
import { say } from "./words.js";

const banner = make("div", { className: "banner", role: "alert", hidden: true });
document.body.prepend(banner);

/** Shows or hides the banner; made to be the `live` of a `LiveView`. */
export function showLine(isLive, lastGood) {
  banner.hidden = isLive;
  document.body.classList.toggle("stale", !isLive);
  if (!isLive) {
    banner.textContent = lastGood
      ? say("line.stale", { time: exactTimeOfDay(lastGood) })
      : say("line.never");
  }
}
