// The head of the display: which station this is, how full it is, and what keeps it from work.

import { visible, write } from "./elements.js";
import { newKey, post } from "./requests.js";
import { now, timeOfDay } from "./times.js";
import { say } from "./words.js";

const TYPES = 3; // a station that takes all of them need not name them

const IDS = ["station", "types", "holding", "clock", "notice", "empty"];
const [title, types, holding, clock, notice, empty] = IDS.map((id) => document.getElementById(id));

/** Shows the station's name before anything is known of it. */
export function nameStation(name) {
  write(title, visible(name));
  document.title = say("kitchen.page", { station: name });
}

/** Shows what a view says of the station. */
export function showStation(entries) {
  const statuses = [...entries.values()].map((entry) => entry.status);
  const count = statuses.filter((status) => status === "received" || status === "cooking").length;
  empty.hidden = count > 0 || statuses.includes("cancelled");
  const station = entries.get("station");
  if (!station) return;
  write(holding, say("kitchen.holding", { count, capacity: station.capacity }));
  types.hidden = station.order_types.length === TYPES;
  write(types, station.order_types.map((type) => say(`type.${type}`)).join(", "));
  write(notice, station.state === "open" ? "" : say(`kitchen.state.${station.state}`, station));
}

/** Moves the clock. */
export function tickClock() {
  write(clock, timeOfDay(new Date(now())));
}

/** Opens the station, or finds it open; shows the server's sentences where it is refused. */
export async function openStation(address, types) {
  const body = types ? { order_types: types.split(",").map((type) => type.trim()) } : {};
  const answer = await post(address, body, newKey(), 5000);
  if (answer.status === 200) return true;
  if (answer.body) write(notice, visible(sentences(answer.body)));
  return false; // without a body nobody has answered: the banner says so
}

function sentences({ detail, errors = [] }) {
  return [detail, ...errors.map(({ field, message }) => `${field} ${message}.`)].join(" ");
}
