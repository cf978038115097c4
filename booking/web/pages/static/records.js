// The records of a sale: what it came to, whether the books balance, and all bookings as files.

import { call } from "./api.js";
import { now } from "./clock.js";
import { el, setText } from "./elements.js";
import { Refunds } from "./refunds.js";
import { Report } from "./report.js";
import { saveExport } from "./save_export.js";
import { briefly, inWords, t } from "./words.js";

const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
const button = (text, act) => el("button", { type: "button", class: "plain", onclick: act }, text);

/** The records in `elements`. `audit()` compares both sides; the report is shown by `show(report)`. `zone` is the event's. */
export class Records {
  zone = null;
  #eventId;
  #report = new Report();
  #audit = el("div");
  #saved = el("p", { class: "notice", role: "status" });

  constructor(eventId) {
    this.#eventId = eventId;
    const save = (format) => saveExport(eventId, format, new URLSearchParams(), (...said) => this.#say(...said));
    this.elements = [
      section(t("records.report"), this.#report.element),
      new Refunds(eventId, () => this.zone).element,
      section(t("records.books"), this.#audit, el("div", { class: "buttons" }, button(t("records.again"), () => this.audit()))),
      section(t("records.file"), el("div", { class: "buttons" }, ...["csv", "ndjson"].map((format) => button(t("records.export", { format: format.toUpperCase() }), () => save(format)))), this.#saved),
    ];
  }

  show(report) {
    this.#report.show(report, this.zone);
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
      const verdict = data.ok ? t("records.balance") : t("records.no_balance", { count: data.differences.length });
      const values = { count: data.bookings_compared, database: data.seq_database ?? 0, redis: data.seq_redis ?? 0, when: briefly(now(), this.zone) };
      const found = data.differences.map((one) => {
        const user = one.user_id === null ? "" : ` ${t("records.user", { user: one.user_id })}`;
        return el("li", {}, `${one.meaning}${user} ${t("records.sides", { redis: told(one.redis), database: told(one.database) })}`);
      });
      this.#audit.replaceChildren(el("p", { class: `notice ${data.ok ? "good" : "bad"}` }, verdict), el("p", { class: "quiet" }, t("records.compared", values)), el("ul", {}, ...found));
    } catch (refusal) {
      this.#audit.replaceChildren(el("p", { class: "notice bad" }, inWords(refusal)));
    }
    this.#audit.removeAttribute("aria-busy");
  }
}

const told = (value) => (value === null ? t("records.nothing") : typeof value === "object" ? JSON.stringify(value) : String(value));
