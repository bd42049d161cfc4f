// Receives a live view as server-sent events: a snapshot first, then numbered changes.
// After a lost connection it reconnects and requests the missed changes by number. A view without any
// event for five seconds counts as out of date.
//
// The pages of one browser share its few connections (browser-streams.js). Of pages that show the same
// address one has the stream and passes its events on. A hidden page, and one for which there is no
// connection left, has no stream: it connects at intervals until it is up to date.

import { isCurrent, StreamEntry } from "./browser-streams.js";
import { setClock } from "./times.js";

const CHECK_INTERVAL = 500; // ms
const STALE_AFTER = 5000; // ms without an event after which a view counts as out of date
const SHOWN_STALE_AFTER = 500; // ms after which an outdated view counts as such when its page is shown again
const RECONNECT_AFTER = 8000; // ms without an event after which an open connection is replaced
const CONNECT_TIMEOUT = 4000; // ms for which a new connection is not replaced
const RECONNECT_DELAY = 500; // ms before a reconnect; up to twice as long at random
const VISIT_INTERVAL = 1500; // ms between two connections of a page without a stream
const HIDDEN_VISIT_INTERVAL = 10000; // ms, of a hidden page
// ms without an event after which a page does not rely on the stream of another one any more
const SHARED_FOR = 4000;
const TAKE_OVER_DELAY = 200; // ms at most, at random, until another page takes over a stream

export class LiveView {
  /**
   * Connects to the view at `address`. `changed(entries, keys)` is called with all entries (a Map) and
   * the keys that were added, changed or removed; `live(isLive, lastGood)` whenever the view gets out
   * of date or up to date, with the time of the last event (a Date, or null before the first).
   * `check()`, if given, is called with the first connection and each one after a failed one, at the same
   * time; if it returns false, the connection is closed, and the next attempt follows after a delay.
   */
  constructor(address, { changed, live, check = async () => true }) {
    this.entries = new Map();
    this.isLive = null; // unknown, so that a first attempt that fails is reported too
    this.lastGood = null;
    this._address = address;
    this._changed = changed;
    this._live = live;
    this._checkAddress = check;
    this._checking = null; // the result of the call that has not returned yet
    this._attempt = 0;
    this._last = null;
    this._isEnded = false;
    this._hasSucceeded = false; // the last connection, so that the next one is not checked
    this._lastEventAt = this._shownAt = performance.now();
    this._entry = new StreamEntry(address);
    this._mode = null; // "stream", "shared", or "visits"
    this._isSharingBroken = false;
    this._channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(`live ${address}`);
    this._channel?.addEventListener("message", ({ data }) => this._receive(data));
    this._listeners = new AbortController();
    for (const [target, event, use] of [
      [document, "visibilitychange", () => this._onVisibility()],
      [window, "pageshow", ({ persisted }) => persisted && this._onVisibility()],
      [window, "pagehide", () => this._leave()],
    ]) {
      target.addEventListener(event, use, { signal: this._listeners.signal });
    }
    this._timer = setInterval(() => this._check(), CHECK_INTERVAL);
    this._check();
  }

  /** Ends the connection for good: what is shown will not change any more. */
  end() {
    this._isEnded = true;
    clearInterval(this._timer);
    this._listeners.abort();
    this._leave();
    this._channel?.close();
  }

  // How this page gets its events ------------------------------------------------------------------

  _check() {
    if (this._isEnded) return;
    this._checkSharing();
    const mode = this._findMode();
    if (mode !== this._mode) this._change(mode);
    if (mode === "stream") this._entry.write(this._eventTime);
    if (mode === "shared" && this._silence > SHARED_FOR / 2) this._ask();
    this._checkSilence();
  }

  _findMode() {
    if (this._channel && !this._isSharingBroken && this._entry.shared) return "shared";
    return document.hidden || !this._entry.hasRoom ? "visits" : "stream";
  }

  /** Stops sharing if another page has events that do not arrive here. */
  _checkSharing() {
    if (this._mode !== "shared" || this._silence < SHARED_FOR) return;
    const other = this._entry.shared;
    this._isSharingBroken = other !== undefined && isCurrent(other);
  }

  _change(mode) {
    if (this._mode === "stream") this._leave();
    this._mode = mode;
    this._close();
    if (mode === "shared") this._ask();
    else if (mode === "visits" && document.hidden && this.isLive) this._openAfter(HIDDEN_VISIT_INTERVAL);
    else this._open();
  }

  /** Closes the stream, and lets another page have it. */
  _leave() {
    this._close();
    if (this._mode === "stream") this._post({ type: "left" });
    this._entry.remove();
    this._mode = null;
  }

  _onVisibility() {
    this._shownAt = performance.now();
    if (this._mode === "visits") this._mode = null; // connects at once
    this._check();
  }

  // The connection ---------------------------------------------------------------------------------

  /** Connects, and checks the address meanwhile unless the last connection has succeeded. */
  async _open() {
    const attempt = ++this._attempt;
    if (this._mode === "stream") this._entry.write(this._eventTime);
    this._connect();
    if (this._hasSucceeded) return;
    this._checking ??= this._checkAddress().finally(() => (this._checking = null));
    const isRight = await this._checking;
    const isCurrentAttempt = attempt === this._attempt && !this._hasSucceeded;
    if (isCurrentAttempt && !isRight) this._reopen();
  }

  _connect() {
    const address = new URL(this._address, document.baseURI);
    if (this._last !== null) address.searchParams.set("after", this._last);
    this._connectedAt = performance.now();
    this._source = new EventSource(address);
    for (const type of ["snapshot", "change", "heartbeat"]) {
      this._source.addEventListener(type, ({ lastEventId, data }) => this._handle({ type, id: lastEventId, data: JSON.parse(data) }));
    }
    this._source.addEventListener("error", () => this._reopen());
  }

  /** Connects again after a failure. */
  _reopen() {
    this._hasSucceeded = false;
    this._openAfter(RECONNECT_DELAY * (1 + Math.random()));
  }

  _openAfter(delay) {
    this._close();
    this._waiting = setTimeout(() => this._open(), delay);
  }

  _close() {
    this._attempt += 1;
    this._source?.close();
    this._source = null;
    clearTimeout(this._waiting);
  }

  /** Handles an event of the own connection, and passes it on. */
  _handle(event) {
    if (this._isEnded) return;
    if (this._mode === "stream") this._post(event);
    if (!this._use(event)) {
      this._last = null; // a change is missing: request a snapshot
      this._reopen();
      return;
    }
    if (event.type !== "heartbeat") return; // a connection begins with what is missing and a heartbeat
    this._hasSucceeded = true;
    if (this._mode === "visits") this._openAfter(document.hidden ? HIDDEN_VISIT_INTERVAL : VISIT_INTERVAL);
  }

  // The other pages --------------------------------------------------------------------------------

  _post(message) {
    this._channel?.postMessage(message);
  }

  _ask() {
    this._post({ type: "ask" });
  }

  _receive(message) {
    if (message.type === "ask") this._answer();
    else if (message.type === "left") setTimeout(() => this._check(), TAKE_OVER_DELAY * Math.random());
    else if (this._mode === "shared") this._useShared(message);
  }

  _useShared(message) {
    const isKnown = message.type === "snapshot" && message.id === this._last; // it was sent for another page
    if (!this._use(isKnown ? { ...message, type: "heartbeat" } : message)) this._ask();
  }

  /** Sends all entries to a page that has none, unless they are out of date. */
  _answer() {
    if (this._mode !== "stream" || this._last === null || this._silence > STALE_AFTER) return;
    const data = { at: this.lastGood.toISOString(), entries: Object.fromEntries(this.entries) };
    this._post({ type: "snapshot", id: this._last, data, silence: this._silence });
  }

  // The events -------------------------------------------------------------------------------------

  /** Uses an event that came `silence` ms ago; returns false if a change before it is missing. */
  _use({ type, id, data, silence = 0 }) {
    if (type === "change" && !follows(id, this._last)) return false;
    if (type === "heartbeat" && this._last === null) return false;
    if (type !== "heartbeat") this._last = id;
    this._lastEventAt = performance.now() - silence;
    this.lastGood = new Date(data.at);
    setClock(new Date(this.lastGood.getTime() + silence));
    if (type === "snapshot") this._restart(data);
    if (type === "change") this._apply(data);
    this._setLive(true);
    return true;
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

  // Whether the view is up to date -----------------------------------------------------------------

  get _silence() {
    return performance.now() - this._lastEventAt;
  }

  get _eventTime() {
    return this.lastGood && Date.now() - this._silence;
  }

  _checkSilence() {
    const isShown = !document.hidden && performance.now() - this._shownAt > SHOWN_STALE_AFTER;
    if (isShown && this._silence > STALE_AFTER) this._setLive(false);
    const isConnecting = this._source === null || performance.now() - this._connectedAt < CONNECT_TIMEOUT;
    if (this._silence > RECONNECT_AFTER && !isConnecting) this._reopen();
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
