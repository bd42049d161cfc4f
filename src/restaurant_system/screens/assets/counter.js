// The counter page: an order is composed from the menu or typed, and placed once. While it is sent, and also
// during an outage, the next one can be composed.

import { showConnection } from "./banner.js";
import { HANDOFFS, handoffOf, hasTable, missingFields } from "./counter-body.js";
import { decimal } from "./counter-cents.js";
import { Charges } from "./counter-charges.js";
import { freshItem, isComplete } from "./counter-choices.js";
import { Draft } from "./counter-draft.js";
import { hideError, hideErrors, showErrors, summarize } from "./counter-errors.js";
import { OrderItems } from "./counter-items.js";
import { listenForFieldKeys } from "./counter-keys.js";
import { LastItem } from "./counter-last.js";
import { Menu, unavailableText } from "./counter-menu.js";
import { Options } from "./counter-options.js";
import { PlacedOrders } from "./counter-placed.js";
import { SentOrders } from "./counter-sent.js";
import { Tables } from "./counter-tables.js";
import { upgradeStored } from "./counter-upgrade.js";
import { Withdrawal } from "./counter-withdrawal.js";
import { make, write } from "./elements.js";
import { sentenceOf } from "./problems.js";
import { markSoldOut } from "./sold-out.js";
import { money, translate } from "./words.js";

const part = (id) => document.getElementById(id);
const [form, summary, unconfirmedNote, addTyped, clear] = ["order", "summary", "unconfirmed", "add-typed", "clear"].map(part);

upgradeStored();
const draft = new Draft(show);
const sent = new SentOrders({ changed: show, settled: settle });
const placed = new PlacedOrders(sent, { changed: reopen, closed: close });
const orderItems = new OrderItems(part("order-items"), draft, { announce: announceItem, choose });
const charges = new Charges(part("charges"), draft, part("add-charge"));
const options = new Options(part("options"), { added: add, changed: change });
const lastItem = new LastItem(part("last"), { changed: changeLast, choose });
const withdrawal = new Withdrawal(sent, reopen);
const tables = new Tables(part("tables"), pickTable);
const menu = new Menu(part("menu-pane"), { picked: pick, held: markSoldOutItem, changed: showMenu, live: showConnection });
let lastAdded = null; // the id of the item that was added last

function pick(item) {
  if (!item.available) {
    announce(translate("counter.not_available", { name: item.name, why: unavailableText(item).toLowerCase() }));
    return;
  }
  compose();
  const fresh = draft.blankItem(freshItem(item));
  if (isComplete(item, fresh)) add(fresh);
  else options.open(fresh, item);
}

function markSoldOutItem({ order_name: name }) {
  return markSoldOut(name);
}

function pickTable(label) {
  changeDraft("table", label);
}

/** Changes a field. The caller has read the value: closing the order that is shown writes the old one into its input. */
function changeDraft(field, value) {
  compose();
  draft.write(field, value);
}

/** Closes the order that is shown, because the next one is composed. */
function compose() {
  if (sent.shown !== null) sent.show(null);
}

function add(item) {
  hideError(addTyped);
  lastAdded = draft.add(item);
  orderItems.reveal(lastAdded);
  showLast();
  announceItem(lastAdded);
}

/** Opens the options of an item of the order. */
function choose(id) {
  const item = draft.item(id);
  hideError(part(`item-${id}-options`));
  options.open(item, menu.find(item));
}

/** Stores the changes of an item; its quantity and its notes are changed in its row. */
function change({ id, quantity, notes, ...changes }) {
  draft.changeItem(id, changes);
}

/** Stores the choices of the item that was added last, for that one alone. */
function changeLast({ id, variation, name, sku, price, options: chosen }) {
  lastAdded = draft.changeOne(id, { variation, name, sku, price, options: chosen });
  showLast();
}

function announceItem(id) {
  const { name, quantity } = draft.item(id);
  announce(translate("counter.now", { name, quantity, total: total() }));
}

function announce(text) {
  part("announcement").textContent = text;
}

function total() {
  return money(decimal(draft.totalCents));
}

// Rendering -------------------------------------------------------------------------------------

function show() {
  const { items } = draft.state;
  form.hidden = false;
  form.classList.toggle("showing", sent.shown !== null);
  part("no-menu").hidden = menu.sections?.length !== 0;
  part("no-order-items").hidden = items.length > 0;
  orderItems.show((item) => menu.differenceTo(item));
  charges.show();
  menu.count(items);
  showFields();
  write(part("place"), translate("counter.place"));
  write(part("count"), translate("counter.count", { count: draft.itemCount }));
  write(part("total"), total());
  showLast();
  showUnconfirmed();
  placed.show(!draft.isEmpty);
  withdrawal.show();
}

/** Shows a changed menu, and announces which items of the order it changes. */
function showMenu() {
  show();
  const changes = draft.state.items.flatMap((item) => {
    const text = menu.differenceTo(item)?.text;
    return text ? [translate("counter.differs", { name: item.name, text })] : [];
  });
  if (changes.length > 0) announce(changes.join(" "));
}

function showFields() {
  const { type } = draft.state;
  for (const input of form.querySelectorAll("[data-draft]")) {
    const value = draft.state[input.dataset.draft];
    if (input.value !== value && input.id !== "handoff") input.value = value;
  }
  for (const field of form.querySelectorAll("[data-type]")) field.hidden = !field.dataset.type.split(" ").includes(type);
  form.elements.type.value = type;
  showHandoffs(type);
  part("table-field").hidden = !hasTable(draft.state);
  tables.show(menu.tables, draft.state, hasTable(draft.state));
  part("amount-due-field").hidden = hasTable(draft.state);
  const { reference } = draft.state;
  const isOptional = type === "dine_in" || reference.trim() !== "";
  part("customer").setAttribute("aria-required", String(!isOptional));
  write(part("customer").labels[0], translate(isOptional ? "counter.customer_optional" : "counter.customer"));
  part("address").setAttribute("aria-required", String(handoffOf(draft.state) !== "courier"));
  showMore();
  clear.hidden = draft.isEmpty && !draft.canBringBack;
  write(clear, translate(draft.canBringBack ? "counter.bring_back" : "counter.clear"));
}

/** Shows the handoffs of an order type; the first one is the usual. */
function showHandoffs(type) {
  const select = part("handoff");
  if (select.dataset.of !== type) {
    select.dataset.of = type;
    const texts = [[translate(`counter.handoff.${type}`), ""], ...HANDOFFS[type].map((name) => [translate(`handoff.${name}`), name])];
    select.replaceChildren(...texts.map(([textContent, value]) => make("option", { textContent, value })));
  }
  select.value = handoffOf(draft.state);
}

/** Lists the fields that are filled in below "More", because they are not seen while it is closed. */
function showMore() {
  const labels = [...part("more").querySelectorAll(".field:not([hidden]) > [data-draft]")]
    .filter((input) => input.value !== "")
    .map((input) => input.labels[0].textContent);
  const names = draft.state.charges.map((charge) => charge.name);
  write(part("more-filled"), [...labels, ...names].join(", "));
}

/** Offers the choices of the item that was added last, if it has any. */
function showLast() {
  const item = draft.item(lastAdded);
  lastItem.show(item, item && menu.find(item));
}

function showUnconfirmed() {
  const { unconfirmed } = draft.state;
  unconfirmedNote.hidden = unconfirmed === null;
  write(unconfirmedNote, unconfirmed === null ? "" : translate(unconfirmed));
}

// Sending the order -----------------------------------------------------------------------------

function submit() {
  if (sent.shown !== null) return; // the second of two taps
  hideErrors(form);
  summary.hidden = true;
  const missing = sent.misses > 0 ? missingFields(draft.state) : []; // the server cannot tell during an outage
  if (missing.length > 0) {
    showErrors(form, missing.map((field) => ({ field, code: "missing" })));
    return;
  }
  sent.send(draft.state);
  startNext();
  scrollTo(0, 0); // to the tables
}

function startNext() {
  lastAdded = null;
  menu.endSearch();
  draft.next();
}

/** Announces what became of an order; a refused one is opened again, unless the next one was started. */
function settle(order) {
  const isShown = sent.shown?.key === order.key;
  if (order.state === "refused" && isShown && draft.isEmpty) reopen(order);
  else if (!isShown) announce(placed.newsOf(order));
}

/** Opens an order that was sent to change it, as another order; what is composed is kept. */
function reopen(order) {
  if (!draft.isEmpty) sent.keepUnsent(draft.state);
  const unconfirmed = { held: order.isReused ? "counter.reused" : "counter.stopped" }[order.state];
  draft.open(sent.draftOf(order), unconfirmed);
  if (order.state === "placed") sent.show(null);
  else sent.remove(order.key);
  scrollTo(0, 0);
  part("place").focus({ preventScroll: true });
  if (unconfirmed) unconfirmedNote.focus();
  else if (order.state === "refused") showProblem(order.problem);
}

function showProblem(problem) {
  const { errors = [] } = problem;
  const unplaced = showErrors(form, errors);
  if (errors.length > 0 && unplaced.length === 0) return;
  summarize(summary, errors.length ? translate("counter.refused") : sentenceOf(problem), unplaced);
  if (unplaced.length === errors.length) summary.focus();
}

function close() {
  sent.show(null);
  scrollTo(0, 0);
  focusType();
}

/** Moves the focus to the order type, where the table can be typed. It opens no keyboard on a touch screen. */
function focusType() {
  form.querySelector(".types :checked").focus({ preventScroll: true });
}

// Events ---------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => event.preventDefault());
part("place").addEventListener("click", submit);

part("where").addEventListener("click", ({ target }) => {
  if (target.name === "type" && target.value === draft.state.type) compose(); // nothing else changes
});

form.addEventListener("input", ({ target }) => {
  if (target.name === "type") changeDraft("type", target.value);
  else if (target.dataset.draft) {
    hideError(target);
    changeDraft(target.dataset.draft, target.value);
  }
});

listenForFieldKeys(form, {
  placed: submit,
  found() {
    menu.pickFirst();
    if (!part("options").open) part("search").select(); // for the next one
  },
  lists: { "order-items": addTyped, charges: part("add-charge") },
});

addTyped.addEventListener("click", () => {
  hideError(addTyped);
  orderItems.focus(draft.addTyped());
});

part("add-charge").addEventListener("click", () => charges.add(false));
part("add-discount").addEventListener("click", () => charges.add(true));

clear.addEventListener("click", () => {
  hideErrors(form);
  summary.hidden = true;
  if (draft.canBringBack) draft.bringBack();
  else draft.clear();
});

// The banner is above the bar, whatever that shows.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--bar", `${target.offsetHeight}px`)).observe(form.querySelector(".bar"));

if (sent.has(draft.state)) startNext();
await menu.watch();
show();
if (document.activeElement === document.body) focusType(); // nothing was focused during the load
sent.work();
