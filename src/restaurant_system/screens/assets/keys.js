// The keys of a keyboard or a bump bar. While a dialog is open, it handles its keys itself.

/**
 * Calls `digit(digit)`, `shiftedDigit(digit)`, or the function in `keys` for a key. A button with the
 * focus is pressed by space and Enter as usual.
 */
export function listenForKeys({ digit, shiftedDigit, keys }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const pressed = digitOf(event);
    const act = pressed ? () => (event.shiftKey ? shiftedDigit : digit)(pressed) : keys[nameOf(event)];
    if (event.repeat && !isArrow(event)) {
      if (act || isPress(event)) event.preventDefault(); // a key that is held down acts once
    } else if (act && !(isPress(event) && isOnButton(event))) {
      event.preventDefault();
      act();
    }
  });
}

function digitOf({ key, code }) {
  if (/^\d$/.test(key)) return key;
  return /^Digit(\d)$/.exec(code)?.[1]; // shifted, or on a keyboard whose digits are
}

function nameOf({ key }) {
  return key.length === 1 ? key.toLowerCase() : key;
}

function isPress({ key }) {
  return key === " " || key === "Enter";
}

function isArrow({ key }) {
  return key.startsWith("Arrow");
}

function isOnButton({ target }) {
  return target.closest("button") !== null;
}
