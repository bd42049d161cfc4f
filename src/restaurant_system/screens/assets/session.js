// Who is signed in, and the sign-in page.

const TIMEOUT = 10000; // ms
const SIGN_IN_TIMEOUT = 15000; // ms

/** Pages, with the capability that each requires. They may be on other ports, with other services. */
export const PLACES = [
  { path: "/", name: "counter", requires: "read_orders" },
  { path: "/kitchen", name: "kitchen", requires: "tickets" },
  { path: "/dashboard", name: "dashboard", requires: "read_orders" },
  { path: "/board", name: "board", requires: "read_status" },
  { path: "/access", name: "access", requires: "administer" },
];

/** Returns `{ name, role, capabilities, device }`, or null if there is no answer. */
export async function fetchSession() {
  return fetchJson("/session");
}

/** Returns the JSON at an address, or null if there is none. */
export async function fetchJson(address) {
  try {
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
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
      signal: AbortSignal.timeout(SIGN_IN_TIMEOUT),
    });
  } catch {
    return null;
  }
}

/** Shows the sign-in page, which leads back to this one. */
export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
}
