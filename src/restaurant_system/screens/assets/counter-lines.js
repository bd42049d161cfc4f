// The lines of the order: each with its quantity, notes, and a way to remove it.

import { decimal } from "./counter-cents.js";
import { lineCents, MOST } from "./counter-draft.js";
import { forgetFault } from "./counter-faults.js";
import { arrange, make, makeUserText, write } from "./elements.js";
import { money, say } from "./words.js";

export class Lines {
  /** Shows the lines of `draft` in `list`; `tell(id)` is called for one whose quantity is another. */
  constructor(list, draft, tell) {
    this._list = list;
    this._draft = draft;
    this._tell = tell;
    this._rows = new Map();
  }

  /** Shows the lines as they are now, each with what `differenceTo(line)` says of it. */
  show(differenceTo) {
    const { lines } = this._draft.state;
    this._rows = new Map(lines.map((line) => [line.id, this._rows.get(line.id) ?? this._row(line)]));
    arrange(this._list, [...this._rows.values()]);
    lines.forEach((line, place) => {
      const row = this._rows.get(line.id);
      fill(row, line, place);
      this._showDifference(row, line, differenceTo(line));
    });
  }

  /** Puts the focus where a line's name is typed. */
  focus(id) {
    this._rows.get(id).querySelector("input").focus();
  }

  _row(line) {
    const writing = (field) => (event) => this._draft.writeLine(line.id, field, event.target.value);
    return make(
      "li",
      { className: "line" },
      line.isTyped ? typed(line, writing) : picked(line),
      make("strong", { className: "sum number" }),
      difference(),
      this._stepper(line.id),
      notes(line, writing("notes")),
      this._remover(line.id),
    );
  }

  /** Shows what the menu says by now of a line; a focus on what goes from there stays in the line. */
  _showDifference(row, { id, name }, difference) {
    const [place, take] = [row.querySelector(".differs"), row.querySelector(".take")];
    const hadFocus = document.activeElement === take;
    place.hidden = difference === null;
    take.hidden = !difference?.price;
    write(place.querySelector("p"), difference?.text ?? "");
    if (take.hidden) {
      if (hadFocus) row.querySelector(".more").focus();
      return;
    }
    label(row, ".take", say("counter.take_price_of", { name, price: money(difference.price) }));
    take.onclick = () => this._takePrice(id, difference.price);
  }

  _takePrice(id, price) {
    this._draft.writeLine(id, "price", String(price));
    this._tell(id);
  }

  _stepper(id) {
    return make(
      "div",
      { className: "stepper", role: "group" },
      make("button", { type: "button", className: "less", textContent: "−", onclick: () => this._step(id, -1) }),
      make("span", { className: "quantity number" }),
      make("button", { type: "button", className: "more", textContent: "+", onclick: () => this._step(id, 1) }),
    );
  }

  _step(id, by) {
    this._draft.step(id, by);
    this._tell(id);
  }

  _remover(id) {
    return make("button", { type: "button", className: "remove", textContent: "×", onclick: () => this._remove(id) });
  }

  /** Removes a line; the focus goes to the one that takes its place, or to what begins another. */
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
    make("p", { className: "fault" }),
    make("button", { type: "button", className: "take", textContent: say("counter.take_price") }),
  );
}

function picked({ name }) {
  return make(
    "p",
    { className: "what" },
    makeUserText("span", name, "name"),
    " ",
    make("span", { className: "price quiet number" }),
  );
}

function typed(line, writing) {
  const price = input(line, "price", say("counter.price"), writing("price"));
  price.querySelector("input").inputMode = "decimal";
  return make("div", { className: "what typed" }, input(line, "name", say("counter.name"), writing("name")), price);
}

function notes(line, oninput) {
  const field = input(line, "notes", say("counter.line_notes"), oninput);
  field.classList.add("notes");
  field.querySelector("label").className = "unseen";
  field.querySelector("input").placeholder = say("counter.line_notes");
  return field;
}

function input({ id }, field, label, oninput) {
  const own = `line-${id}-${field}`;
  const change = (event) => {
    forgetFault(event.target);
    oninput(event);
  };
  return make(
    "div",
    { className: "field" },
    make("label", { htmlFor: own, textContent: label }),
    make("input", { id: own, dir: "auto", dataset: { part: field }, oninput: change }),
    make("p", { id: `${own}-fault`, className: "fault", hidden: true }),
  );
}

function fill(row, line, place) {
  const name = line.name.trim() || say("counter.unnamed");
  for (const each of row.querySelectorAll("input")) {
    each.dataset.field = `items.${place}.${each.dataset.part}`;
    if (each.value !== line[each.dataset.part]) each.value = line[each.dataset.part];
  }
  if (!line.isTyped) write(row.querySelector(".price"), money(line.price));
  write(row.querySelector(".sum"), money(decimal(lineCents(line))));
  write(row.querySelector(".quantity"), String(line.quantity));
  label(row, ".stepper", say("counter.quantity_of", { name }));
  label(row, ".less", say("counter.less_of", { name }));
  label(row, ".more", say("counter.more_of", { name }));
  label(row, ".remove", say("counter.remove", { name }));
  row.querySelector(".less").setAttribute("aria-disabled", String(line.quantity === 1));
  row.querySelector(".more").setAttribute("aria-disabled", String(line.quantity === MOST));
}

function label(row, part, text) {
  row.querySelector(part).setAttribute("aria-label", text);
}
