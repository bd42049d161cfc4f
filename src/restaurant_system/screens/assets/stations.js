// The page on which people choose the station that a screen shows. It opens none: the page of the
// station does, once somebody has chosen it here.

import { arrange, make, makeUserText, visible, write } from "./elements.js";
import { lastStation } from "./last-station.js";
import { fetchJson } from "./session.js";
import { timeOfDay } from "./times.js";
import { translate } from "./words.js";

const REFRESH_INTERVAL = 5000; // ms
const ALL_TYPES = 3;
const part = (id) => document.getElementById(id);

showLast();
refresh();
setInterval(() => document.hidden || refresh(), REFRESH_INTERVAL);
part("new").addEventListener("submit", open);

function showLast() {
  const last = lastStation();
  if (last === null) return;
  const link = part("last").firstElementChild;
  link.href = addressOf(last.name, last.types);
  write(link, translate("stations.again", { station: visible(last.name) }));
  part("last").hidden = false;
}

let shown = "";

async function refresh() {
  const stations = await fetchJson("/kitchen/stations");
  if (stations === null) return write(part("none"), translate("stations.unavailable"));
  write(part("none"), stations.length === 0 ? translate("stations.none") : "");
  if (JSON.stringify(stations) === shown) return; // a row keeps the focus
  shown = JSON.stringify(stations);
  arrange(part("known"), stations.map(makeRow));
}

function makeRow({ name, order_types: types, state, last_seen: lastSeen }) {
  const time = lastSeen === null ? "" : timeOfDay(new Date(lastSeen));
  const facts = [
    translate(`stations.state.${state}`, { time }),
    types.length === ALL_TYPES
      ? translate("stations.all_types")
      : types.map((type) => translate(`type.${type}`)).join(", "),
  ];
  const content = [makeUserText("strong", name), make("span", { className: "quiet" }, facts.join(" · "))];
  // An open station keeps its types.
  const address = addressOf(name, state === "open" ? null : types.join(","));
  const row = state === "in_use" ? make("div", {}, ...content) : make("a", { href: address }, ...content);
  return make("li", { dataset: { state } }, row);
}

function open(event) {
  event.preventDefault();
  const types = [...part("new").querySelectorAll("[name=type]:checked")].map(({ value }) => value);
  part("fault").hidden = types.length > 0;
  const name = part("name").value.trim();
  if (types.length > 0 && name !== "") location.assign(addressOf(name, types.join(",")));
}

function addressOf(name, types) {
  const query = new URLSearchParams({ station: name });
  if (types) query.set("order_types", types);
  return `/kitchen?${query}`;
}
