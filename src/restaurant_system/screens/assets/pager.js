// The pager of the rail: which page of tickets is shown, and what must be known of those on the other pages.

import { make, write } from "./elements.js";
import { translate } from "./words.js";

const NOTES = ["cancelled", "rushed", "new", "late"]; // the most urgent first

export class Pager {
  /** Shows pages in `element`; `turn(step)` and `open(page)` are called for taps. */
  constructor(element, { turn, open }) {
    this._element = element;
    [this._more, this._previous, this._next] = element.querySelectorAll("button");
    this._page = element.querySelector(".page");
    this._count = make("span", { className: "count" });
    this._notes = new Map(NOTES.map((note) => [note, make("span", { className: `note-${note}` })]));
    for (const text of [this._count, ...this._notes.values()]) this._more.append(text, " ");
    this._previous.addEventListener("click", () => turn(-1));
    this._next.addEventListener("click", () => turn(1));
    this._more.addEventListener("click", () => open(this._target));
  }

  /** Shows the number of a page of so many, and counts the `others`, the tickets on the other pages, in their order. */
  show(page, pages, others) {
    this._element.hidden = pages === 1;
    this._element.classList.toggle("later", page > 0);
    [this._previous.disabled, this._next.disabled] = [page === 0, page === pages - 1];
    write(this._page, translate("kitchen.pages.page", { page: page + 1, pages }));
    write(this._count, others.length ? translate("kitchen.pages.more", { count: others.length }) : "");
    const first = NOTES.map((note) => this._showNote(note, others.filter((ticket) => ticket.note === note))).find(Boolean);
    this._more.hidden = others.length === 0;
    this._more.classList.toggle("noted", Boolean(first));
    this._target = first ? first.place.page : (page + 1) % pages;
  }

  /** Counts the tickets with a note; returns the first of them. */
  _showNote(note, tickets) {
    const element = this._notes.get(note);
    element.hidden = tickets.length === 0;
    write(element, tickets.length ? translate(`kitchen.pages.${note}`, { count: tickets.length }) : "");
    return tickets[0];
  }
}
