// Money in whole cents, so that amounts are never added as binary fractions.

const AMOUNT = /^\s*(\d{1,6})(?:[.,](\d{1,2}))?\s*$/;
const NUMBER = /^\d+(?:[.,]\d+)?$/;

/** Returns the cents of an amount such as "9.5" or "9,50"; null if it is not an amount. */
export function centsOf(text) {
  const written = AMOUNT.exec(text);
  return written && Number(written[1]) * 100 + Number((written[2] ?? "").padEnd(2, "0"));
}

/** Returns cents as a number with two decimals, which JSON represents exactly. */
export function decimal(cents) {
  return Number(`${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, "0")}`);
}

/**
 * Parses typed text as a number. Returns undefined for an empty text, and the text itself if it is not a
 * number: the server returns the error for it.
 */
export function numberIn(text) {
  const typed = text.trim();
  if (typed === "") return undefined;
  return NUMBER.test(typed) ? Number(typed.replace(",", ".")) : typed;
}
