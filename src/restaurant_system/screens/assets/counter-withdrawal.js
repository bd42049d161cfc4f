// Withdraws an order that was placed, after a second tap that confirms it.

import { datedNumber } from "./business-date.js";
import { write } from "./elements.js";
import { sentenceOf } from "./problems.js";
import { newKey, post } from "./requests.js";
import { statusInSentence, translate } from "./words.js";

const part = (id) => document.getElementById(id);

export class Withdrawal {
  /** Acts on the order of `sent` that is shown; `corrected(order)` is called to change it after that. */
  constructor(sent, corrected) {
    this._sent = sent;
    this._key = null; // of the order that the question is about
    this._isOpen = false;
    this._isSending = false;
    this._problem = "";
    part("withdraw").addEventListener("click", () => this._ask(true));
    part("withdraw-keep").addEventListener("click", () => this._ask(false));
    part("withdraw-confirm").addEventListener("click", () => this._withdraw());
    part("correct").addEventListener("click", () => corrected(sent.shown));
  }

  /** Shows what can be done with the order that is shown. */
  show() {
    const order = this._sent.shown;
    if (order?.key !== this._key) [this._key, this._isOpen, this._problem] = [order?.key ?? null, false, ""];
    const isPlaced = order?.state === "placed";
    const isWithdrawn = order?.isWithdrawn ?? false;
    part("withdraw").hidden = !isPlaced || isWithdrawn || this._isOpen;
    part("withdraw-question").hidden = !isPlaced || isWithdrawn || !this._isOpen;
    part("correct").hidden = !isWithdrawn || this._sent.draftOf(order) === null;
    if (!isPlaced) {
      write(part("withdraw-result"), "");
      return;
    }
    const number = datedNumber(order.orderNumber);
    write(part("withdraw-text"), translate("counter.withdraw_question", { number }));
    write(part("withdraw-confirm"), translate(this._isSending ? "counter.withdrawing" : "counter.withdraw_confirm"));
    part("withdraw-confirm").setAttribute("aria-disabled", String(this._isSending));
    write(part("withdraw-result"), isWithdrawn ? translate("counter.withdrawn_text", { number }) : this._problem);
  }

  _ask(isOpen) {
    [this._isOpen, this._problem] = [isOpen, ""];
    this.show();
    part(isOpen ? "withdraw-confirm" : "withdraw").focus();
  }

  async _withdraw() {
    if (this._isSending) return;
    const { key, orderNumber } = this._sent.shown;
    this._isSending = true;
    this.show();
    // Without a reason, an order that is ready already is not cancelled.
    const { status, body } = await post(`/orders/${orderNumber}/cancel`, {}, newKey());
    this._isSending = false;
    if (status === 200 || body?.current_status === "cancelled") this._sent.withdraw(key);
    if (this._sent.shown?.key !== key) return; // the next order has been started
    if (this._sent.shown.isWithdrawn) {
      part(part("correct").hidden ? "next" : "correct").focus();
      return;
    }
    this._isOpen = status === 0; // it can be tried again
    this._problem = problemText(status, body);
    this.show();
    part(this._isOpen ? "withdraw-confirm" : "withdraw").focus();
  }
}

function problemText(status, body) {
  if (status === 0) return translate("counter.withdraw_unknown");
  const current = body?.current_status;
  if (!current) return body ? sentenceOf(body) : translate("counter.withdraw_unknown");
  return translate("counter.withdraw_too_late", { status: statusInSentence(current) });
}
