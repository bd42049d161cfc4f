// The modifiers of an order item, as the counter shows them.

import { centsOf } from "./counter-cents.js";
import { make, makeUserText } from "./elements.js";
import { removedPart } from "./modifiers.js";
import { money, translate } from "./words.js";

/** Makes the texts of a modifier: NO onions, or extra cheese 1.50. */
export function modifierLine({ kind, name, price }) {
  const cents = centsOf(price ?? "");
  return [
    kind === "remove" ? make("b", {}, translate("kitchen.no"), " ") : null,
    makeUserText("span", kind === "remove" ? removedPart(name) : name),
    cents ? make("span", { className: "number quiet" }, ` ${money(price.replace(",", "."))}`) : null,
  ].filter((child) => child !== null);
}

/** Makes the lines below an order item: its modifiers, its course, and whose dish it is. */
export function detailLines(item) {
  const texts = [
    ...[...item.options, ...item.extras].map(modifierLine),
    item.course === "" ? null : [translate("kitchen.course", { course: item.course })],
    item.guest === "" ? null : [makeUserText("span", item.guest)],
  ];
  return texts.filter((text) => text !== null).map((text) => make("li", {}, ...text));
}
