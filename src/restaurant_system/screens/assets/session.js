// Who is signed in, and the sign-in page.

const TIMEOUT = 10000; // ms

/** Pages, with the capability that each requires. They may be on other ports, with other services. */
export const PLACES = [
  { path: "/", name: "counter", requires: "read_orders" },
  { path: "/kitchen", name: "kitchen", requires: "tickets" },
  { path: "/dashboard", name: "dashboard", requires: "read_orders" },
  { path: "/board", name: "board", requires: "read_status" },
];

/** Returns `{ name, role, capabilities }`, or null if there is no answer. */
export async function fetchSession() {
  try {
    const response = await fetch("/session", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Shows the sign-in page, which leads back to this one. */
export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
}
