// The validation errors of an order, shown at their fields.

import { make } from "./elements.js";
import { labelOf, sentenceAbout } from "./problems.js";

/**
 * Shows each of `errors` at its field in `form`, and moves the focus to the first one. Returns the
 * errors without a field.
 */
export function showErrors(form, errors) {
  const unplaced = errors.filter((error) => {
    const [input, rest] = nearest(form, error.field);
    if (input) show(input, rest, error);
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
  const entries = errors.map((error) => make("li", { textContent: sentenceAbout(labelOf(error.field), error) }));
  summary.replaceChildren(make("p", { textContent: heading }), ...(entries.length ? [make("ul", {}, ...entries)] : []));
  summary.hidden = false;
}

/** Shows an error at an input; `rest` is the path from what it is the input of to what is wrong. */
function show(input, rest, error) {
  const label = input.dataset.label ?? input.labels[0].textContent;
  const place = errorOf(input);
  place.textContent = sentenceAbout(rest.length ? `${label}, ${labelOf(rest.join("."))}` : label, error);
  place.hidden = false;
  input.dataset.invalid = "";
  input.setAttribute("aria-describedby", place.id);
  if (input.tagName !== "BUTTON") input.setAttribute("aria-invalid", "true");
}

function errorOf(input) {
  return document.getElementById(`${input.id}-error`);
}
