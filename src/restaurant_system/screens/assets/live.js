// Receives a live view as server-sent events: a snapshot first, then numbered changes.
// After a lost connection it reconnects and requests the missed changes by number. A view without any
// event for five seconds counts as out of date.

import { setClock } from "./times.js";

const STALE_AFTER = 5000; // ms without an event after which a view counts as out of date
const RECONNECT_AFTER = 8000; // ms without an event after which an open connection is replaced
const RECONNECT_DELAY = 500; // ms before a reconnect; up to twice as long at random

export class LiveView {
  /**
   * Connects to the view at `address`. `changed(entries, keys)` is called with all entries (a Map) and
   * the keys that were added, changed or removed; `live(isLive, lastGood)` whenever the view gets out
   * of date or up to date, with the time of the last event (a Date, or null before the first).
   * `before()`, if given, is awaited before each connection; if it returns false, the next attempt
   * follows after a delay.
   */
  constructor(address, { changed, live, before = async () => true }) {
    this.entries = new Map();
    this.isLive = null; // unknown, so that a first attempt that fails is reported too
    this.lastGood = null;
    this._address = address;
    this._changed = changed;
    this._live = live;
    this._before = before;
    this._attempt = 0;
    this._last = null;
    this._lastEventAt = performance.now();
    this._open();
    setInterval(() => this._checkSilence(), 500);
  }

  async _open() {
    const attempt = ++this._attempt;
    const isReady = await this._before();
    if (attempt !== this._attempt) return; // another attempt was started meanwhile
    if (isReady) this._connect();
    else this._reopen();
  }

  _connect() {
    const address = new URL(this._address, document.baseURI);
    if (this._last !== null) address.searchParams.set("after", this._last);
    this._source = new EventSource(address);
    this._source.addEventListener("snapshot", (event) => this._handle(event, (data) => this._restart(data)));
    this._source.addEventListener("change", (event) => this._handle(event, (data) => this._apply(data)));
    this._source.addEventListener("heartbeat", (event) => this._handle(event, () => {}));
    this._source.addEventListener("error", () => this._reopen());
  }

  _reopen() {
    this._attempt += 1;
    this._source?.close();
    clearTimeout(this._waiting);
    this._waiting = setTimeout(() => this._open(), RECONNECT_DELAY * (1 + Math.random()));
  }

  _handle(event, use) {
    const data = JSON.parse(event.data);
    if (event.type === "change" && !follows(event.lastEventId, this._last)) {
      this._last = null; // a change is missing: request a snapshot
      this._reopen();
      return;
    }
    if (event.type !== "heartbeat") this._last = event.lastEventId;
    this._lastEventAt = performance.now();
    this.lastGood = new Date(data.at);
    setClock(this.lastGood);
    use(data);
    this._setLive(true);
  }

  _restart({ entries }) {
    const before = this.entries;
    this.entries = new Map(Object.entries(entries));
    this._changed(this.entries, new Set([...before.keys(), ...this.entries.keys()]));
  }

  _apply({ set, unset }) {
    for (const [key, entry] of Object.entries(set)) this.entries.set(key, entry);
    for (const key of unset) this.entries.delete(key);
    this._changed(this.entries, new Set([...Object.keys(set), ...unset]));
  }

  _checkSilence() {
    const silence = performance.now() - this._lastEventAt;
    if (silence > STALE_AFTER) this._setLive(false);
    if (silence > RECONNECT_AFTER) {
      this._lastEventAt += RECONNECT_DELAY * 4;
      this._reopen();
    }
  }

  _setLive(isLive) {
    if (isLive === this.isLive) return;
    this.isLive = isLive;
    this._live(isLive, this.lastGood);
  }
}

function follows(id, last) {
  if (last === null) return false;
  const [epoch, number] = id.split(".");
  const [lastEpoch, lastNumber] = last.split(".");
  return epoch === lastEpoch && Number(number) === Number(lastNumber) + 1;
}
