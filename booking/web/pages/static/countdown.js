// A countdown by the server's clock. It is updated every second; screen readers read out only milestones.

import { now } from "./clock.js";
import { byId, el, setText } from "./elements.js";
import { clockface, lasting } from "./words.js";

const MILESTONES = [600, 60, 30, 10]; // seconds

/** `label` stands above the time. `spoken(words)` is the text that is read out at a milestone. */
export class Countdown {
  #time = el("span", { class: "time", role: "timer" });
  #label = el("span", { class: "label" });
  #bar = null;
  #last = Infinity;

  constructor({ label, spoken, lengthMs = null }) {
    this.spoken = spoken;
    this.lengthMs = lengthMs;
    setText(this.#label, label);
    if (lengthMs) this.#bar = el("progress", { max: 1, "aria-hidden": "true" });
    this.element = el("div", { class: "clock" }, this.#label, this.#time, this.#bar);
  }

  /** Shows the time until `end` (milliseconds since 1970); returns it in milliseconds. */
  show(end) {
    const left = end - now();
    setText(this.#time, clockface(left));
    if (this.#bar) this.#bar.value = Math.max(0, Math.min(1, left / this.lengthMs));
    const seconds = Math.ceil(left / 1000);
    const passed = MILESTONES.find((milestone) => this.#last > milestone && seconds <= milestone);
    if (passed && this.#last !== Infinity && seconds > 0) setText(byId("milestone"), this.spoken(lasting(seconds)));
    this.#last = seconds;
    return left;
  }
}
