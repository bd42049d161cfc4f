// Business dates: which of several days an order is of, because its short number is used again every day.

import { businessDayStart } from "./restaurant.js";
import { dateOf, now, shortDate } from "./times.js";
import { shortNumber } from "./words.js";

/** Returns the number of an order as people read it in a text: 012, or 012 (16 Dec) for one of another business date. */
export function datedNumber(number) {
  const day = otherDayOf(number);
  return day === null ? shortNumber(number) : `${shortNumber(number)} (${day})`;
}

/** Returns the business date of an order number, as 16 Dec, unless that is the current one: then null. */
export function otherDayOf(number) {
  const digits = number.split("_")[1];
  const date = `${digits.slice(0, 4)}-${digits.slice(4, 6)}-${digits.slice(6)}`;
  return date === businessDate() ? null : shortDate(date);
}

/** Returns the current business date, which begins at the time of the configuration. */
export function businessDate() {
  const [hours, minutes] = businessDayStart.split(":").map(Number);
  return dateOf(new Date(now() - (hours * 60 + minutes) * 60000));
}
