// Long taps. A right click, and the menu key of a keyboard, count as one.

const HOLD = 500; // ms
const MAX_MOVE = 10; // px; more is a scroll

/**
 * Calls `held(element)` for a long tap on an element inside `parent` that matches `selector`, also on one that
 * another element covers. If it returns true, the tap is no click as well.
 */
export function onLongTap(parent, selector, held) {
  let timer = null;
  let start = null;
  let isHeld = false;

  const cancel = () => clearTimeout(timer);
  const hold = (target) => {
    cancel();
    if (!isHeld) isHeld = held(target);
  };

  const targetOf = ({ target, clientX, clientY }) => {
    const covered = () => document.elementsFromPoint(clientX, clientY).find((each) => each.matches(selector));
    return target.closest(selector) ?? covered() ?? null;
  };

  parent.addEventListener("pointerdown", (event) => {
    const target = targetOf(event);
    cancel();
    start = event;
    if (target !== null && event.button === 0) timer = setTimeout(() => hold(target), HOLD);
  });
  parent.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (start !== null && Math.hypot(clientX - start.clientX, clientY - start.clientY) > MAX_MOVE) cancel();
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) parent.addEventListener(end, cancel);

  parent.addEventListener("contextmenu", (event) => {
    const target = targetOf(event);
    if (target === null) return;
    hold(target);
    if (isHeld) event.preventDefault();
  });
  addEventListener("pointerdown", () => (isHeld = false), true);
  // Anywhere, because what has opened may be below the finger when it is lifted.
  addEventListener("click", (event) => {
    if (!isHeld || event.detail === 0) return; // a key is no end of a tap
    isHeld = false;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
