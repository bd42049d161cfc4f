// Keys on the counter: Enter moves on to the next field and places nothing, Ctrl+Enter places the order from
// anywhere, and a letter or a digit on the order type or a table is typed as the table.

const FIELDS = "[data-draft], #search, .types :checked";

/**
 * Listens in `form`. `placed()` is called for Ctrl+Enter, `found()` for Enter in the search with a text; the
 * rows of `lists`, by id, end with an element that gets the focus then.
 */
export function listenForFieldKeys(form, { placed, found, lists }) {
  form.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (key === "Enter" && event.repeat) event.preventDefault(); // a key that is held down is pressed once
    else if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      placed();
    } else if (key === "Enter" && target.tagName === "INPUT") {
      event.preventDefault();
      if (target.id === "search" && target.value.trim() !== "") found();
      else (nextInRow(target) ?? endOfRow(target, lists) ?? nextField(form, target))?.focus();
    } else if (target.type === "radio" && isTyped(event)) {
      const table = form.querySelector("#table");
      if (!isShown(table)) return;
      table.focus();
      table.select(); // so that the key, which is typed next, replaces what was there
    }
  });
}

function nextInRow(target) {
  const inputs = [...(target.closest(".typed, .charge")?.querySelectorAll("[data-part]") ?? [])];
  return inputs[inputs.indexOf(target) + 1];
}

function endOfRow(target, lists) {
  const list = Object.keys(lists).find((id) => target.closest(`#${id}`));
  return list && lists[list];
}

/** Returns the next field that is shown, and after the last one the button that places the order. */
function nextField(form, target) {
  const fields = [...form.querySelectorAll(FIELDS), form.querySelector("#place")];
  return fields.find((each) => each !== target && isShown(each) && follows(each, target));
}

function follows(element, other) {
  return Boolean(other.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING);
}

function isShown(element) {
  return element.getClientRects().length > 0;
}

function isTyped({ key, ctrlKey, altKey, metaKey }) {
  return key.length === 1 && /[\p{L}\p{N}]/u.test(key) && !ctrlKey && !altKey && !metaKey;
}
