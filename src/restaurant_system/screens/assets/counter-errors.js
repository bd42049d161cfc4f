// The validation errors of an order, shown at their fields.

import { make } from "./elements.js";
import { translate } from "./words.js";

/**
 * Shows each of `errors` at its field in `form`, and moves the focus to the first one. Returns the
 * errors without a field.
 */
export function showErrors(form, errors) {
  const unplaced = errors.filter(({ field, message }) => {
    const input = form.querySelector(`[data-field="${CSS.escape(field)}"]`);
    if (input) show(input, message);
    return !input;
  });
  form.querySelector("[data-invalid]")?.focus();
  return unplaced;
}

/** Hides the error of a field. */
export function hideError(input) {
  if (!("invalid" in input.dataset)) return;
  delete input.dataset.invalid;
  input.removeAttribute("aria-invalid");
  input.removeAttribute("aria-describedby");
  errorOf(input).hidden = true;
}

/** Hides the errors of all fields. */
export function hideErrors(form) {
  for (const input of form.querySelectorAll("[data-invalid]")) hideError(input);
}

/** Shows a heading and the errors without a field in `summary`. */
export function summarize(summary, heading, errors = []) {
  const entries = errors.map(({ field, message }) => make("li", { textContent: sentence(field, message) }));
  summary.replaceChildren(make("p", { textContent: heading }), ...(entries.length ? [make("ul", {}, ...entries)] : []));
  summary.hidden = false;
}

function show(input, message) {
  const error = errorOf(input);
  error.textContent = sentence(input.dataset.label ?? input.labels[0].textContent, message);
  error.hidden = false;
  input.dataset.invalid = "";
  input.setAttribute("aria-describedby", error.id);
  if (input.tagName !== "BUTTON") input.setAttribute("aria-invalid", "true");
}

function sentence(field, message) {
  return translate("counter.error", { field, message });
}

function errorOf(input) {
  return document.getElementById(`${input.id}-error`);
}
