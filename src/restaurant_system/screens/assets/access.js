// The managers' page of enrolled devices and PINs.

import { make, makeUserText, write } from "./elements.js";
import { language, timezone } from "./restaurant.js";
import { fetchJson, sendJson, signIn } from "./session.js";
import { translate } from "./words.js";

const [BAD_REQUEST, UNAUTHORIZED, CONFLICT] = [400, 401, 409];
const part = (id) => document.getElementById(id);
const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: timezone });
let personWithNewPin = null;

part("enrol").addEventListener("submit", enrol);
part("pin-form").addEventListener("submit", savePin);
part("cancel").addEventListener("click", () => part("pin-dialog").close());
load();

async function load() {
  const [devices, pins] = await Promise.all([fetchJson("/devices"), fetchJson("/pins")]);
  if (devices === null || pins === null) return showFault("fault", "access.failed");
  const this_ = devices.devices.find((device) => device.is_this);
  part("no-devices").hidden = devices.devices.length > 0;
  part("devices").replaceChildren(...devices.devices.map(deviceRow));
  part("enrolled").hidden = this_ === undefined;
  if (this_ !== undefined) write(part("enrolled"), translate("access.enrol_again", { name: this_.name }));
  part("people").replaceChildren(...pins.people.map(personRow));
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

function personRow({ name, role, has_pin, is_refused }) {
  const state = is_refused ? "refused" : has_pin ? "set" : "none";
  const texts = [translate(`access.role.${role}`), translate(`access.pin.${state}`)];
  const about = make("p", { className: is_refused ? "refused" : "quiet" }, texts.join(" · "));
  const set = { onclick: () => askForPin(name), "aria-label": translate("access.set_of", { name }) };
  const remove = { onclick: () => removePin(name), "aria-label": translate("access.remove_pin_of", { name }) };
  return make(
    "li",
    {},
    make("div", {}, make("h3", {}, makeUserText("span", name)), about),
    make("button", set, translate("access.set")),
    has_pin ? make("button", remove, translate("access.remove_pin")) : null,
  );
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
  part("pins-title").focus();
}

async function removePin(name) {
  const response = await change("PUT", "/pins", { name, pin: null });
  if (!response?.ok) showFault("fault", "access.failed");
  await load();
  part("pins-title").focus();
}

async function change(method, address, body) {
  part("fault").hidden = true;
  const response = await sendJson(method, address, body);
  if (response?.status === UNAUTHORIZED) signIn();
  return response;
}

function showFault(id, text) {
  write(part(id), translate(text));
  part(id).hidden = false;
}
