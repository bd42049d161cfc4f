// Who is signed in, the pages that are open to a person, and the sign-in page.

import { timeoutSignal } from "./compat.js";
import { places } from "./restaurant.js";

const TIMEOUT = 10000; // ms
const SIGN_IN_TIMEOUT = 15000; // ms

/** Returns `{ name, role, capabilities, device }`, or null if there is no answer. */
export async function fetchSession() {
  return fetchJson("/session");
}

const atLoad = new Map(); // the responses, by address

/**
 * Returns the response to the request for `address` that the page sends when it loads, or null if there
 * is none. The modules of a page share it: each gets a copy. The page can name the address as
 * `<link rel="preload">`, so that the browser sends the request before it has loaded the modules.
 */
export async function responseAtLoad(address) {
  if (!atLoad.has(address)) atLoad.set(address, fetch(address, { signal: timeoutSignal(TIMEOUT) }).catch(() => null));
  const response = await atLoad.get(address);
  return response?.clone() ?? null;
}

/** Returns the JSON of `responseAtLoad`, or null if there is none. */
export async function jsonAtLoad(address) {
  try {
    const response = await responseAtLoad(address);
    return response?.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Returns the pages of this installation that a person may open, as `{ path, name, requires }`. */
export function placesFor({ capabilities }) {
  return places.filter(({ requires }) => requires === null || capabilities.includes(requires));
}

/** Returns the JSON at an address, or null if there is none. */
export async function fetchJson(address) {
  try {
    const response = await fetch(address, { cache: "no-store", signal: timeoutSignal(TIMEOUT) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Sends `body`, if any, as JSON; returns the response, or null if there is none. */
export async function sendJson(method, address, body) {
  const content = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    return await fetch(address, {
      method,
      ...(body === undefined ? {} : content),
      signal: timeoutSignal(SIGN_IN_TIMEOUT),
    });
  } catch {
    return null;
  }
}

/**
 * Shows the sign-in page, which leads back to this one. If the session has ended, it says what became of the latest
 * change: "lost", or "kept", to be sent once the person has signed in.
 */
export function signIn(change = null) {
  const query = new URLSearchParams({ next: location.pathname + location.search });
  if (change !== null) query.set("change", change);
  location.assign(`/sign-in?${query}`);
}
