// The sign-in page. After signing in it leads to the page that was requested; a signed-in person sees
// the pages that are allowed. On an enrolled device people sign in with a PIN, or with the password.

import { make, write } from "./elements.js";
import { showOwnPin } from "./own-pin.js";
import { PinForm } from "./pin-form.js";
import { places } from "./restaurant.js";
import { fetchJson, fetchSession, placesFor, sendJson } from "./session.js";
import { translate } from "./words.js";

const [OK, UNAUTHORIZED, BAD_REQUEST, TOO_MANY] = [200, 401, 400, 429];
const CHANGES = ["lost", "kept"]; // what became of the latest one when the session ended
const part = (id) => document.getElementById(id);

start();

async function start() {
  const change = new URLSearchParams(location.search).get("change");
  if (CHANGES.includes(change)) write(part("ended"), translate(`sign_in.ended.${change}`));
  const [session, device] = await Promise.all([fetchSession(), fetchJson("/device")]);
  part("sign-in").addEventListener("submit", submit);
  if (session !== null && session.name !== null) return show(session);
  if (device === null || device.name === null) return usePassword();
  const pinForm = new PinForm(part("pin-sign-in"), device, { onSignedIn: goOn, onFault: showFault });
  part("use-password").addEventListener("click", usePassword);
  part("use-pin").addEventListener("click", () => usePin(pinForm));
  part("use-pin").hidden = false;
  usePin(pinForm);
}

function usePassword() {
  part("fault").hidden = true;
  part("pin-sign-in").hidden = true;
  part("sign-in").hidden = false;
  widen(false);
  part("name").focus();
}

function usePin(pinForm) {
  part("fault").hidden = true;
  part("sign-in").hidden = true;
  widen(true);
  pinForm.show();
}

/** Makes room for the keypad next to the names. */
function widen(isWide) {
  document.querySelector(".sign-in").classList.toggle("wide", isWide);
}

function show(session) {
  const { name, role, device } = session;
  part("places").replaceChildren(...placesFor(session).map(linkTo));
  write(part("heading"), translate("account.signed_in", { name }));
  if (device !== null) write(part("sign-out"), translate("account.switch"));
  if (device === null && role !== null) showOwnPin(part("own-pin"));
  part("fault").hidden = true;
  part("sign-in").hidden = true;
  part("pin-sign-in").hidden = true;
  widen(false);
  part("signed-in").hidden = false;
}

function linkTo({ path, name }) {
  return make("li", {}, make("a", { href: path }, translate(`account.place.${name}`)));
}

async function submit(event) {
  event.preventDefault();
  const button = part("sign-in").querySelector("button");
  button.disabled = true;
  const response = await sendJson("POST", "/session", { name: part("name").value, password: part("password").value });
  button.disabled = false;
  if (response?.status === OK) return goOn(await response.json());
  showFault(faultOf(response));
  part("password").value = "";
  part("password").focus();
}

function goOn(session) {
  const wanted = nextPage(session);
  if (wanted !== null) location.assign(wanted);
  else show(session);
}

function showFault(text) {
  write(part("fault"), text);
  part("fault").hidden = false;
}

function faultOf(response) {
  if ([UNAUTHORIZED, BAD_REQUEST].includes(response?.status)) return translate("sign_in.wrong");
  if (response?.status === TOO_MANY) {
    return translate("sign_in.locked", { seconds: response.headers.get("Retry-After") });
  }
  return translate("sign_in.unavailable");
}

/**
 * Returns the page that was requested. Null: none, one of another site, or one that the person may not
 * use.
 */
function nextPage(session) {
  const requested = new URLSearchParams(location.search).get("next");
  const page = requested && parsedAddress(requested);
  if (!page) return null;
  const isPage = ({ path }) => path === page.pathname;
  const isAllowed = placesFor(session).some(isPage) || !places.some(isPage);
  // The whole address: of a path that begins with two slashes the browser would take a part for a host.
  return page.origin === location.origin && isAllowed ? page.href : null;
}

function parsedAddress(text) {
  try {
    return new URL(text, location.origin);
  } catch {
    return null;
  }
}
