// The sign-in page. After signing in it leads to the page that was requested; a signed-in person sees
// the pages that are allowed.

import { make, write } from "./elements.js";
import { fetchSession, PLACES } from "./session.js";
import { translate } from "./words.js";

const [OK, UNAUTHORIZED, BAD_REQUEST, TOO_MANY] = [200, 401, 400, 429];
const TIMEOUT = 15000; // ms
const part = (id) => document.getElementById(id);

start();

async function start() {
  const session = await fetchSession();
  part("sign-in").addEventListener("submit", submit);
  if (session !== null && session.name !== null) return show(session);
  part("sign-in").hidden = false;
  part("name").focus();
}

async function show({ name, capabilities }) {
  part("places").replaceChildren(...(await existing(capabilities)).map(linkTo));
  write(part("heading"), translate("account.signed_in", { name }));
  part("sign-in").hidden = true;
  part("signed-in").hidden = false;
}

/** Returns the allowed pages that this service has. */
async function existing(capabilities) {
  const allowed = PLACES.filter(({ requires }) => capabilities.includes(requires));
  const found = await Promise.all(allowed.map(({ path }) => exists(path)));
  return allowed.filter((_, index) => found[index]);
}

async function exists(path) {
  try {
    return (await fetch(path, { method: "HEAD", signal: AbortSignal.timeout(TIMEOUT) })).ok;
  } catch {
    return false;
  }
}

function linkTo({ path, name }) {
  return make("li", {}, make("a", { href: path }, translate(`account.place.${name}`)));
}

async function submit(event) {
  event.preventDefault();
  const button = part("sign-in").querySelector("button");
  button.disabled = true;
  const response = await send();
  button.disabled = false;
  if (response?.status !== OK) return showFault(response);
  const session = await response.json();
  const wanted = nextPage(session);
  if (wanted !== null) location.assign(wanted);
  else show(session);
}

async function send() {
  try {
    return await fetch("/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: part("name").value, password: part("password").value }),
      signal: AbortSignal.timeout(TIMEOUT),
    });
  } catch {
    return null;
  }
}

function showFault(response) {
  write(part("fault"), faultOf(response));
  part("fault").hidden = false;
  part("password").value = "";
  part("password").focus();
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
function nextPage({ capabilities }) {
  const requested = new URLSearchParams(location.search).get("next");
  if (requested === null || !URL.canParse(requested, location.origin)) return null;
  const page = new URL(requested, location.origin);
  const place = PLACES.find(({ path }) => path === page.pathname);
  const isAllowed = place === undefined || capabilities.includes(place.requires);
  // The whole address: of a path that begins with two slashes the browser would take a part for a host.
  return page.origin === location.origin && isAllowed ? page.href : null;
}
