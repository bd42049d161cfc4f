// The validation errors of an order, shown at their fields.

import { make } from "./elements.js";
import { translate } from "./words.js";

/**
 * Shows each of `errors` at its field in `form`, and moves the focus to the first one. Returns the
 * errors without a field.
 */
export function showErrors(form, errors) {
  const unplaced = errors.filter(({ field, message }) => {
    const [input, rest] = nearest(form, field);
    if (input) show(input, [...rest, message].join(" "));
    return !input;
  });
  const first = form.querySelector("[data-invalid]");
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
  return unplaced;
}

/** Returns the input of a field, or else of what the field is a part of, and the rest of its path. */
function nearest(form, field) {
  const path = field.split(".");
  for (let length = path.length; length > 0; length -= 1) {
    const name = path.slice(0, length).join(".");
    const input = form.querySelector(`[data-field~="${CSS.escape(name)}"]`);
    if (input) return [input, path.slice(length)];
  }
  return [null, []];
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
