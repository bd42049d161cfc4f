// The form in which people who have signed in with their password set their PIN.

import { write } from "./elements.js";
import { sendJson } from "./session.js";
import { translate } from "./words.js";

const BAD_REQUEST = 400;

/** Shows the form, which is in `details`. */
export function showOwnPin(details) {
  details.hidden = false;
  details.querySelector("form").addEventListener("submit", save);
}

async function save(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const [input, button] = [form.querySelector("input"), form.querySelector("button")];
  button.disabled = true;
  const response = await sendJson("PUT", "/session/pin", { pin: input.value });
  button.disabled = false;
  write(form.querySelector("[role=status]"), translate(resultOf(response)));
  if (response?.ok) input.value = "";
  else input.focus();
}

function resultOf(response) {
  if (response?.ok) return "account.saved";
  return response?.status === BAD_REQUEST ? "account.bad_pin" : "sign_in.unavailable";
}
