// The validation errors of an order, shown at their fields.

import { make } from "./elements.js";
import { translate } from "./words.js";

/**
 * Shows each of `errors` at its field in `form`, and moves the focus to the first one. Returns the
 * errors without a field.
 */
export function showFaults(form, errors) {
  const unplaced = errors.filter(({ field, message }) => {
    const input = form.querySelector(`[data-field="${CSS.escape(field)}"]`);
    if (input) show(input, message);
    return !input;
  });
  form.querySelector("[data-faulty]")?.focus();
  return unplaced;
}

/** Hides the error of a field. */
export function forgetFault(input) {
  if (!("faulty" in input.dataset)) return;
  delete input.dataset.faulty;
  input.removeAttribute("aria-invalid");
  input.removeAttribute("aria-describedby");
  faultOf(input).hidden = true;
}

/** Hides the errors of all fields. */
export function forgetFaults(form) {
  for (const input of form.querySelectorAll("[data-faulty]")) forgetFault(input);
}

/** Shows a heading and the errors without a field in `summary`. */
export function summarize(summary, heading, errors = []) {
  const faults = errors.map(({ field, message }) => make("li", { textContent: sentence(field, message) }));
  summary.replaceChildren(make("p", { textContent: heading }), ...(faults.length ? [make("ul", {}, ...faults)] : []));
  summary.hidden = false;
}

function show(input, message) {
  const fault = faultOf(input);
  fault.textContent = sentence(input.dataset.label ?? input.labels[0].textContent, message);
  fault.hidden = false;
  input.dataset.faulty = "";
  input.setAttribute("aria-describedby", fault.id);
  if (input.tagName !== "BUTTON") input.setAttribute("aria-invalid", "true");
}

function sentence(field, message) {
  return translate("counter.fault", { field, message });
}

function faultOf(input) {
  return document.getElementById(`${input.id}-fault`);
}
