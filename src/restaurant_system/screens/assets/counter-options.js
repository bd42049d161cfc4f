// The dialog of one order item: its variation and options from the menu, typed modifiers, course, and whose dish it is.

import { itemCents } from "./counter-body.js";
import { decimal } from "./counter-cents.js";
import { chosenIn, isComplete, withOption, withVariation } from "./counter-choices.js";
import { unavailableText } from "./counter-menu.js";
import { modifierLine } from "./counter-modifiers.js";
import { make, makeUserText, visible, write } from "./elements.js";
import { money, translate } from "./words.js";

// Of a typed item, and of one that is not on the menu any more.
const NOTHING_TO_CHOOSE = { price: 0, variations: [], modifier_groups: [] };

export class Options {
  /**
   * Shows itself in `dialog`. `added(item)` is called with a new item that is complete, `changed(item)`
   * at each change of an item of the order, as long as it is complete.
   */
  constructor(dialog, { added, changed }) {
    this._dialog = dialog;
    this._added = added;
    this._changed = changed;
    const part = (name) => dialog.querySelector(`#options-${name}`);
    [this._title, this._groups, this._extras, this._form, this._done] = ["title", "groups", "extras", "form", "done"].map(part);
    this._served = [part("guest"), part("course")];
    this._done.addEventListener("click", () => this._finish());
    this._form.addEventListener("submit", (event) => this._addExtra(event));
    this._form.addEventListener("change", () => this._showKind());
    for (const input of this._served) {
      input.addEventListener("input", () => this._change({ ...this._item, [input.name]: input.value }));
    }
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // the backdrop
    this._isPassing = false;
    this._groups.addEventListener("keydown", (event) => this._press(event));
    for (const each of ["keyup", "pointerdown"]) this._groups.addEventListener(each, () => (this._isPassing = false));
  }

  /** Opens the dialog for an item of the order, or for a new one, which has no id yet. */
  open(item, menuItem) {
    this._item = item;
    this._menuItem = menuItem ?? NOTHING_TO_CHOOSE;
    write(this._title, visible((item.item ?? item.name).trim() || translate("counter.unnamed")));
    this._makeChoices();
    this._groups.replaceChildren(...this._choices.map(({ element }) => element));
    for (const input of this._served) input.value = item[input.name];
    this._resetExtra();
    this._show();
    this._dialog.showModal();
    this._dialog.scrollTo(0, 0);
    (this._groups.querySelector("input") ?? this._form.querySelector("input")).focus();
  }

  get _isNew() {
    return this._item.id === null;
  }

  get _isComplete() {
    return this._menuItem === NOTHING_TO_CHOOSE || isComplete(this._menuItem, this._item);
  }

  _change(item) {
    this._item = item;
    if (!this._isNew && this._isComplete) this._changed(item);
    this._show();
  }

  /**
   * Changes what is chosen from the menu. A new item is added as soon as it has what it must have: what else
   * it may have is then offered next to the total. An arrow key passes through choices.
   */
  _choose(item) {
    this._change(item);
    if (this._isNew && this._isComplete && !this._isPassing) this._finish();
  }

  _press(event) {
    this._isPassing = event.key.startsWith("Arrow");
    if (event.key !== "Enter") return;
    event.preventDefault();
    this._finish();
  }

  _finish() {
    if (!this._isComplete) {
      this._dialog.querySelector(".group.missing input").focus();
      return;
    }
    if (this._isNew) this._added(this._item);
    this._dialog.close();
  }

  _show() {
    for (const choice of this._choices) this._showChoice(choice);
    this._extras.replaceChildren(...this._item.extras.map((extra, index) => this._extra(extra, index)));
    const sum = money(decimal(itemCents(this._item)));
    write(this._done, translate(this._isNew ? "counter.add_item" : "counter.options_done", { sum }));
    this._done.setAttribute("aria-disabled", String(!this._isComplete));
  }

  /** Makes the choices: of a variation, if there are any, and in each modifier group. */
  _makeChoices() {
    const { price, variations, modifier_groups: groups } = this._menuItem;
    const sizes = { name: translate("counter.variation"), min: price === null ? 1 : 0, max: 1, options: variations };
    const choices = groups.map((group) => ({
      group,
      names: () => chosenIn(group, this._item).map(({ name }) => name),
      pick: (option, isChosen) => withOption(this._menuItem, this._item, group, option, isChosen),
    }));
    if (variations.length > 0) {
      choices.unshift({
        group: sizes,
        names: () => (this._item.variation === null ? [] : [this._item.variation]),
        pick: (variation, isChosen) => withVariation(this._menuItem, this._item, isChosen ? variation : null),
      });
    }
    this._choices = choices.map((choice, index) => ({
      ...choice,
      element: fieldset(choice.group, `choice-${index}`, (...picked) => this._choose(choice.pick(...picked))),
    }));
  }

  _showChoice({ group, names, element }) {
    const chosen = names();
    const isFull = group.max > 1 && chosen.length >= group.max;
    element.classList.toggle("missing", chosen.length < group.min);
    element.querySelectorAll("input").forEach((input, index) => {
      const { name, available } = group.options[index];
      input.checked = chosen.includes(name);
      input.disabled = !input.checked && (isFull || !available);
    });
  }

  _extra(extra, index) {
    const remove = () => {
      this._change({ ...this._item, extras: this._item.extras.filter((_, place) => place !== index) });
      this._form.querySelector("input").focus();
    };
    const label = translate("counter.remove", { name: extra.name });
    const button = make("button", { type: "button", className: "remove", textContent: "×", onclick: remove, "aria-label": label });
    return make("li", {}, ...modifierLine(extra), button);
  }

  /** Only what is added has a price. */
  _showKind() {
    this._form.dataset.kind = this._form.elements.kind.value;
  }

  _resetExtra() {
    this._form.reset();
    this._showKind();
  }

  _addExtra(event) {
    event.preventDefault();
    const { kind, name, price } = Object.fromEntries(new FormData(this._form));
    if (name.trim() === "") return;
    const extra = { kind, name: name.trim(), price: kind === "add" ? price : "" };
    this._resetExtra();
    this._change({ ...this._item, extras: [...this._item.extras, extra] });
    this._form.querySelector("input").focus();
  }
}

function fieldset({ name, min, max, options }, id, pick) {
  const isRadio = min === 1 && max === 1;
  const form = isRadio ? "one" : min > 0 ? "at_least" : "up_to";
  const hint = translate(`counter.choose.${form}`, { min, max });
  const choices = options.map((option) => {
    const input = make("input", { type: isRadio ? "radio" : "checkbox", name: id });
    input.addEventListener("change", () => pick(option, input.checked));
    const text = make("span", {}, makeUserText("span", option.name), ...priceOf(option));
    return make("label", {}, input, text);
  });
  return make(
    "fieldset",
    { className: "group" },
    make("legend", {}, makeUserText("span", name), " ", make("span", { className: "quiet" }, hint)),
    make("div", { className: "choices" }, ...choices),
  );
}

/** Makes the text of what a choice adds to the price, or why it is not available. */
export function priceOf({ price, available, reason }) {
  if (available && Number(price) === 0) return [];
  const text = available ? money(price) : unavailableText({ reason });
  return [" ", make("span", { className: "price number" }, text)];
}
