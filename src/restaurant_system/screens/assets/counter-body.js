// The amounts of a draft, by the rules of the server, and the body of the request that places it.

import { centsOf, decimal, numberIn } from "./counter-cents.js";
import { nextInstant } from "./times.js";

const MAX_TABLE_NUMBER = 9999; // other tables have a label

/** The ways in which the orders of each type can be handed over, besides the usual one. */
export const HANDOFFS = {
  dine_in: ["counter"],
  takeout: ["curbside", "drive_through"],
  delivery: ["courier", "own_delivery"],
};

/** Returns the handoff of a draft, or "" if it is not one of its order type. */
export function handoffOf({ type, handoff }) {
  return HANDOFFS[type].includes(handoff) ? handoff : "";
}

/** Tells whether an order is brought to a table. */
export function hasTable(draft) {
  return draft.type === "dine_in" && handoffOf(draft) !== "counter";
}

/** Returns the price of one of an order item in cents, with its modifiers; an invalid price counts as 0. */
export function unitCents({ price, options, extras }) {
  return [{ price }, ...options, ...extras].reduce((sum, part) => sum + (centsOf(part.price) ?? 0), 0);
}

/** Returns the total of an order item in cents. */
export function itemCents(item) {
  return unitCents(item) * item.quantity;
}

/** Returns the total of an order in cents: of its items and charges, and never below 0. */
export function totalCents({ items, charges }) {
  const ofItems = items.reduce((sum, item) => sum + itemCents(item), 0);
  return Math.max(0, charges.reduce((sum, charge) => sum + (signedCents(charge) ?? 0), ofItems));
}

/** Returns the names of the fields without which no order is accepted, and that are blank. */
export function missingFields(draft) {
  const isBlank = (text) => text.trim() === "";
  return [
    draft.items.length === 0 ? "items" : null,
    draft.type !== "dine_in" && isBlank(draft.customer) && isBlank(draft.reference) ? "customer_name" : null,
    hasTable(draft) && isBlank(draft.table) ? "table" : null,
    draft.type === "delivery" && handoffOf(draft) !== "courier" && isBlank(draft.address) ? "delivery_address" : null,
  ].filter((field) => field !== null);
}

/** Returns a draft as the body of a request. Undefined values are left out of the JSON. */
export function body(draft) {
  const { type } = draft;
  return {
    customer_name: unlessBlank(draft.customer),
    order_type: type,
    handoff: unlessBlank(handoffOf(draft)),
    ...(hasTable(draft) ? tableOf(draft.table.trim()) : {}),
    delivery_address: type === "delivery" ? unlessBlank(draft.address) : undefined,
    phone: type === "dine_in" ? undefined : unlessBlank(draft.phone),
    items: draft.items.map(itemOf),
    notes: unlessBlank(draft.notes),
    allergy_note: unlessBlank(draft.allergy),
    reference: unlessBlank(draft.reference),
    ready_at: readyAt(draft),
    charges: unlessEmpty(draft.charges.map(chargeOf)),
    amount_due: hasTable(draft) ? undefined : amountOf(draft.amountDue),
  };
}

function tableOf(text) {
  if (text === "") return {};
  const isNumber = /^\d+$/.test(text) && Number(text) <= MAX_TABLE_NUMBER;
  return isNumber ? { table_number: Number(text) } : { table: text };
}

function itemOf(item) {
  return {
    name: item.name,
    quantity: item.quantity,
    price: amountOf(item.price),
    modifiers: unlessEmpty([...item.options, ...item.extras].map(modifierOf)),
    guest: unlessBlank(item.guest),
    course: numberIn(item.course),
    sku: item.sku ?? undefined,
    notes: unlessBlank(item.notes),
  };
}

function modifierOf({ kind, name, price }) {
  return { name, kind, price: amountOf(price) };
}

function chargeOf(charge) {
  const cents = signedCents(charge);
  return { name: charge.name, amount: cents === null ? numberIn(charge.amount) : decimal(cents) };
}

function signedCents({ amount, isDiscount }) {
  const cents = centsOf(amount);
  return cents !== null && isDiscount ? -Math.abs(cents) : cents;
}

/** Returns the time at which an order must be ready; text that is no time is refused by the server. */
function readyAt({ readyDate, readyTime }) {
  if (readyTime === "") return unlessBlank(readyDate);
  return nextInstant(readyDate, readyTime).toISOString();
}

function amountOf(text) {
  const cents = centsOf(text);
  return cents === null ? numberIn(text) : decimal(cents);
}

function unlessBlank(text) {
  return text.trim() === "" ? undefined : text;
}

function unlessEmpty(list) {
  return list.length === 0 ? undefined : list;
}
