// The texts of the screens by name, from texts/en.json or the file of another language.

import { visible } from "./elements.js";
import { language, texts } from "./restaurant.js";

const plurals = new Intl.PluralRules(language);
const MAY_BE_RTL = /[\u0590-\uffff]/; // all right-to-left scripts are in this range
const [ISOLATE, END_OF_ISOLATE] = ["\u2068", "\u2069"]; // Unicode Annex 9

/**
 * Returns the text of a name such as "counter.total", with `{values}` filled in. A text that depends on
 * `values.count` has an entry for each plural form of the language ({"one": …, "other": …}).
 */
export function translate(name, values = {}) {
  let text = name.split(".").reduce((found, part) => found?.[part], texts);
  if (typeof text === "object") text = text[plurals.select(values.count)] ?? text.other;
  if (typeof text !== "string") throw new Error(`There is no text ${name}.`);
  return text.replace(/{(\w+)}/g, (_, key) => isolated(String(values[key])));
}

/** Isolates a value whose direction would change that of the text around it. */
function isolated(value) {
  return MAY_BE_RTL.test(value) ? ISOLATE + visible(value) + END_OF_ISOLATE : visible(value);
}

/** Formats an amount of money with two decimals. */
export function money(amount) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(amount);
}

/** Returns the last part of an order number: 012 of ORD_20241216_012. */
export function shortNumber(orderNumber) {
  return orderNumber.split("_").at(-1);
}
