// What a ticket says of its order: its type and place, who it is for, the allergy note, the items, and what is
// still to be paid.

import { make, makeUserText } from "./elements.js";
import { modifierTexts } from "./modifiers.js";
import { channelName, money, translate } from "./words.js";

/** Describes an order by its type and where it goes: Dine in · Table A12, or Delivery · Courier. */
export function describeOrder(order) {
  return [translate(`type.${order.order_type}`), describePlace(order)].filter(Boolean).join(" · ");
}

/** Describes where an order goes: Table A12, or Courier; an empty text if that is not known. */
export function describePlace({ table_number, table, handoff }) {
  const place = table ?? table_number ?? null;
  const parts = place === null ? [] : [translate("kitchen.table", { table: place })];
  if (handoff && handoff !== "table") parts.push(translate(`handoff.${handoff}`));
  return parts.join(" · ");
}

function hasTable({ table_number, table }) {
  return (table ?? table_number ?? null) !== null;
}

/** Makes the elements that say who an order is for: the name unless it has a table, reference, channel. */
export function makeRecipient({ customer_name, table_number, table, reference, channel }) {
  const texts = { customer: hasTable({ table_number, table }) ? null : customer_name, reference, channel: channel && channelName(channel) };
  return Object.entries(texts).flatMap(([name, text]) => (text ? [makeUserText("span", text, name)] : []));
}

/** Makes the elements of an allergy note, without their box: Allergy: peanuts. */
export function makeAllergyNote({ allergy_note }) {
  if (!allergy_note) return [];
  return [make("strong", {}, translate("kitchen.allergy")), " ", makeUserText("span", allergy_note)];
}

/** Makes the elements that say why an order was cancelled, if that is known. */
export function makeCancelReason({ cancel_reason }) {
  return cancel_reason ? [make("strong", {}, translate("kitchen.cancel_reason")), " ", makeUserText("span", cancel_reason)] : [];
}

/** Makes the elements that say what is paid when the order is handed over; orders at a table are paid there. */
export function makeAmountDue(order) {
  if (!order.amount_due || hasTable(order)) return [];
  return [make("span", {}, translate("kitchen.amount_due")), " ", make("strong", { className: "number" }, money(order.amount_due))];
}

/** Makes the element of an order item: 2 × Margherita, with its modifiers, course and notes, and for whom. */
export function makeItem(item) {
  const count = make("span", { className: "quantity number" }, translate("kitchen.quantity", { quantity: item.quantity }));
  const element = make("li", {}, count, " ", makeUserText("span", item.name, "name"));
  const tags = [
    item.course ? make("span", {}, translate("kitchen.course", { course: item.course })) : null,
    item.guest ? makeUserText("span", item.guest) : null,
  ];
  if (tags.some((tag) => tag !== null)) element.append(make("p", { className: "tags" }, ...tags));
  if (item.modifiers?.length) element.append(makeModifiers(item.modifiers));
  if (item.notes) element.append(makeUserText("p", item.notes, "note"));
  return element;
}

function makeModifiers(modifiers) {
  return make("ul", { className: "modifiers" }, ...modifiers.map(makeModifier));
}

function makeModifier({ name, kind, quantity, modifiers }) {
  const element = make("li", { className: kind }, ...modifierTexts(name, kind, quantity));
  if (modifiers?.length) element.append(makeModifiers(modifiers));
  return element;
}
