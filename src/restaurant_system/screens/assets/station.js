// The header of the display: the name of the station, its number of tickets and its state.

import { visible, write } from "./elements.js";
import { sentenceOf } from "./problems.js";
import { newKey, post } from "./requests.js";
import { now, timeOfDay } from "./times.js";
import { translate } from "./words.js";

const TYPES = 3; // a station that takes all order types does not list them

const IDS = ["station", "types", "holding", "clock", "notice", "empty"];
const [title, types, holding, clock, notice, empty] = IDS.map((id) => document.getElementById(id));

/** Shows the name of the station while its state is not known yet. */
export function nameStation(name) {
  write(title, visible(name));
  document.title = translate("kitchen.page", { station: name });
}

/** Shows the station's own entry of a view. */
export function showStation(entries) {
  const statuses = [...entries.values()].map((entry) => entry.status);
  const count = statuses.filter((status) => status === "received" || status === "cooking").length;
  empty.hidden = count > 0 || statuses.includes("cancelled");
  const station = entries.get("station");
  if (!station) return;
  write(holding, holdingText(count, station));
  types.hidden = station.order_types.length === TYPES;
  write(types, station.order_types.map((type) => translate(`type.${type}`)).join(", "));
  write(notice, station.state === "open" ? "" : translate(`kitchen.state.${station.state}`, station));
}

/** Says how many tickets a station has, and how many orders wait until it has room: 12 + 3 waiting. */
function holdingText(count, { capacity, waiting }) {
  if (!waiting?.count) return translate("kitchen.holding", { count, capacity });
  const more = `${waiting.count}${waiting.is_more ? "+" : ""}`;
  return translate("kitchen.holding_more", { count, waiting: more });
}

/** Shows the current time. */
export function tickClock() {
  write(clock, timeOfDay(new Date(now())));
}

/** Opens the station and returns whether it is open; shows the error message if it was refused. */
export async function openStation(address, types) {
  const body = types ? { order_types: types.split(",").map((type) => type.trim()) } : {};
  const response = await post(address, body, newKey(), { timeout: 5000, change: null });
  if (response.status === 200) return true;
  if (response.body) write(notice, sentenceOf(response.body));
  return false; // without a body the server is unavailable, which the banner shows
}
