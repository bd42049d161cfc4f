// The charges and discounts of the order, each with its name and its amount.

import { hideError } from "./counter-errors.js";
import { arrange, make } from "./elements.js";
import { translate } from "./words.js";

export class Charges {
  /** Shows the charges of `draft` in `list`; `fallback` gets the focus when one is removed. */
  constructor(list, draft, fallback) {
    this._list = list;
    this._draft = draft;
    this._fallback = fallback;
    this._rows = new Map();
  }

  show() {
    const { charges } = this._draft.state;
    this._rows = new Map(charges.map((charge) => [charge.id, this._rows.get(charge.id) ?? this._row(charge)]));
    arrange(this._list, [...this._rows.values()]);
    charges.forEach((charge, index) => fill(this._rows.get(charge.id), charge, index));
  }

  /** Adds a charge or a discount, and moves the focus to its amount. */
  add(isDiscount) {
    const name = translate(isDiscount ? "counter.discount" : "counter.charge");
    const id = this._draft.addCharge(name, isDiscount);
    this._rows.get(id).querySelector("[data-part=amount]").focus();
  }

  _row({ id, name }) {
    const label = translate("counter.remove", { name });
    const remove = () => {
      this._draft.removeCharge(id);
      this._fallback.focus();
    };
    const amount = this._input(id, "amount", translate("counter.amount"));
    amount.querySelector("input").inputMode = "decimal";
    return make(
      "li",
      { className: "charge" },
      this._input(id, "name", translate("counter.charge_name")),
      amount,
      make("button", { type: "button", className: "remove", textContent: "×", onclick: remove, "aria-label": label }),
    );
  }

  _input(id, part, label) {
    const own = `charge-${id}-${part}`;
    const change = ({ target }) => {
      hideError(target);
      this._draft.writeCharge(id, part, target.value);
    };
    return make(
      "div",
      { className: "field" },
      make("label", { htmlFor: own, textContent: label }),
      make("input", { id: own, dir: "auto", dataset: { part }, oninput: change }),
      make("p", { id: `${own}-error`, className: "error", hidden: true }),
    );
  }
}

function fill(row, charge, index) {
  row.classList.toggle("discount", charge.isDiscount);
  for (const input of row.querySelectorAll("[data-part]")) {
    input.dataset.field = `charges.${index}.${input.dataset.part}`;
    if (input.value !== charge[input.dataset.part]) input.value = charge[input.dataset.part];
  }
}
