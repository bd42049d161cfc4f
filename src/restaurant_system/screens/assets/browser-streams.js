// The event streams that the pages of this browser have open to this server. A browser holds six
// connections to a host over HTTP/1.1, and an event stream keeps one: with six of them open, no page
// gets a response any more. So each page with a stream has an entry in the local storage. Where that is not
// available, pages send each other their entries. Where they cannot do that either, each has a stream, up to
// the limit of the browser, and a page without a connection does not know that other pages have them.

import { newKey } from "./requests.js";
import { isStorageAvailable, loadAll, removeStored, store } from "./stored.js";

const PREFIX = "live/";
const MOST = 4; // streams over HTTP/1.1; the other connections are for requests
const WRITE_INTERVAL = 800; // ms
const CLOSED_AFTER = 4000; // ms without an update after which the page of an entry counts as closed
const FORGOTTEN_AFTER = 60000; // ms after which another page deletes the entry
const CURRENT_FOR = 2500; // ms after an event; the server sends one every 2 s

const pageId = newKey();
const [navigation] = performance.getEntriesByType("navigation");
const limit = ["h2", "h3"].includes(navigation?.nextHopProtocol) ? Infinity : MOST; // these share one connection

const channel = isStorageAvailable() || typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("streams");
const sent = new Map(); // the entries of all pages by id, if they are sent
channel?.addEventListener("message", ({ data }) => receive(data));
channel?.postMessage({ type: "ask" });

/** Tells whether another page of this browser gets events, so that the server can be reached. */
export function isServedElsewhere() {
  return openStreams().some((entry) => entry.page !== pageId && isCurrent(entry));
}

/** Tells whether the stream of an entry has brought an event a moment ago. */
export function isCurrent({ eventAt }) {
  return Math.abs(Date.now() - eventAt) < CURRENT_FOR;
}

/** The entry of a page's stream at `address`. */
export class StreamEntry {
  constructor(address) {
    this._id = newKey();
    this._address = address;
    this._since = null; // null while the stream is closed
  }

  /** The entry of a page that has had a stream at the same address for longer than this one, if any. */
  get shared() {
    return this._earlier.find(({ address }) => address === this._address);
  }

  /** Tells whether this page may have a stream: those that have had one for longest may. */
  get hasRoom() {
    return this._earlier.length < limit;
  }

  /** Writes that the stream is open, and when it has brought the last event (in ms). */
  write(eventAt) {
    if (this._since !== null && Math.abs(Date.now() - this._writtenAt) < WRITE_INTERVAL) return;
    this._since ??= Date.now();
    this._writtenAt = Date.now();
    const { _id: id, _address: address, _since: since } = this;
    write({ id, page: pageId, address, since, seenAt: Date.now(), eventAt });
  }

  remove() {
    if (this._since !== null) remove(this._id);
    this._since = null;
  }

  /** The other entries; only those that are older while this page has a stream. */
  get _earlier() {
    const isEarlier = ({ id, since }) => this._since === null || since < this._since || (since === this._since && id < this._id);
    return openStreams().filter((entry) => entry.id !== this._id && isEarlier(entry));
  }
}

/** Returns all entries; deletes those of pages that ended without doing so. */
function openStreams() {
  const entries = channel ? [...sent.values()] : loadAll(PREFIX);
  const age = ({ seenAt }) => Math.abs(Date.now() - seenAt); // the clock may have been set back
  for (const entry of entries) if (age(entry) > FORGOTTEN_AFTER) remove(entry.id);
  return entries.filter((entry) => age(entry) < CLOSED_AFTER);
}

function write(entry) {
  if (!channel) store(PREFIX + entry.id, entry);
  else sent.set(entry.id, entry);
  channel?.postMessage({ type: "entry", entry });
}

function remove(id) {
  if (!channel) removeStored(PREFIX + id);
  else sent.delete(id);
  channel?.postMessage({ type: "removed", id });
}

function receive({ type, entry, id }) {
  if (type === "entry") sent.set(entry.id, entry);
  if (type === "removed") sent.delete(id);
  if (type === "ask") for (const own of sent.values()) if (own.page === pageId) write(own);
}
