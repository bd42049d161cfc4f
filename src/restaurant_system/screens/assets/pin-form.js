// The form in which people of an enrolled device choose their name and type their PIN, on a keyboard
// or on the keypad that is shown.

import { make, makeUserText, write } from "./elements.js";
import { fetchJson, sendJson } from "./session.js";
import { translate } from "./words.js";

const [OK, UNAUTHORIZED, FORBIDDEN, BAD_REQUEST, TOO_MANY] = [200, 401, 403, 400, 429];
const DIGITS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"];
const part = (id) => document.getElementById(id);

export class PinForm {
  /** `device` is the answer of `/device`; the callbacks get the new session, and the text of a fault. */
  constructor(form, device, { onSignedIn, onFault }) {
    this._form = form;
    this._pin = part("pin");
    this._onSignedIn = onSignedIn;
    this._onFault = onFault;
    write(part("device"), translate("sign_in.device", { device: device.name }));
    part("people").replaceChildren(...device.people.map((name) => this._choice(name)));
    part("keypad").replaceChildren(...DIGITS.map((digit) => this._digit(digit)), this._delete());
    part("no-pins").hidden = device.people.length > 0;
    part("pin-fields").hidden = device.people.length === 0;
    form.addEventListener("submit", (event) => this._submit(event));
  }

  show() {
    this._form.hidden = false;
    const first = this._form.querySelector("input:checked") ?? this._form.querySelector("input");
    (part("pin-fields").hidden ? part("use-password") : first).focus();
  }

  _choice(name) {
    const radio = make("input", { type: "radio", name: "person", value: name });
    return make("label", { className: "person" }, radio, makeUserText("span", name));
  }

  _digit(digit) {
    const type = () => {
      if (this._pin.value.length < this._pin.maxLength) this._pin.value += digit;
    };
    return make("button", { type: "button", onclick: type }, digit);
  }

  _delete() {
    const remove = () => (this._pin.value = this._pin.value.slice(0, -1));
    return make("button", { type: "button", onclick: remove, "aria-label": translate("sign_in.delete") }, "⌫");
  }

  async _submit(event) {
    event.preventDefault();
    const chosen = this._form.querySelector("input:checked");
    if (chosen === null || this._pin.value === "") {
      this._onFault(translate("sign_in.choose"));
      return (chosen === null ? this._form.querySelector("input") : this._pin).focus();
    }
    const button = this._form.querySelector("button.main");
    button.disabled = true;
    const response = await sendJson("POST", "/device/session", { name: chosen.value, pin: this._pin.value });
    button.disabled = false;
    this._pin.value = "";
    if (response?.status === OK) return this._onSignedIn(await response.json());
    this._onFault(await this._fault(response, chosen.value));
    this._pin.focus();
  }

  async _fault(response, name) {
    switch (response?.status) {
      case UNAUTHORIZED:
        return translate((await isRemoved()) ? "sign_in.not_enrolled" : "sign_in.wrong_pin");
      case BAD_REQUEST:
        return translate("sign_in.wrong_pin");
      case FORBIDDEN:
        return translate("sign_in.pin_refused", { name });
      case TOO_MANY:
        return translate("sign_in.pins_locked", { seconds: response.headers.get("Retry-After") });
      default:
        return translate("sign_in.unavailable");
    }
  }
}

async function isRemoved() {
  const device = await fetchJson("/device");
  return device !== null && device.name === null;
}
