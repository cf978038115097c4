// The records of a sale: what it came to, whether the books balance, and all bookings as files.

import { call } from "./api.js";
import { now } from "./clock.js";
import { el, setText } from "./elements.js";
import { Refunds } from "./refunds.js";
import { Report } from "./report.js";
import { saveExport } from "./save_export.js";
import { briefly, count, inWords, number } from "./words.js";

const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
const button = (text, act) => el("button", { type: "button", class: "plain", onclick: act }, text);

/** The records in `elements`. `audit()` compares both sides; the report is shown by `show(report)`. */
export class Records {
  #eventId;
  #report = new Report();
  #audit = el("div");
  #saved = el("p", { class: "notice", role: "status" });

  constructor(eventId) {
    this.#eventId = eventId;
    const save = (format) => saveExport(eventId, format, new URLSearchParams(), (...said) => this.#say(...said));
    this.elements = [
      section("Report", this.#report.element),
      new Refunds(eventId).element,
      section("Books", this.#audit, el("div", { class: "buttons" }, button("Audit again", () => this.audit()))),
      section("All bookings as a file", el("div", { class: "buttons" }, button("Export as CSV", () => save("csv")), button("Export as NDJSON", () => save("ndjson"))), this.#saved),
    ];
  }

  show(report) {
    this.#report.show(report);
  }

  showError() {
    this.#report.showError();
  }

  #say(text, good = false) {
    this.#saved.classList.toggle("good", good);
    setText(this.#saved, text);
  }

  /** Compares Redis with the database, booking by booking. */
  async audit() {
    this.#audit.setAttribute("aria-busy", "true");
    try {
      const { data } = await call("GET", `/events/${this.#eventId}/audit`);
      const verdict = data.ok ? "The books balance: Redis and the database agree." : `The books do not balance: ${count(data.differences.length, "difference")} between Redis and the database.`;
      const compared = `${count(data.bookings_compared, "booking")} compared, up to change ${number(data.seq_database ?? 0)} of ${number(data.seq_redis ?? 0)}, on ${briefly(now())}.`;
      const found = data.differences.map((one) => el("li", {}, `${one.meaning}${one.user_id === null ? "" : ` User ${one.user_id}:`} ${told(one.redis)} in Redis, ${told(one.database)} in the database.`));
      this.#audit.replaceChildren(el("p", { class: `notice ${data.ok ? "good" : "bad"}` }, verdict), el("p", { class: "quiet" }, compared), el("ul", {}, ...found));
    } catch (refusal) {
      this.#audit.replaceChildren(el("p", { class: "notice bad" }, inWords(refusal)));
    }
    this.#audit.removeAttribute("aria-busy");
  }
}

const told = (value) => (value === null ? "nothing" : typeof value === "object" ? JSON.stringify(value) : String(value));
