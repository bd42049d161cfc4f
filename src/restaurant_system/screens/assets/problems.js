// The errors that the server reports, as sentences in the language of the page. An error without a text
// here, such as one of a newer server, is shown in the server's words.

import { datedNumber } from "./business-date.js";
import { visible } from "./elements.js";
import { timeOrDate } from "./times.js";
import { compose, hasText, money, statusInSentence, translate } from "./words.js";

/** How values of errors are shown, by their names; others are shown as they are. */
const FORMATS = {
  least: money,
  highest: money,
  price: money,
  until: (time) => timeOrDate(new Date(time)),
  order_number: datedNumber,
  current_status: statusInSentence,
  order_type: (type) => translate(`type.${type}`),
  other: labelOf,
};

/** Returns what a problem says: what is wrong with each field, or else why the request was refused. */
export function sentenceOf({ code, params, detail = "", errors = [] }) {
  if (errors.length === 0) return textOf(code, params) ?? visible(detail);
  return errors.map((error) => sentenceAbout(labelOf(error.field), error)).join(" ");
}

/** Returns what is wrong with one of the `errors` of a problem, as a sentence about a field with this label. */
export function sentenceAbout(label, { code, params, message }) {
  return compose("errors.of_field", { field: capitalized(visible(label)), message: textOf(code, params) ?? visible(message) });
}

/** Returns the label of a field by its path, such as items.0.price. */
export function labelOf(path) {
  const parts = path.split(".").map((part) => (/^\d+$/.test(part) ? ` ${Number(part) + 1}` : `, ${nameOf(part)}`));
  return parts.join("").replace(/^[, ]+/, "");
}

function nameOf(field) {
  return hasText(`fields.${field}`) ? translate(`fields.${field}`) : field;
}

function textOf(code, params = {}) {
  if (!hasText(`errors.${code}`)) return null;
  const shown = Object.entries(params).map(([name, value]) => [name, FORMATS[name]?.(value) ?? value]);
  const count = Object.values(params).find(Number.isFinite); // which decides on the plural form
  return translate(`errors.${code}`, { count, ...Object.fromEntries(shown) });
}

function capitalized(text) {
  return text.charAt(0).toLocaleUpperCase() + text.slice(1);
}
