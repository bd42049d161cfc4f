// Money in whole cents, or in whatever the smallest unit of the currency is, so that amounts are never added
// as binary fractions.

import { currency } from "./restaurant.js";

const CENTS = 10 ** currency.decimals; // in one unit
const FRACTION = currency.decimals ? `(?:[.,](\\d{1,${currency.decimals}}))?` : "()";
const AMOUNT = new RegExp(`^\\s*([-−]?)(\\d{1,6})${FRACTION}\\s*$`);
const NUMBER = /^[-−]?\d+(?:[.,]\d*[1-9])?$/; // a zero at the end may be part of thousands, as in "45.000"

/** Returns the cents of an amount such as "9.5", "9,50" or "-1"; null if it is not an amount. */
export function centsOf(text) {
  const written = AMOUNT.exec(text);
  if (!written) return null;
  const [, sign, whole, fraction = ""] = written;
  const cents = Number(whole) * CENTS + Number(fraction.padEnd(currency.decimals, "0"));
  return sign ? -cents : cents;
}

/** Returns cents as a number with the decimals of the currency, which JSON represents exactly. */
export function decimal(cents) {
  const amount = Math.abs(cents);
  const text = `${Math.trunc(amount / CENTS)}.${String(amount % CENTS).padStart(currency.decimals, "0")}`;
  return Number(cents < 0 ? `-${text}` : text);
}

/**
 * Parses typed text as a number. Returns undefined for an empty text, and the text itself if it is not a
 * number: the server returns the error for it.
 */
export function numberIn(text) {
  const typed = text.trim();
  if (typed === "") return undefined;
  return NUMBER.test(typed) ? Number(typed.replace(",", ".").replace("−", "-")) : typed;
}
