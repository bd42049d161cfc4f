// The draft of an order. It is stored in the browser with its idempotency key, so that a reload loses
// nothing. It has three phases:
//
//     open     it can be changed
//     sent     it was sent, and cannot be changed until the response is known
//     placed   it has a number, and the next draft has not been started
//
// All windows of a browser share one draft.

import { centsOf, decimal, numberIn } from "./counter-cents.js";
import { newKey } from "./requests.js";
import { load, onStoredElsewhere, store } from "./stored.js";

const STORAGE_KEY = "counter.draft";
const VERSION = 2; // of the stored format

/** The largest quantity of an order item. */
export const MAX_QUANTITY = 10;

export class Draft {
  /** Loads the stored draft. `changed()` is called whenever `state` changes. */
  constructor(changed) {
    this.state = storedDraft();
    this._changed = changed;
    this._cleared = null;
    // The event may be older than what this window has stored since, so the stored draft is loaded.
    onStoredElsewhere(STORAGE_KEY, () => this._show(storedDraft()));
  }

  get isEmpty() {
    const { customer, table, address, notes, items } = this.state;
    return items.length === 0 && [customer, table, address, notes].every((text) => text === "");
  }

  get canBringBack() {
    return this._cleared !== null;
  }

  get totalCents() {
    return this.state.items.reduce((sum, item) => sum + itemCents(item), 0);
  }

  get itemCount() {
    return this.state.items.reduce((sum, item) => sum + item.quantity, 0);
  }

  /** Sets one of the fields type, customer, table, address and notes. */
  write(field, value) {
    this._edit((state) => ({ ...state, [field]: value }));
  }

  /**
   * Adds one of a menu item to its order item, or adds an order item if there is none without notes.
   * Returns the id of the order item.
   */
  addFromMenu({ name, price }) {
    const text = String(price);
    const item = this.state.items.find(
      (each) => !each.isTyped && each.name === name && each.price === text && each.notes === "" && each.quantity < MAX_QUANTITY,
    );
    if (!item) return this._add({ isTyped: false, name, price: text });
    this.step(item.id, 1);
    return item.id;
  }

  /** Adds an order item whose name and price are typed; returns its id. */
  addTyped() {
    return this._add({ isTyped: true, name: "", price: "" });
  }

  /** Sets the name, price or notes of an order item. */
  writeItem(id, field, value) {
    this._editItem(id, (item) => ({ ...item, [field]: value }));
  }

  /** Changes the quantity of an order item, within its limits. */
  step(id, by) {
    this._editItem(id, (item) => ({ ...item, quantity: Math.min(MAX_QUANTITY, Math.max(1, item.quantity + by)) }));
  }

  item(id) {
    return this.state.items.find((item) => item.id === id);
  }

  remove(id) {
    this._edit((state) => ({ ...state, items: state.items.filter((item) => item.id !== id) }));
  }

  /** Clears the draft; until the next change it can be brought back. */
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

  /** Marks the draft as sent; a draft that was sent before stays as it is. */
  send() {
    if (this.state.phase !== "open") return;
    this._store({ ...this.state, phase: "sent", body: body(this.state), sentAt: Date.now() });
  }

  /** Opens the draft again after it was refused; its idempotency key was not used. */
  reopen() {
    this._store({ ...this.state, phase: "open", body: null });
  }

  /**
   * Opens the draft again although the order may have been placed. `unconfirmed` is the name of the
   * text for that. The next time it is sent as another order, with another key.
   */
  reopenUnconfirmed(unconfirmed) {
    this._store({ ...this.state, phase: "open", body: null, key: newKey(), unconfirmed });
  }

  /** Stores the number, total and link of the placed order, and deletes the rest of the draft. */
  place(orderNumber, totalAmount, trackingUrl) {
    this._store({ ...blank(), phase: "placed", placed: { orderNumber, totalAmount, trackingUrl } });
  }

  /** Starts the next draft. */
  next() {
    if (this.state.phase === "placed") this._store(blank());
  }

  _add(item) {
    const id = Math.max(0, ...this.state.items.map((each) => each.id)) + 1;
    this._edit((state) => ({ ...state, items: [...state.items, { ...item, id, quantity: 1, notes: "" }] }));
    return id;
  }

  _editItem(id, edit) {
    this._edit((state) => ({ ...state, items: state.items.map((item) => (item.id === id ? edit(item) : item)) }));
  }

  _edit(edit) {
    if (this.state.phase === "open") this._store(edit(this.state));
  }

  _store(state) {
    store(STORAGE_KEY, state);
    this._show(state);
  }

  _show(state) {
    this.state = state;
    this._cleared = null;
    this._changed();
  }
}

/** Returns the total of an order item in cents; 0 while its price is invalid. */
export function itemCents(item) {
  return (centsOf(item.price) ?? 0) * item.quantity;
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
    items: [],
    body: null, // as it was sent
    sentAt: null, // ms
    placed: null,
    unconfirmed: null,
  };
}

function storedDraft() {
  const state = load(STORAGE_KEY);
  if (state?.version === 1) return upgraded(state);
  return state?.version === VERSION ? { ...blank(), ...state } : blank(); // it may lack a new field
}

/** Converts a draft of version 1, which may have been sent already: a blank one would be a second order. */
function upgraded({ lines, doubt, ...state }) {
  return { ...blank(), ...state, version: VERSION, items: lines, unconfirmed: doubt };
}

/** Returns the draft as the body of a request. Undefined values are left out of the JSON. */
function body({ type, customer, table, address, notes, items }) {
  return {
    customer_name: customer,
    order_type: type,
    table_number: type === "dine_in" ? numberIn(table) : undefined,
    delivery_address: type === "delivery" ? unlessBlank(address) : undefined,
    items: items.map((item) => ({
      name: item.name,
      quantity: item.quantity,
      price: priceOf(item.price),
      notes: unlessBlank(item.notes),
    })),
    notes: unlessBlank(notes),
  };
}

function priceOf(text) {
  const cents = centsOf(text);
  return cents === null ? numberIn(text) : decimal(cents);
}

function unlessBlank(text) {
  return text.trim() === "" ? undefined : text;
}
