// Requests with an idempotency key, which can be repeated.

import { timeoutSignal } from "./compat.js";
import { signIn } from "./session.js";

export const UNAUTHORIZED = 401; // the session has ended

/** Returns a new idempotency key. (`crypto.randomUUID` exists only over TLS and on localhost.) */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Posts `body` as JSON. Returns `{ status, body, isReached, sentAt }`. A status of 0 means that the result is
 * unknown, because of a lost connection, a timeout (in ms) or a server error: then the request can be
 * repeated with the same key. `isReached` tells whether there was any response, and `sentAt` is when the server
 * has sent it, by its clock, in ms of which it states the whole seconds. If the session has ended, the sign-in page is
 * shown, which says whether the change is "lost" or "kept".
 */
export async function post(address, body, key, { timeout = 10000, change = "lost" } = {}) {
  let isReached = false;
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(body),
      signal: timeoutSignal(timeout),
    });
    isReached = true;
    if (response.status === UNAUTHORIZED) signIn(change);
    if (response.status >= 500) return { status: 0, body: null, isReached };
    return { status: response.status, body: await response.json(), isReached, sentAt: Date.parse(response.headers.get("date")) };
  } catch {
    return { status: 0, body: null, isReached };
  }
}
