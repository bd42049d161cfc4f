// The sizes and options of the item that was added last, each one tap away.

import { chosenIn, hasChoices, isComplete, withOption, withVariation } from "./counter-choices.js";
import { priceOf } from "./counter-options.js";
import { make, write } from "./elements.js";
import { modifierTexts } from "./modifiers.js";
import { translate } from "./words.js";

export class LastItem {
  /** Shows the choices in `element`; `changed(item)` is called for each choice, `choose(id)` for all that an item can have. */
  constructor(element, { changed, choose }) {
    this._element = element;
    this._changed = changed;
    this._name = element.querySelector("button");
    this._choices = element.querySelector("div");
    this._name.addEventListener("click", () => choose(this._item.id));
    this._menuItem = null;
    this._buttons = [];
  }

  /** Shows the choices of an item of the order, and of its menu item; nothing if there are none. */
  show(item, menuItem) {
    this._element.hidden = !item || !hasChoices(menuItem);
    if (this._element.hidden) return;
    if (menuItem !== this._menuItem || item.id !== this._item.id) this._makeButtons(menuItem);
    [this._item, this._menuItem] = [item, menuItem];
    write(this._name, translate("counter.change_last", { name: item.name }));
    for (const { button, isChosen, next } of this._buttons) {
      button.setAttribute("aria-pressed", String(isChosen()));
      button.disabled = next() === null;
    }
  }

  _makeButtons(menuItem) {
    const { variations, modifier_groups: groups } = menuItem;
    this._buttons = [
      ...variations.map((variation) => this._button(variation, {
        isChosen: () => this._item.variation === variation.name,
        changed: (isChosen) => withVariation(menuItem, this._item, isChosen ? variation : null),
      })),
      ...groups.flatMap((group) => group.options.map((option) => this._button(option, {
        isChosen: () => chosenIn(group, this._item).some(({ name }) => name === option.name),
        changed: (isChosen) => withOption(menuItem, this._item, group, option, isChosen),
        isFull: () => group.max > 1 && chosenIn(group, this._item).length >= group.max,
      }))),
    ];
    this._choices.replaceChildren(...this._buttons.map(({ button }) => button));
    this._choices.scrollTo(0, 0);
  }

  /** Makes the button of a choice; `next()` returns the item after a tap, or null if there can be none. */
  _button(choice, { isChosen, changed, isFull = () => false }) {
    const next = () => {
      if (!isChosen() && (isFull() || !choice.available)) return null;
      const item = changed(!isChosen());
      return isComplete(this._menuItem, item) ? item : isChosen() ? this._item : null;
    };
    const onclick = () => this._changed(next());
    const text = make("span", {}, ...modifierTexts(choice.name, choice.kind));
    return { button: make("button", { type: "button", onclick }, text, ...priceOf(choice)), isChosen, next };
  }
}
