// Whether a page is open at an address of this machine itself, which other devices cannot open.

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** Tells whether an address, which may be relative to that of the page, leads to this machine only. */
export function isLoopback(address = "") {
  return LOOPBACK.includes(new URL(address, location.href).hostname);
}
