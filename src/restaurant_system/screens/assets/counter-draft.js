// The draft of an order. It is stored in the browser, so that a reload loses nothing, with the idempotency
// key that it is sent with. All windows of a browser share one draft.

import { totalCents } from "./counter-body.js";
import { newKey } from "./requests.js";
import { load, onStoredElsewhere, store } from "./stored.js";

const STORAGE_KEY = "counter.draft";
const VERSION = 3; // of the stored format

/** The largest quantity of an order item. */
export const MAX_QUANTITY = 999;

const FIELDS = {
  customer: "",
  table: "",
  address: "",
  notes: "",
  allergy: "",
  reference: "",
  phone: "",
  handoff: "",
  amountDue: "",
  readyTime: "", // 20:00
  readyDate: "", // 2024-12-16; without it, the next day with that time
};
const ITEM = {
  id: null, // until it is in the order
  isTyped: false,
  section: null, // where it is on the menu
  item: null, // its name there
  variation: null, // the name of its variation
  name: "", // by which it is ordered
  sku: null,
  price: "",
  quantity: 1,
  notes: "",
  options: [], // chosen from the menu: `{ group, name, kind, price }`
  extras: [], // typed modifiers: `{ kind, name, price }`
  guest: "",
  course: "",
};

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
    const { items, charges } = this.state;
    return items.length === 0 && charges.length === 0 && Object.keys(FIELDS).every((field) => this.state[field] === "");
  }

  get canBringBack() {
    return this._cleared !== null;
  }

  get totalCents() {
    return totalCents(this.state);
  }

  get itemCount() {
    return this.state.items.reduce((sum, item) => sum + item.quantity, 0);
  }

  /** Sets the type or one of the other fields. */
  write(field, value) {
    this._edit((state) => ({ ...state, [field]: value }));
  }

  /** Returns a new item, which is not in the order yet, with these values. */
  blankItem(values) {
    return { ...ITEM, ...values };
  }

  /**
   * Adds a new item, or one to the quantity of the order item that is the same in everything else.
   * Returns the id of the order item.
   */
  add(added) {
    const same = this.state.items.find((item) => isSame(item, added) && item.quantity < MAX_QUANTITY);
    if (!same) return this._add(added);
    this.step(same.id, 1);
    return same.id;
  }

  /** Adds an order item whose name and price are typed; returns its id. */
  addTyped() {
    return this._add(this.blankItem({ isTyped: true }));
  }

  /** Sets one field of an order item, or several. */
  writeItem(id, field, value) {
    this.changeItem(id, { [field]: value });
  }

  changeItem(id, changes) {
    this._editItem(id, (item) => ({ ...item, ...changes }));
  }

  /** Changes one of an order item: of several, it becomes an order item of its own. Returns its id. */
  changeOne(id, changes) {
    const item = this.item(id);
    if (item.quantity === 1) {
      this.changeItem(id, changes);
      return id;
    }
    this.step(id, -1);
    return this.add({ ...item, ...changes, id: null, quantity: 1 });
  }

  /** Changes the quantity of an order item, within its limits. */
  step(id, by) {
    this.setQuantity(id, this.item(id).quantity + by);
  }

  setQuantity(id, quantity) {
    this.writeItem(id, "quantity", Math.min(MAX_QUANTITY, Math.max(1, quantity)));
  }

  item(id) {
    return this.state.items.find((item) => item.id === id);
  }

  remove(id) {
    this._edit((state) => ({ ...state, items: state.items.filter((item) => item.id !== id) }));
  }

  /** Adds a charge, or a discount, of an amount to be typed; returns its id. */
  addCharge(name, isDiscount) {
    const id = nextId(this.state.charges);
    this._edit((state) => ({ ...state, charges: [...state.charges, { id, name, amount: "", isDiscount }] }));
    return id;
  }

  writeCharge(id, field, value) {
    const edit = (charge) => (charge.id === id ? { ...charge, [field]: value } : charge);
    this._edit((state) => ({ ...state, charges: state.charges.map(edit) }));
  }

  removeCharge(id) {
    this._edit((state) => ({ ...state, charges: state.charges.filter((charge) => charge.id !== id) }));
  }

  /** Clears the draft; until the next change it can be brought back. */
  clear() {
    const before = this.state;
    this._edit(({ type }) => blank(type));
    this._cleared = before;
    this._changed();
  }

  bringBack() {
    const before = this._cleared;
    this._edit(() => before);
  }

  /** Starts the next draft, of the same order type. */
  next() {
    this._edit(({ type }) => blank(type));
  }

  /** Continues an earlier draft; `unconfirmed` is the name of the text that says why it may have been placed. */
  open(draft, unconfirmed = null) {
    this._edit(() => ({ ...complete(draft), key: newKey(), unconfirmed }));
  }

  _add(item) {
    const id = nextId(this.state.items);
    this._edit((state) => ({ ...state, items: [...state.items, { ...item, id }] }));
    return id;
  }

  _editItem(id, edit) {
    this._edit((state) => ({ ...state, items: state.items.map((item) => (item.id === id ? edit(item) : item)) }));
  }

  _edit(edit) {
    const state = edit(this.state);
    store(STORAGE_KEY, state);
    this._show(state);
  }

  _show(state) {
    this.state = state;
    this._cleared = null;
    this._changed();
  }
}

function nextId(entries) {
  return Math.max(0, ...entries.map(({ id }) => id)) + 1;
}

/** Tells whether an order item of the draft is the same as a new one, apart from its quantity. */
function isSame(item, added) {
  const compared = ({ id, quantity, ...rest }) => JSON.stringify({ ...ITEM, ...rest });
  return compared(item) === compared(added);
}

function blank(type = "dine_in") {
  return { version: VERSION, key: newKey(), type, ...FIELDS, charges: [], items: [], unconfirmed: null };
}

function storedDraft() {
  const state = load(STORAGE_KEY);
  return state?.version === VERSION ? complete(state) : blank();
}

/** Returns a stored draft; fields of it and of its items that an earlier release lacked are blank. */
function complete(state) {
  return { ...blank(), ...state, items: state.items.map((item) => ({ ...ITEM, ...item })) };
}
