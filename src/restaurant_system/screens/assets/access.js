// The managers' page of people, their PINs, and enrolled devices.

import { BAD_REQUEST, CONFLICT, change, part, showFault } from "./access-changes.js";
import * as users from "./access-users.js";
import { make, makeUserText, write } from "./elements.js";
import { language, timezone } from "./restaurant.js";
import { fetchJson, jsonAtLoad } from "./session.js";
import { translate } from "./words.js";

const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: timezone });
let personWithNewPin = null;

part("enrol").addEventListener("submit", enrol);
part("pin-form").addEventListener("submit", savePin);
part("cancel").addEventListener("click", () => part("pin-dialog").close());
users.start(load);
load();

async function load() {
  const found = await Promise.all([fetchJson("/devices"), fetchJson("/pins"), fetchJson("/users"), jsonAtLoad("/session")]);
  if (found.includes(null)) return showFault("fault", "access.failed");
  const [devices, pins, people, session] = found;
  const this_ = devices.devices.find((device) => device.is_this);
  part("no-devices").hidden = devices.devices.length > 0;
  part("devices").replaceChildren(...devices.devices.map(deviceRow));
  part("enrolled").hidden = this_ === undefined;
  if (this_ !== undefined) write(part("enrolled"), translate("access.enrol_again", { name: this_.name }));
  // Without access control the service does not know who calls, and changes no users.
  const isControlled = session.name !== null;
  part("add").hidden = !isControlled;
  const pinOf = new Map(pins.people.map((person) => [person.name, person]));
  const rows = people.users.map((user) => personRow(user, pinOf.get(user.name), isControlled));
  part("people").replaceChildren(...rows);
}

function deviceRow(device) {
  const { name, enrolled_at, last_used_at, is_this } = device;
  const [date, used] = [enrolled_at, last_used_at].map((time) => (time === null ? null : day.format(new Date(time))));
  const since = used === null ? translate("access.enrolled", { date }) : translate("access.used", { date, used });
  const heading = make("h3", {}, makeUserText("span", name), is_this ? ` (${translate("access.this")})` : null);
  const label = translate("access.remove_device", { name });
  const remove = make("button", { onclick: () => removeDevice(device), "aria-label": label }, translate("access.remove"));
  return make("li", {}, make("div", {}, heading, make("p", { className: "quiet" }, since)), remove);
}

/** Makes the row of a user; one who is disabled has no `pin`. */
function personRow(user, pin, isControlled) {
  const { name, role, disabled_at } = user;
  const isEnabled = disabled_at === null && pin !== undefined;
  const state = isEnabled ? translate(`access.pin.${stateOf(pin)}`) : disabledText(disabled_at);
  const about = [translate(`access.role.${role}`), state].filter((text) => text !== null).join(" · ");
  const className = pin?.is_refused ? "refused" : "quiet";
  const set = { onclick: () => askForPin(name), "aria-label": translate("access.set_of", { name }) };
  const remove = { onclick: () => removePin(name), "aria-label": translate("access.remove_pin_of", { name }) };
  return make(
    "li",
    {},
    make("div", {}, make("h3", {}, makeUserText("span", name)), make("p", { className }, about)),
    isEnabled ? make("button", set, translate("access.set")) : null,
    pin?.has_pin ? make("button", remove, translate("access.remove_pin")) : null,
    ...(isControlled ? users.buttonsFor(user) : []),
  );
}

function stateOf({ has_pin, is_refused }) {
  return is_refused ? "refused" : has_pin ? "set" : "none";
}

function disabledText(time) {
  return time === null ? null : translate("access.disabled", { date: day.format(new Date(time)) });
}

async function enrol(event) {
  event.preventDefault();
  const response = await change("POST", "/devices", { name: part("device-name").value });
  if (response?.ok) location.assign("/sign-in");
  else showFault("fault", response?.status === CONFLICT ? "access.taken" : "access.failed");
}

async function removeDevice({ id, name }) {
  if (!confirm(translate("access.confirm_remove", { name }))) return;
  const response = await change("DELETE", `/devices/${id}`);
  if (!response?.ok) showFault("fault", "access.failed");
  await load();
  part("devices-title").focus();
}

function askForPin(name) {
  personWithNewPin = name;
  write(part("pin-title"), translate("access.set_of", { name }));
  part("pin").value = "";
  part("pin-fault").hidden = true;
  part("pin-dialog").showModal();
}

async function savePin(event) {
  event.preventDefault();
  const response = await change("PUT", "/pins", { name: personWithNewPin, pin: part("pin").value });
  if (!response?.ok) {
    showFault("pin-fault", response?.status === BAD_REQUEST ? "account.bad_pin" : "access.failed");
    return part("pin").focus();
  }
  part("pin-dialog").close();
  await load();
  part("people-title").focus();
}

async function removePin(name) {
  const response = await change("PUT", "/pins", { name, pin: null });
  if (!response?.ok) showFault("fault", "access.failed");
  await load();
  part("people-title").focus();
}
