// What the parts of the managers' page share: sending a change, and showing that it failed.

import { write } from "./elements.js";
import { sendJson, signIn } from "./session.js";
import { translate } from "./words.js";

export const [BAD_REQUEST, CONFLICT] = [400, 409];
const UNAUTHORIZED = 401;

export const part = (id) => document.getElementById(id);

/** Sends a change; returns the response, or null if there is none. */
export async function change(method, address, body) {
  part("fault").hidden = true;
  const response = await sendJson(method, address, body);
  if (response?.status === UNAUTHORIZED) signIn("lost");
  return response;
}

/** Shows a text in the element with an id. */
export function showFault(id, text, values) {
  write(part(id), translate(text, values));
  part(id).hidden = false;
  part(id).scrollIntoView({ block: "nearest" });
}
