// Helpers that create and update elements.

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

/** Makes an element for a text that a user wrote, with the text's own direction. */
export function makeUserText(tag, text, className = "") {
  return make(tag, { className: `${className} user-text`.trim(), dir: "auto" }, visible(text));
}

// New orders and names with these are refused; older ones may have them.
const REORDERING = /(?![\n\r\t])[\p{Cc}\p{Bidi_Control}]/gu;

/** Replaces each control character, and each that changes the text direction, by U+FFFD. */
export function visible(text) {
  return text.replace(REORDERING, "\ufffd");
}

/** Sets the children of `parent`, without moving an element that is in its position. */
export function arrange(parent, children) {
  const staying = new Set(children);
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

/** Sets an element's text, unless it is the same: then no screen reader announces it again. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Returns a function that has `update()` called in the next animation frame, once however often it is called
 * until then; and at once while the page is hidden, because it has no frames.
 */
export function inNextFrame(update) {
  let frame = null;
  const run = () => {
    cancelAnimationFrame(frame);
    frame = null;
    update();
  };
  return () => {
    if (document.hidden) run();
    else frame ??= requestAnimationFrame(run);
  };
}
