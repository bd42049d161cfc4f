// Sends an order until there is an answer: always the same order under the same key, so that however
// often it arrives, it is one.

import { post } from "./requests.js";

const PAUSES = [1, 2, 4, 8, 15]; // s before it is sent again; the last one repeats
const ANSWERS = new Set([201, 400, 413, 415, 422]); // the rest is from elsewhere, or for another moment
// An order that has been waiting for longer is nobody's wish any more until somebody says so. (The
// server knows a key for much longer.)
const TOO_LATE = 15 * 60 * 1000; // ms

export class Sending {
  /** `missed(times)` is called each time that no answer came. */
  constructor(missed) {
    this._missed = missed;
    this._isStopped = false;
    this._goOn = () => {};
    addEventListener("online", () => this.hurry());
  }

  /**
   * Returns the answer to what is sent since `sentAt` (ms), `{ status, body }`, or null if it was
   * stopped, or it was too late, before there was one.
   */
  async answerTo({ body, key, sentAt }) {
    this._isStopped = false;
    for (let misses = 0; Date.now() - sentAt < TOO_LATE; misses += 1) {
      const answer = await post("/orders", body, key);
      if (ANSWERS.has(answer.status)) return answer;
      if (!this._isStopped) {
        this._missed(misses + 1);
        await this._pause(PAUSES[Math.min(misses, PAUSES.length - 1)]);
      }
      if (this._isStopped) return null;
    }
    return null;
  }

  /** Sends again without waiting for the end of the pause. */
  hurry() {
    this._goOn();
  }

  /** Gives up waiting for an answer, but for one to what is on its way just now. */
  stop() {
    this._isStopped = true;
    this._goOn();
  }

  _pause(seconds) {
    return new Promise((resolve) => {
      this._goOn = resolve;
      setTimeout(resolve, seconds * 1000);
    });
  }
}
