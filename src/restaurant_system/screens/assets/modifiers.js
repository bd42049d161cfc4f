// The text of a modifier: what is added to an item, chosen or left out.

import { make, makeUserText } from "./elements.js";
import { translate } from "./words.js";

/** Makes the texts of a modifier, without those inside it: NO onions (crossed out), or 2 × cheese. */
export function modifierTexts(name, kind, quantity = 1) {
  const count = quantity > 1 ? `${translate("kitchen.quantity", { quantity })} ` : "";
  if (kind !== "remove") return [count, makeUserText("span", name)];
  return [make("b", { className: "no" }, translate("kitchen.no")), " ", count, makeUserText("s", removedPart(name))];
}

/** Returns what a removal removes: "onions" of "onions", and of "No onions". */
export function removedPart(name) {
  const [first, ...rest] = name.trim().split(/\s+/);
  return rest.length > 0 && first.toLowerCase() === translate("kitchen.no").toLowerCase() ? rest.join(" ") : name;
}
