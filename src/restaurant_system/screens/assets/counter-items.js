// The items of the order, each with its quantity, its notes and buttons for its options and its removal.

import { itemCents, unitCents } from "./counter-body.js";
import { decimal } from "./counter-cents.js";
import { MAX_QUANTITY } from "./counter-draft.js";
import { hideError } from "./counter-errors.js";
import { detailLines } from "./counter-modifiers.js";
import { arrange, make, makeUserText, visible, write } from "./elements.js";
import { money, translate } from "./words.js";

export class OrderItems {
  /**
   * Shows the items of `draft` in `list`; `announce(id)` is called when one has changed, `choose(id)` for
   * the button of its options.
   */
  constructor(list, draft, { announce, choose }) {
    this._list = list;
    this._draft = draft;
    this._announce = announce;
    this._choose = choose;
    this._rows = new Map();
  }

  /** Shows the items, each with its difference to the menu, as `differenceTo(item)` returns it. */
  show(differenceTo) {
    const { items } = this._draft.state;
    this._rows = new Map(items.map((item) => [item.id, this._rows.get(item.id) ?? this._row(item)]));
    arrange(this._list, [...this._rows.values()]);
    items.forEach((item, index) => {
      const row = this._rows.get(item.id);
      fill(row, item, index);
      this._showDifference(row, item, differenceTo(item));
    });
  }

  /** Scrolls to an item, if the order scrolls by itself: on a narrow screen the menu stays in sight. */
  reveal(id) {
    const row = this._rows.get(id);
    if (getComputedStyle(row.closest("section")).overflowY === "auto") row.scrollIntoView({ block: "nearest" });
  }

  /** Moves the focus to the name of an item. */
  focus(id) {
    this._rows.get(id).querySelector("input").focus();
  }

  _row(item) {
    const writing = (field) => (event) => this._draft.writeItem(item.id, field, event.target.value);
    return make(
      "li",
      { className: "order-item" },
      item.isTyped ? typed(item, writing) : picked(),
      make("strong", { className: "sum number" }),
      make("ul", { className: "chosen quiet" }),
      difference(),
      this._stepper(item.id),
      notes(item, writing("notes")),
      this._chooser(item.id),
      this._remover(item.id),
      make("p", { id: `item-${item.id}-options-error`, className: "error", hidden: true }),
    );
  }

  /** Shows how an item differs from the menu; keeps the focus in its row when a button is hidden. */
  _showDifference(row, item, difference) {
    const [place, take] = [row.querySelector(".differs"), row.querySelector(".take")];
    const hadFocus = document.activeElement === take;
    place.hidden = difference === null;
    take.hidden = !difference?.updated;
    write(place.querySelector("p"), difference?.text ?? "");
    if (take.hidden) {
      if (hadFocus) row.querySelector(".more").focus();
      return;
    }
    const { updated } = difference;
    const price = money(decimal(unitCents(updated)));
    label(row, ".take", translate("counter.take_price_of", { name: item.name, price }));
    take.onclick = () => this._takePrice(updated);
  }

  _takePrice({ id, price, options }) {
    this._draft.changeItem(id, { price, options });
    this._announce(id);
  }

  _stepper(id) {
    return make(
      "div",
      { className: "stepper", role: "group" },
      make("button", { type: "button", className: "less", textContent: "−", onclick: () => this._step(id, -1) }),
      this._quantity(id),
      make("button", { type: "button", className: "more", textContent: "+", onclick: () => this._step(id, 1) }),
    );
  }

  /** Makes the input of a quantity, which is stored as soon as it is a valid one. */
  _quantity(id) {
    const write = ({ target }) => {
      if (/^[1-9]\d{0,2}$/.test(target.value)) this._draft.setQuantity(id, Number(target.value));
    };
    const settle = ({ target }) => {
      target.value = this._draft.item(id)?.quantity ?? "";
      if (this._draft.item(id)) this._announce(id);
    };
    return make("input", { className: "quantity number", inputMode: "numeric", oninput: write, onchange: settle });
  }

  _chooser(id) {
    const onclick = () => this._choose(id);
    return make("button", { type: "button", id: `item-${id}-options`, className: "choose", textContent: "⋯", onclick });
  }

  _step(id, by) {
    this._draft.step(id, by);
    this._announce(id);
  }

  _remover(id) {
    return make("button", { type: "button", className: "remove", textContent: "×", onclick: () => this._remove(id) });
  }

  /** Removes an item, and moves the focus to the next one or to the button that adds one. */
  _remove(id) {
    const row = this._rows.get(id);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    this._draft.remove(id);
    (neighbour?.querySelector(".remove") ?? document.getElementById("add-typed")).focus();
  }
}

function difference() {
  return make(
    "div",
    { className: "differs", hidden: true },
    make("p", { className: "error" }),
    make("button", { type: "button", className: "take", textContent: translate("counter.take_price") }),
  );
}

function picked() {
  return make(
    "p",
    { className: "what" },
    makeUserText("span", "", "name"),
    " ",
    make("span", { className: "price quiet number" }),
  );
}

function typed(item, writing) {
  const price = input(item, "price", translate("counter.price"), writing("price"));
  price.querySelector("input").inputMode = "decimal";
  return make("div", { className: "what typed" }, input(item, "name", translate("counter.name"), writing("name")), price);
}

function notes(item, oninput) {
  const field = input(item, "notes", translate("counter.item_notes"), oninput);
  field.classList.add("notes");
  field.querySelector("label").className = "unseen";
  field.querySelector("input").placeholder = translate("counter.item_notes");
  return field;
}

function input({ id }, field, label, oninput) {
  const own = `item-${id}-${field}`;
  const change = (event) => {
    hideError(event.target);
    oninput(event);
  };
  return make(
    "div",
    { className: "field" },
    make("label", { htmlFor: own, textContent: label }),
    make("input", { id: own, dir: "auto", dataset: { part: field }, oninput: change }),
    make("p", { id: `${own}-error`, className: "error", hidden: true }),
  );
}

function fill(row, item, index) {
  const name = item.name.trim() || translate("counter.unnamed");
  for (const each of row.querySelectorAll("[data-part]")) {
    each.dataset.field = `items.${index}.${each.dataset.part}`;
    if (each.value !== item[each.dataset.part]) each.value = item[each.dataset.part];
  }
  if (!item.isTyped) {
    write(row.querySelector(".name"), visible(name));
    write(row.querySelector(".price"), money(decimal(unitCents(item))));
  }
  write(row.querySelector(".sum"), money(decimal(itemCents(item))));
  row.querySelector(".chosen").replaceChildren(...detailLines(item));
  const quantity = row.querySelector(".quantity");
  if (quantity !== document.activeElement) quantity.value = item.quantity;
  const choose = row.querySelector(".choose");
  choose.dataset.field = `items.${index}`; // and of every part of it that has no input here
  choose.dataset.label = name;
  label(row, ".stepper", translate("counter.quantity_of", { name }));
  label(row, ".quantity", translate("counter.quantity_of", { name }));
  label(row, ".choose", translate("counter.options_of", { name }));
  label(row, ".less", translate("counter.less_of", { name }));
  label(row, ".more", translate("counter.more_of", { name }));
  label(row, ".remove", translate("counter.remove", { name }));
  row.querySelector(".less").setAttribute("aria-disabled", String(item.quantity === 1));
  row.querySelector(".more").setAttribute("aria-disabled", String(item.quantity === MAX_QUANTITY));
}

function label(row, part, text) {
  row.querySelector(part).setAttribute("aria-label", text);
}
