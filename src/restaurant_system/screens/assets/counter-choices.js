// What can be chosen of a menu item: its variations (sizes) and the options of its modifier groups.

import { unitCents } from "./counter-body.js";

/** Returns a menu item as an order item, with the default options and without a variation. */
export function freshItem(menuItem) {
  const options = menuItem.modifier_groups.flatMap((group) =>
    group.options.filter((option) => option.default && option.available).map((option) => optionOf(group, option)),
  );
  return withVariation(menuItem, { section: menuItem.section, item: menuItem.name, options }, null);
}

/** Tells whether a menu item, if there is one, has anything to choose. */
export function hasChoices(menuItem) {
  return menuItem !== undefined && menuItem.variations.length + menuItem.modifier_groups.length > 0;
}

/** Tells whether everything that must be chosen has been chosen. */
export function isComplete(menuItem, item) {
  return hasVariation(menuItem, item) && menuItem.modifier_groups.every((group) => group.min <= chosenIn(group, item).length);
}

/** Returns an order item with one of the variations of its menu item, or with none (null). */
export function withVariation(menuItem, item, variation) {
  const { order_name: name, sku, price } = variation ?? menuItem;
  return { ...item, variation: variation?.name ?? null, name, sku, price: String(price ?? "") };
}

/** Returns an order item with an option chosen, or not any more; where only one can be, it replaces that. */
export function withOption(menuItem, item, group, option, isChosen) {
  const before = isChosen && group.max === 1 ? [] : chosenIn(group, item).map(({ name }) => name);
  const names = isChosen ? [...before, option.name] : before.filter((name) => name !== option.name);
  const chosen = menuItem.modifier_groups.flatMap((each) => {
    if (each !== group) return chosenIn(each, item);
    return group.options.filter(({ name }) => names.includes(name)).map((found) => optionOf(group, found));
  });
  return { ...item, options: chosen };
}

/** Returns the options of an order item that were chosen in a group. */
export function chosenIn(group, { options }) {
  return options.filter((option) => option.group === group.name);
}

/** Returns an order item with the prices of the menu as it is now; null if it cannot be ordered any more. */
export function updatedItem(menuItem, item) {
  if (!menuItem.available || !hasVariation(menuItem, item)) return null;
  const variation = menuItem.variations.find(({ name }) => name === item.variation) ?? null;
  const options = item.options.map((option) => {
    const group = menuItem.modifier_groups.find(({ name }) => name === option.group);
    const current = group?.options.find(({ name, available }) => name === option.name && available);
    return current && optionOf(group, current);
  });
  return options.includes(undefined) ? null : { ...withVariation(menuItem, item, variation), options };
}

/** Tells whether one of two order items costs as much as one of the other. */
export function costsTheSame(one, other) {
  return unitCents(one) === unitCents(other);
}

/** Tells whether an order item has its variation, if there is no price without one, and it is available. */
function hasVariation({ price, variations }, { variation }) {
  if (variation === null) return price !== null;
  return variations.some(({ name, available }) => name === variation && available);
}

function optionOf(group, { name, kind, price }) {
  return { group: group.name, name, kind, price: String(price) };
}
