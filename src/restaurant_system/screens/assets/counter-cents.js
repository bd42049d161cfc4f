// Money in whole cents: amounts go from text to cents and back, and are never added up as fractions.

const AMOUNT = /^\s*(\d{1,6})(?:[.,](\d{1,2}))?\s*$/;
const NUMBER = /^\d+(?:[.,]\d+)?$/;

/** The cents of an amount such as "9.5" or "9,50"; null if it is no amount. */
export function centsOf(text) {
  const written = AMOUNT.exec(text);
  return written && Number(written[1]) * 100 + Number((written[2] ?? "").padEnd(2, "0"));
}

/** Cents as a number with two decimals, which is written in JSON exactly as it is meant. */
export function decimal(cents) {
  return Number(`${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, "0")}`);
}

/**
 * What a person has typed where a number belongs: the number; undefined if nothing; else the text,
 * for the server to say what is wrong with it.
 */
export function numberIn(text) {
  const typed = text.trim();
  if (typed === "") return undefined;
  return NUMBER.test(typed) ? Number(typed.replace(",", ".")) : typed;
}
