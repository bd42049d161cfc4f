// The states of orders as staff see them, and finding an order by what is known of it.

import { now } from "./times.js";
import { channelName, folded, shortNumber, translate } from "./words.js";

const DATED = 8; // characters of a word with a date, as in the number of an order: shorter ones match every order of it

/** The filters, with the states that each of them shows. */
export const FILTERS = {
  open: ["received", "scheduled", "held", "cooking", "ready", "uncollected"],
  received: ["received", "scheduled", "held"],
  held: ["held"],
  cooking: ["cooking"],
  late: [], // those of the two that should be ready
  ready: ["ready"],
  uncollected: ["uncollected"],
  completed: ["handed_over", "completed"],
  cancelled: ["cancelled"],
  all: ["received", "scheduled", "held", "cooking", "ready", "uncollected", "handed_over", "completed", "cancelled"],
};

/** Returns the state of an order of the live list: its status, divided by what people do next. */
export function stateOf({ status, scheduled, held, uncollected, handed_over_at: handedOverAt }) {
  if (status === "received") return scheduled ? "scheduled" : held ? "held" : "received";
  if (status === "ready") return handedOverAt ? "handed_over" : uncollected ? "uncollected" : "ready";
  return status;
}

/** Tells whether an order should be ready; a scheduled or a held one has no promised time. */
export function isLate({ promised_at: promisedAt }) {
  return promisedAt !== undefined && Date.parse(promisedAt) < now();
}

/** Returns the text in which an order is found: a line for each of its facts, in lower case and without accents. */
export function searchTextOf(number, { order_type: type, customer_name: name, reference, channel, table, table_number: tableNumber, handoff }) {
  const place = table ?? tableNumber ?? null;
  const texts = [shortNumber(number), place, name, reference, channel, channel && channelName(channel), translate(`type.${type}`), handoff ? translate(`handoff.${handoff}`) : null];
  if (place !== null) texts.push(translate("kitchen.table", { table: place }));
  return folded(texts.filter((text) => text !== null && text !== undefined).join("\n"));
}

/** Returns the words of a search. */
export function wordsOf(text) {
  return folded(text).split(/\s+/).filter(Boolean);
}

/**
 * Tells how well an order with this search text matches: 0 not at all, 3 if its short number is what was typed, 2 if
 * its table or something else of it is exactly that.
 */
export function matches(words, number, text) {
  const full = number.toLowerCase();
  const isFound = (word) => text.includes(word) || (word.length >= DATED && full.includes(word));
  if (!words.every(isFound)) return 0;
  const typed = words.join(" ");
  if (/^\d+$/.test(typed) && Number(typed) === Number(shortNumber(number))) return 3;
  return text.split("\n").includes(typed) ? 2 : 1;
}

