// What the screens say: texts by name, from texts/en.json or another language's file.

import { visible } from "./elements.js";
import { language, texts } from "./house.js";

const plurals = new Intl.PluralRules(language);
const MAY_TURN = /[\u0590-\uffff]/; // scripts that are written from right to left begin here
const [ISOLATE, END_OF_ISOLATE] = ["\u2068", "\u2069"]; // Unicode Annex 9

/**
 * The text of a name such as "counter.total", with `{values}` filled in. A text that depends on a
 * count is written once for each plural form of the language ({"one": …, "other": …}), and chosen by
 * `values.count`.
 */
export function say(name, values = {}) {
  let text = name.split(".").reduce((found, part) => found?.[part], texts);
  if (typeof text === "object") text = text[plurals.select(values.count)] ?? text.other;
  if (typeof text !== "string") throw new Error(`There is no text ${name}.`);
  return text.replace(/{(\w+)}/g, (_, key) => isolated(String(values[key])));
}

/** A value that does not change the direction of the sentence around it. */
function isolated(value) {
  return MAY_TURN.test(value) ? ISOLATE + visible(value) + END_OF_ISOLATE : visible(value);
}

/** An amount of money, with two decimals, as the language writes numbers. */
export function money(amount) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(amount);
}

/** The part of an order number that people call out: 012 of ORD_20241216_012. */
export function shortNumber(orderNumber) {
  return orderNumber.split("_").at(-1);
}
