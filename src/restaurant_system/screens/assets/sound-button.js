// The button that turns the sound of a page off and on.

import { Bell } from "./bell.js";
import { write } from "./elements.js";
import { translate } from "./words.js";

/** Returns the bell of a page, whose state the button shows and changes; `name` stores that it is muted. */
export function soundButton(button, name) {
  const bell = new Bell(name, show);
  button.addEventListener("click", toggle);
  show();
  return bell;

  function show() {
    const state = bell.isMuted ? "off" : bell.isUnlocked ? "on" : "locked";
    button.dataset.state = state;
    write(button.firstElementChild, translate(`kitchen.sound.${state}`));
  }

  /** The first tap, which browsers require before any sound, does not mute it. */
  function toggle() {
    if (bell.isUnlocked || bell.isMuted) bell.toggle();
    else bell.unlock();
  }
}
