// The banner that shows a lost connection, and since when the page may be out of date.

import { isServedElsewhere } from "./browser-streams.js";
import { write } from "./elements.js";
import { exactTimeOfDay } from "./times.js";
import { translate } from "./words.js";

const banner = document.getElementById("banner");

let outage = null; // `{ lastGood }` while there is no connection
setInterval(() => outage && write(banner, textOf(outage)), 1000);

/** Shows or hides the banner; to be used as the `live` callback of a `LiveView`. */
export function showConnection(isLive, lastGood) {
  banner.hidden = isLive;
  outage = isLive ? null : { lastGood };
  if (outage) write(banner, textOf(outage));
}

/** If other pages of this browser get events, they have the connections that this one waits for. */
function textOf({ lastGood }) {
  const isCrowded = isServedElsewhere();
  if (lastGood === null) return translate(isCrowded ? "connection.crowded_never" : "connection.never");
  return translate(isCrowded ? "connection.crowded" : "connection.stale", { time: exactTimeOfDay(lastGood) });
}
