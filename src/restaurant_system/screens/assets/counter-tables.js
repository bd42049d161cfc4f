// The buttons of the tables, as the menu file lists them. Any other table is typed.

import { arrange, make, makeUserText } from "./elements.js";

export class Tables {
  /** Shows a button for each table in `fieldset`; `picked(label)` is called when one is selected. */
  constructor(fieldset, picked) {
    this._fieldset = fieldset;
    this._picked = picked;
    this._buttons = new Map();
  }

  /** Shows the buttons of these tables, and which one is selected, unless the order has no table. */
  show(labels, { table }, hasTable) {
    this._fieldset.hidden = !hasTable || labels.length === 0;
    this._buttons = new Map(labels.map((label) => [label, this._buttons.get(label) ?? this._button(label)]));
    arrange(this._fieldset.querySelector("div"), [...this._buttons.values()]);
    for (const [label, button] of this._buttons) button.querySelector("input").checked = label === table.trim();
  }

  _button(label) {
    const onclick = () => this._picked(label); // also by a key, and of the one that is selected
    return make("label", {}, make("input", { type: "radio", name: "table-button", value: label, onclick }), makeUserText("span", label));
  }
}
