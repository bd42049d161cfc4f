// Sends an order until there is a response, always with the same idempotency key, so that it is placed
// once.

import { post } from "./requests.js";

const RETRY_DELAYS = [1, 2, 4, 8, 15]; // s; the last one repeats
const FINAL_STATUSES = new Set([201, 400, 413, 415, 422]); // other statuses are from a proxy, or temporary
// An order that is older is not sent again without a person's confirmation. (The server keeps a key for
// much longer.)
const MAX_AGE = 15 * 60 * 1000; // ms

export class Sending {
  /** `missed(attempts)` is called after each attempt without a response. */
  constructor(missed) {
    this._missed = missed;
    this._isStopped = false;
    this._endPause = () => {};
    addEventListener("online", () => this.retryNow());
  }

  /**
   * Sends an order, first sent at `sentAt` (ms), and returns the response, `{ status, body }`; null if
   * it was stopped or got too old before there was one.
   */
  async send({ body, key, sentAt }) {
    this._isStopped = false;
    for (let misses = 0; Date.now() - sentAt < MAX_AGE; misses += 1) {
      const response = await post("/orders", body, key);
      if (FINAL_STATUSES.has(response.status)) return response;
      if (!this._isStopped) {
        this._missed(misses + 1);
        await this._pause(RETRY_DELAYS[Math.min(misses, RETRY_DELAYS.length - 1)]);
      }
      if (this._isStopped) return null;
    }
    return null;
  }

  /** Sends again at once. */
  retryNow() {
    this._endPause();
  }

  /** Stops after the current request. */
  stop() {
    this._isStopped = true;
    this._endPause();
  }

  _pause(seconds) {
    return new Promise((resolve) => {
      this._endPause = resolve;
      setTimeout(resolve, seconds * 1000);
    });
  }
}
