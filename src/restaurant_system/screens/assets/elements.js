// Elements without ceremony.

/**
 * Makes an element. `properties` are set as such (`className`, `onclick`), `dataset` and attributes
 * with a hyphen as attributes; children that are null are left out.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Makes an element for a text from outside, which keeps its own direction and stays in its box. */
export function makeUserText(tag, text, className = "") {
  return make(tag, { className: `${className} user-text`.trim(), dir: "auto" }, visible(text));
}

// Refused in new orders and names; what was stored before may have them.
const REORDERING = /(?![\n\r\t])[\p{Cc}\p{Bidi_Control}]/gu;

/** A text from outside with a mark in place of each character that hides or reorders what is read. */
export function visible(text) {
  return text.replace(REORDERING, "\ufffd");
}

/** Makes these the children of `parent`, in this order, and moves no element that is in its place. */
export function arrange(parent, children) {
  const staying = new Set(children);
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}

/** Writes a text where it is not there yet: an element that says the same is not touched. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
