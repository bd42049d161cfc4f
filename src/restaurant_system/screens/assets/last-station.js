// The station that this device showed last.

import { load, store } from "./stored.js";

const NAME = "last-station";

/** Remembers a station, with its order types as in the address of its page, or null. */
export function rememberStation(name, types) {
  store(NAME, { name, types });
}

/** Returns `{ name, types }` of the station that was shown last, or null. */
export function lastStation() {
  return load(NAME);
}
