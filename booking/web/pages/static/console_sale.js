// One sale in the console: live counters, a chart by minute, waiting list, report and audit.

import { call, Refusal, request, ROOT } from "./api.js";
import { drawPulse, MinutesChart } from "./charts.js";
import { now } from "./clock.js";
import { el, setText } from "./elements.js";
import { Live } from "./live.js";
import { Report } from "./report.js";
import { openForm } from "./sale_form.js";
import { showChip } from "./sale_state.js";
import { owns } from "./session.js";
import { StockBar } from "./stock.js";
import { WaitingList } from "./waiting_list.js";
import { briefly, count, inWords, number, when } from "./words.js";

const COUNTERS = [
  ["available_tickets", "Free"],
  ["tickets_held", "Held"],
  ["tickets_sold", "Sold"],
  ["waiting_list_count", "Waiting"],
];
const MINUTES_SHOWN = 15;
const PULSE_SECONDS = 60;
const REFRESH_MS_MIN = 5_000;
const PAUSE_FACTOR = 20; // a report reads the whole sale, so the pause is at least 20 times as long as the report took

const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
// The second click of a double click is ignored: it would undo the first one.
const button = (text, act) => el("button", { type: "button", class: "plain", onclick: (click) => click.detail > 1 || act() }, text);

/** Shows one sale in `place` until `close()`. Calls `onChange(event)` after each change. */
export class ConsoleSale {
  #event = null;
  #closed = false;
  #pulse = [];
  #reportedSeq = -1;
  #perMinute = [];
  #drawnMinute = 0;
  #values = COUNTERS.map(() => el("dd", { class: "figure" }));
  #bar = new StockBar();
  #name = el("h2", { tabindex: -1, dir: "auto" });
  #chip = el("span");
  #rules = el("p", { class: "quiet" });
  #message = el("p", { class: "notice", role: "status" });
  #pause = button("Pause", () => this.#togglePause());
  #change = button("Change", () => openForm(this.#event, this.#take));
  #notYours = el("p", { class: "quiet" });
  #pulseWords = el("p", { class: "quiet" });
  #pulsePicture = el("div");
  #minutes = new MinutesChart("Bookings, waiting list and cancellations a minute, over the last 15 minutes");
  #waiting = new WaitingList();
  #report = new Report();
  #audit = el("div");

  constructor(place, eventId, onChange) {
    this.id = eventId;
    this.onChange = onChange;
    const forOwner = [
      section("The last 15 minutes", el("div", { class: "now" }, this.#pulseWords, this.#pulsePicture), this.#minutes.element),
      section("Waiting list", this.#waiting.element),
      section("Report", this.#report.element, el("div", { class: "buttons" }, button("Export as CSV", () => this.#export("csv")), button("Export as NDJSON", () => this.#export("ndjson")))),
      section("Audit", this.#audit, el("div", { class: "buttons" }, button("Audit again", () => this.#runAudit()))),
    ];
    this.#forOwner = [this.#pause, this.#change, ...forOwner];
    this.#parts = [
      el("div", { class: "headline" }, this.#name, this.#chip),
      this.#rules,
      el("div", { class: "buttons" }, this.#pause, this.#change, el("a", { class: "button plain", href: `${ROOT}/sale/${eventId}` }, "Buyer’s page")),
      this.#notYours,
      this.#message,
      el("dl", { class: "counters" }, ...COUNTERS.map(([, name], at) => el("div", {}, el("dt", {}, name), this.#values[at]))),
      this.#bar.element,
      ...forOwner,
    ];
    this.#showParts(false);
    place.replaceChildren(...this.#parts);
    this.#live = new Live(eventId, {
      onEvent: this.#take,
      onBooking() {},
      onLink: (connected) => this.#say(connected ? "" : "The connection is lost. Trying to get it back…"),
      onGone: () => this.#say("This sale does not exist."),
    });
    this.#second = setInterval(() => this.#updateRate(), 1000);
  }

  #parts;
  #forOwner;
  #live;
  #second;

  close() {
    this.#closed = true;
    this.#live.close();
    clearInterval(this.#second);
  }

  #say(text, good = false) {
    this.#message.classList.toggle("good", good);
    setText(this.#message, text);
  }

  /** Shows all parts, or only the message, while the sale is not loaded yet. */
  #showParts(all) {
    for (const part of this.#parts) part.hidden = !all && part !== this.#message;
  }

  #take = (event) => {
    const isFirst = this.#event === null;
    this.#event = event;
    if (isFirst) {
      this.#showParts(true);
      if (owns(event)) {
        this.#refresh();
        this.#runAudit();
      } else {
        for (const part of this.#forOwner) part.hidden = true;
        const owner = event.organizer_id === null ? "the administrators" : "another organizer";
        setText(this.#notYours, `This sale belongs to ${owner}. You can neither change it nor see its bookings.`);
      }
    }
    setText(this.#name, event.name);
    showChip(this.#chip, event);
    setText(this.#rules, rulesOf(event));
    setText(this.#pause, event.paused ? "Resume" : "Pause");
    COUNTERS.forEach(([key], at) => setText(this.#values[at], number(event[key])));
    this.#bar.show(event);
    this.onChange(event);
  };

  /** Updates the rate once a second. Changes of a sale are numbered, so the difference of numbers is the rate. */
  #updateRate() {
    if (this.#event === null) return;
    showChip(this.#chip, this.#event);
    if (this.#drawnMinute && this.#drawnMinute !== Math.floor(now() / 60_000)) this.#drawMinutes();
    this.#pulse = [...this.#pulse, this.#event.seq].slice(-PULSE_SECONDS - 1);
    const rates = this.#pulse.slice(1).map((seq, at) => seq - this.#pulse[at]);
    const recent = rates.slice(-10);
    const rate = recent.length ? recent.reduce((sum, value) => sum + value, 0) / recent.length : 0;
    setText(this.#pulseWords, `Now: ${number(Math.round(rate * 10) / 10)} changes a second`);
    drawPulse(this.#pulsePicture, Array(PULSE_SECONDS - rates.length).fill(0).concat(rates), "Changes a second over the last minute");
  }

  /** Loads the report after changes. The longer a report takes, the longer the pause after it. */
  async #refresh() {
    while (!this.#closed) {
      const began = performance.now();
      const { seq } = this.#event;
      if (!document.hidden && seq !== this.#reportedSeq) {
        try {
          const { data } = await call("GET", `/events/${this.id}/report`);
          this.#perMinute = data.per_minute;
          this.#drawMinutes();
          this.#report.show(data);
          await this.#waiting.load(this.id);
          this.#reportedSeq = seq;
        } catch {
          this.#report.showError();
        }
      }
      const pause = Math.max(REFRESH_MS_MIN, PAUSE_FACTOR * (performance.now() - began));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  #drawMinutes() {
    this.#minutes.show(this.#perMinute, now() - (MINUTES_SHOWN - 1) * 60_000, now());
    this.#drawnMinute = Math.floor(now() / 60_000);
  }

  async #togglePause() {
    try {
      const paused = !this.#event.paused;
      this.#take((await call("PATCH", `/events/${this.id}`, { body: { paused } })).data);
      this.#say(paused ? "Paused: nobody can book until you resume. Confirming and cancelling go on." : "The sale goes on.", true);
    } catch (refusal) {
      this.#say(inWords(refusal));
    }
  }

  /** A link cannot send the token, so the file is loaded by fetch and then saved through a link to the data. */
  async #export(format) {
    this.#say("Preparing the file…");
    try {
      const response = await request("GET", `/events/${this.id}/bookings?format=${format}`);
      const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? `event-${this.id}.${format}`;
      const url = URL.createObjectURL(await response.blob().catch(() => Promise.reject(new Refusal("no_answer"))));
      el("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      this.#say(`${name} is in your downloads.`, true);
    } catch (refusal) {
      this.#say(inWords(refusal));
    }
  }

  async #runAudit() {
    this.#audit.setAttribute("aria-busy", "true");
    try {
      const { data } = await call("GET", `/events/${this.id}/audit`);
      const verdict = data.ok ? "Redis and the database agree." : `${count(data.differences.length, "difference")} between Redis and the database.`;
      const compared = `${count(data.bookings_compared, "booking")} compared, up to change ${number(data.seq_database ?? 0)} of ${number(data.seq_redis ?? 0)}, on ${briefly(now())}.`;
      const found = data.differences.map((one) => el("li", {}, `${one.meaning} User ${one.user_id}: ${one.redis} in Redis, ${one.database} in the database.`));
      this.#audit.replaceChildren(el("p", { class: `notice ${data.ok ? "good" : "bad"}` }, verdict), el("p", { class: "quiet" }, compared), el("ul", {}, ...found));
    } catch (refusal) {
      this.#audit.replaceChildren(el("p", { class: "notice bad" }, inWords(refusal)));
    }
    this.#audit.removeAttribute("aria-busy");
  }
}

function rulesOf(event) {
  return [
    count(event.capacity, "ticket"),
    `at most ${number(event.max_per_user)} a person`,
    event.hold_seconds ? `${number(event.hold_seconds)} s to confirm` : "booked at once",
    event.waitlist_limit === null ? "waiting list without end" : event.waitlist_limit ? `waiting list up to ${number(event.waitlist_limit)}` : "no waiting list",
    event.opens_at ? `opens ${when(event.opens_at)}` : null,
    event.closes_at ? `closes ${when(event.closes_at)}` : null,
  ].filter(Boolean).join(" · ");
}
