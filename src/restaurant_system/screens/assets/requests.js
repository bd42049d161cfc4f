// Requests that may be sent twice: each carries a key by which the server knows it again.

/** A new idempotency key. (`crypto.randomUUID` is there on encrypted pages and on this machine only.) */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Posts `body`. Returns `{ status, body, isReached }`; a status of 0 means that the answer is unknown:
 * the line broke, nobody answered in time, or the server could not say. Then the same may be sent
 * again with the same key. `isReached` tells whether anybody has answered at all.
 */
export async function post(address, body, key, patience = 10000) {
  let isReached = false;
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    isReached = true;
    if (response.status >= 500) return { status: 0, body: null, isReached };
    return { status: response.status, body: await response.json(), isReached };
  } catch {
    return { status: 0, body: null, isReached };
  }
}
