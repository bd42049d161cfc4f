// The order types in the address of a page: ?order_types=takeout,delivery.

import { write } from "./elements.js";
import { texts } from "./restaurant.js";
import { translate } from "./words.js";

export const ORDER_TYPES = Object.keys(texts.type);

/** Returns the order types that the address asks for, or null; a wrong one is named in `notice`. */
export function requestedTypes(notice) {
  const wanted = (new URLSearchParams(location.search).get("order_types") ?? "").split(",").map((each) => each.trim()).filter(Boolean);
  const unknown = wanted.filter((each) => !ORDER_TYPES.includes(each));
  write(notice, unknown.length ? translate("order_types.unknown", { unknown: unknown.join(", "), known: ORDER_TYPES.join(", ") }) : "");
  const known = ORDER_TYPES.filter((each) => wanted.includes(each));
  return known.length ? known : null;
}
