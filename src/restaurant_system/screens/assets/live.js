// Watches a live view over server-sent events (web/live.py): a snapshot first, then numbered changes.
// Whatever breaks the line, it is opened again, and what was missed is asked for by number. A view
// that has given no sign of life for five seconds is not known to be true any more, and says so.

import { setClock } from "./times.js";

const QUIET = 5000; // ms without a sign of life after which a view may be stale
const GIVEN_UP = 8000; // ms after which a line that is open, and silent, is opened anew
const PAUSE = 500; // ms before a line that has broken is opened again; twice as long at the most

export class LiveView {
  /**
   * Watches the view at `address` from now on. `changed(entries, keys)` is called with the whole view
   * (a Map) and the keys that are new, different or gone; `live(isLive, lastGood)` whenever the line
   * is lost or back, with the time of the last sign of life (a Date, or null before the first).
   * `before()`, if given, is awaited before each connection; where it returns false there is none,
   * and the next attempt comes after a pause.
   */
  constructor(address, { changed, live, before = async () => true }) {
    this.entries = new Map();
    this.isLive = null; // not known yet: a line that never comes up is told as well
    this.lastGood = null;
    this._address = address;
    this._changed = changed;
    this._live = live;
    this._before = before;
    this._attempt = 0;
    this._last = null;
    this._heard = performance.now();
    this._open();
    setInterval(() => this._listenForSilence(), 500);
  }

  async _open() {
    const attempt = ++this._attempt;
    const isReady = await this._before();
    if (attempt !== this._attempt) return; // another one was begun meanwhile
    if (isReady) this._connect();
    else this._reopen();
  }

  _connect() {
    const address = new URL(this._address, document.baseURI);
    if (this._last !== null) address.searchParams.set("after", this._last);
    this._source = new EventSource(address);
    this._source.addEventListener("snapshot", (event) => this._take(event, (data) => this._restart(data)));
    this._source.addEventListener("change", (event) => this._take(event, (data) => this._apply(data)));
    this._source.addEventListener("beat", (event) => this._take(event, () => {}));
    this._source.addEventListener("error", () => this._reopen());
  }

  _reopen() {
    this._attempt += 1;
    this._source?.close();
    clearTimeout(this._waiting);
    this._waiting = setTimeout(() => this._open(), PAUSE * (1 + Math.random()));
  }

  _take(event, use) {
    const data = JSON.parse(event.data);
    if (event.type === "change" && !follows(event.lastEventId, this._last)) {
      this._last = null; // something is missing in between: begin anew
      this._reopen();
      return;
    }
    if (event.type !== "beat") this._last = event.lastEventId;
    this._heard = performance.now();
    this.lastGood = new Date(data.at);
    setClock(this.lastGood);
    use(data);
    this._say(true);
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

  _listenForSilence() {
    const silence = performance.now() - this._heard;
    if (silence > QUIET) this._say(false);
    if (silence > GIVEN_UP) {
      this._heard += PAUSE * 4;
      this._reopen();
    }
  }

  _say(isLive) {
    if (isLive === this.isLive) return;
    this.isLive = isLive;
    this._live(isLive, this.lastGood);
  }
}

function follows(id, last) {
  if (last === null) return false;
  const [life, number] = id.split(".");
  const [lastLife, lastNumber] = last.split(".");
  return life === lastLife && Number(number) === Number(lastNumber) + 1;
}
