// The sound of a new ticket, made by the browser itself, repeated until somebody has seen it.

import { keep, kept } from "./stored.js";

const EVERY = 4000; // ms
const MUTED = "kitchen-muted";
const TONES = [880, 1174.7, 880]; // Hz
const TONE = 0.16; // s

export class Bell {
  /** `changed()` is called when it becomes able to sound, or is muted or not. */
  constructor(changed) {
    this.isMuted = kept(MUTED, false);
    this._changed = changed;
    this._context = null;
    this._ringing = null;
    for (const gesture of ["click", "keydown", "touchend"]) {
      document.addEventListener(gesture, () => this.unlock());
    }
  }

  /** Whether the browser lets it sound: not before the first touch or key. */
  get isUnlocked() {
    return this._context !== null;
  }

  /** Takes a gesture for leave to sound. Asked any earlier, a browser refuses, and complains. */
  unlock() {
    if (this._context || !(navigator.userActivation?.hasBeenActive ?? true)) return;
    this._context = new AudioContext();
    this._changed();
  }

  /** Rings now, and again and again until `hush`. */
  ring() {
    if (this._ringing !== null) return;
    this._ringing = setInterval(() => this._sound(), EVERY);
    this._sound();
  }

  hush() {
    clearInterval(this._ringing);
    this._ringing = null;
  }

  toggle() {
    this.isMuted = !this.isMuted;
    keep(MUTED, this.isMuted);
    this._changed();
  }

  _sound() {
    if (this.isMuted || !this._context) return;
    this._context.resume(); // it may have been put to sleep in between
    TONES.forEach((pitch, place) => this._tone(pitch, this._context.currentTime + place * TONE));
  }

  _tone(pitch, start) {
    const tone = new OscillatorNode(this._context, { type: "triangle", frequency: pitch });
    const volume = new GainNode(this._context, { gain: 0 });
    volume.gain.setValueAtTime(0.4, start);
    volume.gain.exponentialRampToValueAtTime(0.01, start + TONE);
    tone.connect(volume).connect(this._context.destination);
    tone.start(start);
    tone.stop(start + TONE);
  }
}
