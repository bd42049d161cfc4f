// The start page of a service that does not serve the counter: the pages that it serves.

import { make } from "./elements.js";
import { places } from "./restaurant.js";
import { translate } from "./words.js";

const links = places.map(({ path, name }) =>
  make("li", {}, make("a", { href: path }, translate(`account.place.${name}`)), ` ${path}`));
document.getElementById("served").append(...links);
