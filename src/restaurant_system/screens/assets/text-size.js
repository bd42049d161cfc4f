// The text size of a station. It is part of the station's address (?text=large), so that a link, a bookmark or
// the station chooser opens it so; a size that is chosen on the page is stored on the device for this station.

import { load, store } from "./stored.js";

const NORMAL = "normal";
const SIZES = [NORMAL, "large", "larger"];

export class TextSize {
  /** Shows the sizes as the options of the fieldset; `changed()` is called when another one is chosen. */
  constructor(fieldset, station, changed) {
    this._name = `kitchen-text ${station}`;
    this._changed = changed;
    this._options = [...fieldset.querySelectorAll("input")];
    for (const option of this._options) option.addEventListener("change", () => this._choose(option.value));
    const chosen = new URLSearchParams(location.search).get("text") ?? load(this._name);
    this._show(SIZES.includes(chosen) ? chosen : NORMAL);
  }

  _choose(size) {
    store(this._name, size);
    const address = new URL(location.href);
    if (address.searchParams.has("text")) {
      address.searchParams.set("text", size);
      history.replaceState(null, "", address);
    }
    this._show(size);
    this._changed();
  }

  _show(size) {
    document.documentElement.dataset.text = size;
    for (const option of this._options) option.checked = option.value === size;
  }
}
