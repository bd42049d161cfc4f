// The order that is being made. It is kept in the browser with its idempotency key, so that a reload
// loses nothing. It goes through three phases:
//
//     open     it may be changed
//     sent     it has left, and stays as it was until the answer is known
//     placed   it has a number; the next one has not been begun
//
// Every window of this browser shows the same draft: what changes in one is seen in the others.

import { centsOf, decimal, numberIn } from "./counter-cents.js";
import { newKey } from "./requests.js";
import { load, onStoredElsewhere, store } from "./stored.js";

const PLACE = "counter.draft";
const VERSION = 1; // of what is kept; anything else is not looked at

/** How many of an item one line may have. */
export const MOST = 10;

export class Draft {
  /** Goes on where this browser left off. `changed()` is called whenever `state` is another. */
  constructor(changed) {
    this.state = keptDraft();
    this._changed = changed;
    this._cleared = null;
    // What is kept by now counts: what is heard of may be older than what was kept here since.
    onStoredElsewhere(PLACE, () => this._show(keptDraft()));
  }

  get isEmpty() {
    const { customer, table, address, notes, lines } = this.state;
    return lines.length === 0 && [customer, table, address, notes].every((text) => text === "");
  }

  get canBringBack() {
    return this._cleared !== null;
  }

  get totalCents() {
    return this.state.lines.reduce((sum, line) => sum + lineCents(line), 0);
  }

  get itemCount() {
    return this.state.lines.reduce((sum, line) => sum + line.quantity, 0);
  }

  /** Writes one of the fields type, customer, table, address and notes. */
  write(field, value) {
    this._edit((state) => ({ ...state, [field]: value }));
  }

  /**
   * Adds one of an item to its line, or begins a line: with notes, a line is something else. Returns
   * the line's id.
   */
  addFromMenu({ name, price }) {
    const text = String(price);
    const line = this.state.lines.find(
      (each) => !each.isTyped && each.name === name && each.price === text && each.notes === "" && each.quantity < MOST,
    );
    if (!line) return this._add({ isTyped: false, name, price: text });
    this.step(line.id, 1);
    return line.id;
  }

  /** Begins a line whose name and price are typed; returns its id. */
  addTyped() {
    return this._add({ isTyped: true, name: "", price: "" });
  }

  /** Writes a line's name, price or notes. */
  writeLine(id, field, value) {
    this._editLine(id, (line) => ({ ...line, [field]: value }));
  }

  /** Takes one more of a line, or one less, within what one line may have. */
  step(id, by) {
    this._editLine(id, (line) => ({ ...line, quantity: Math.min(MOST, Math.max(1, line.quantity + by)) }));
  }

  line(id) {
    return this.state.lines.find((line) => line.id === id);
  }

  remove(id) {
    this._edit((state) => ({ ...state, lines: state.lines.filter((line) => line.id !== id) }));
  }

  /** Begins anew; until something is written, what was there can be brought back. */
  clear() {
    const before = this.state;
    this._edit(blank);
    this._cleared = before;
    this._changed();
  }

  bringBack() {
    const before = this._cleared;
    this._edit(() => before);
  }

  /** Lets it leave: from now on it stays as it is. What is already on its way leaves once. */
  send() {
    if (this.state.phase !== "open") return;
    this._keep({ ...this.state, phase: "sent", body: body(this.state), sentAt: Date.now() });
  }

  /** Lets it be changed again: it was refused, and nothing is known under its key. */
  reopen() {
    this._keep({ ...this.state, phase: "open", body: null });
  }

  /**
   * Lets it be changed again although it may have been taken. `doubt` names the text that says so.
   * What is sent from now on is another order, under another key.
   */
  reopenInDoubt(doubt) {
    this._keep({ ...this.state, phase: "open", body: null, key: newKey(), doubt });
  }

  /** It has a number. Nothing else of it stays in this browser. */
  place(orderNumber, totalAmount) {
    this._keep({ ...blank(), phase: "placed", placed: { orderNumber, totalAmount } });
  }

  /** Begins the next one. */
  next() {
    if (this.state.phase === "placed") this._keep(blank());
  }

  _add(line) {
    const id = Math.max(0, ...this.state.lines.map((each) => each.id)) + 1;
    this._edit((state) => ({ ...state, lines: [...state.lines, { ...line, id, quantity: 1, notes: "" }] }));
    return id;
  }

  _editLine(id, edit) {
    this._edit((state) => ({ ...state, lines: state.lines.map((line) => (line.id === id ? edit(line) : line)) }));
  }

  _edit(edit) {
    if (this.state.phase === "open") this._keep(edit(this.state));
  }

  _keep(state) {
    store(PLACE, state);
    this._show(state);
  }

  _show(state) {
    this.state = state;
    this._cleared = null;
    this._changed();
  }
}

/** What a line comes to, in cents; one whose price cannot be read comes to nothing yet. */
export function lineCents(line) {
  return (centsOf(line.price) ?? 0) * line.quantity;
}

function blank() {
  return {
    version: VERSION,
    phase: "open",
    key: newKey(),
    type: "dine_in",
    customer: "",
    table: "",
    address: "",
    notes: "",
    lines: [],
    body: null, // as it was sent
    sentAt: null, // ms
    placed: null,
    doubt: null,
  };
}

function keptDraft() {
  const state = load(PLACE);
  return state?.version === VERSION ? state : blank();
}

/** The draft as the contract has an order. What is undefined is left out of the JSON. */
function body({ type, customer, table, address, notes, lines }) {
  return {
    customer_name: customer,
    order_type: type,
    table_number: type === "dine_in" ? numberIn(table) : undefined,
    delivery_address: type === "delivery" ? stated(address) : undefined,
    items: lines.map((line) => ({
      name: line.name,
      quantity: line.quantity,
      price: priceOf(line.price),
      notes: stated(line.notes),
    })),
    notes: stated(notes),
  };
}

function priceOf(text) {
  const cents = centsOf(text);
  return cents === null ? numberIn(text) : decimal(cents);
}

function stated(text) {
  return text.trim() === "" ? undefined : text;
}
