// The texts of the screens by name, from texts/en.json or the file of another language.

import { visible } from "./elements.js";
import { currency, language, texts } from "./restaurant.js";

const amounts = new Intl.NumberFormat(language, {
  ...(currency.code ? { style: "currency", currency: currency.code } : {}),
  minimumFractionDigits: currency.decimals,
  maximumFractionDigits: currency.decimals,
});
const plurals = new Intl.PluralRules(language);
const MAY_BE_RTL = /[\u0590-\uffff]/; // all right-to-left scripts are in this range
const [ISOLATE, END_OF_ISOLATE] = ["\u2068", "\u2069"]; // Unicode Annex 9

/** Tells whether there is a text of this name. */
export function hasText(name) {
  const text = found(name);
  return typeof text === "string" || typeof text?.other === "string";
}

/**
 * Returns the text of a name such as "counter.total", with `{values}` filled in. A text that depends on
 * `values.count` has an entry for each plural form of the language ({"one": …, "other": …}).
 */
export function translate(name, values = {}) {
  return filledIn(name, values, visible);
}

/** Returns a text as `translate` does, whose values are texts of the page themselves. */
export function compose(name, texts) {
  return filledIn(name, texts, (text) => text);
}

function filledIn(name, values, shown) {
  let text = found(name);
  if (typeof text === "object") text = text[plurals.select(values.count)] ?? text.other;
  if (typeof text !== "string") throw new Error(`There is no text ${name}.`);
  return text.replace(/{(\w+)}/g, (_, key) => isolated(shown(String(values[key]))));
}

function found(name) {
  return name.split(".").reduce((part, key) => part?.[key], texts);
}

/** Isolates a value whose direction would change that of the text around it. */
function isolated(value) {
  return MAY_BE_RTL.test(value) ? ISOLATE + value + END_OF_ISOLATE : value;
}

/** Formats an amount of money in the currency of the restaurant. */
export function money(amount) {
  return amounts.format(amount);
}

/** Returns a status as a part of a sentence: ready, in Zubereitung. */
export function statusInSentence(status) {
  const text = translate(`status.${status}`);
  return text.charAt(0).toLocaleLowerCase(language) + text.slice(1);
}

/** Returns the name of a channel: of a platform as it calls itself, of another as it is. */
export function channelName(channel) {
  return typeof texts.channel[channel] === "string" ? translate(`channel.${channel}`) : channel;
}

/** Returns the last part of an order number: 012 of ORD_20241216_012. */
export function shortNumber(orderNumber) {
  return orderNumber.slice(orderNumber.lastIndexOf("_") + 1);
}

/** Returns a text as a search compares it: without letter case, accents and kinds of apostrophes and dashes. */
export function folded(text) {
  const marked = text.replace(/[’‘ʼ׳`´]/g, "'").replace(/\p{Pd}/gu, "-");
  return marked.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();
}
