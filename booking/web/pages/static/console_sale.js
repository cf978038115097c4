// One sale in the console: its sale with live counters, its people, and its records.

import { call, ROOT } from "./api.js";
import { drawPulse, MinutesChart } from "./charts.js";
import { atLeast, now } from "./clock.js";
import { el, setText } from "./elements.js";
import { Live } from "./live.js";
import { People } from "./people.js";
import { ask } from "./question.js";
import { Records } from "./records.js";
import { openChange } from "./sale_form.js";
import { showChip, stateOf } from "./sale_state.js";
import { owns } from "./session.js";
import { StockBar } from "./stock.js";
import { count, inWords, number, when } from "./words.js";

const COUNTERS = [
  ["available_tickets", "Free"],
  ["tickets_held", "Held"],
  ["tickets_sold", "Sold"],
  ["waiting_list_count", "Waiting"],
];
const PARTS = [["sale", "Sale"], ["people", "People"], ["records", "Records"]];
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
  part = "sale";
  #pulse = [];
  #reportedSeq = -1;
  #head = { seq: -1, quantity: 0 }; // of the waiting list
  #report = null;
  #drawnMinute = 0;
  #values = COUNTERS.map(() => el("dd", { class: "figure" }));
  #bar = new StockBar();
  #name = el("h2", { tabindex: -1, dir: "auto" });
  #chip = el("span");
  #sentence = el("p", { class: "sentence", role: "status" });
  #rules = el("p", { class: "quiet" });
  #message = el("p", { class: "notice", role: "status" });
  #pause = button("Pause", () => this.#togglePause());
  #closeNow = button("Close now", () => this.#endSale());
  #endList = button("End the waiting list", () => this.#endWaitingList());
  #change = button("Change", () => openChange(this.id, this.#take).catch((refusal) => this.#say(inWords(refusal))));
  #notYours = el("p", { class: "quiet" });
  #pulseWords = el("p", { class: "quiet" });
  #pulsePicture = el("div");
  #minutes = new MinutesChart("Bookings, waiting list and cancellations a minute, over the last 15 minutes");
  #people;
  #records;

  constructor(place, eventId, onChange) {
    this.id = eventId;
    this.onChange = onChange;
    this.#people = new People(eventId);
    this.#records = new Records(eventId);
    const address = new URL(`${ROOT}/sale/${eventId}`, location.href).href;
    const link = el("input", { id: "sale-link", readonly: true, value: address, onfocus: ({ target }) => target.select() });
    const share = el("div", { class: "field share" }, el("label", { for: "sale-link" }, "Link to share"), link, button("Copy", () => this.#copy(address)));
    const chart = section("The last 15 minutes", el("div", { class: "now" }, this.#pulseWords, this.#pulsePicture), this.#minutes.element);
    this.#links = PARTS.map(([part, label]) => el("a", { href: `#sale-${eventId}${part === "sale" ? "" : `/${part}`}` }, label));
    this.#tabs = el("nav", { class: "parts", "aria-label": "Parts of the sale" }, ...this.#links);
    this.#ofPart = {
      sale: [
        this.#sentence,
        this.#rules,
        el("div", { class: "buttons" }, this.#pause, this.#closeNow, this.#endList, this.#change, el("a", { class: "button plain", href: `${ROOT}/sale/${eventId}` }, "Buyer’s page")),
        this.#notYours,
        el("dl", { class: "counters" }, ...COUNTERS.map(([, name], at) => el("div", {}, el("dt", {}, name), this.#values[at]))),
        this.#bar.element,
        share,
        chart,
      ],
      people: [this.#people.element],
      records: this.#records.elements,
    };
    this.#forOwner = [this.#tabs, chart];
    this.#ownerButtons = [this.#pause, this.#closeNow, this.#endList, this.#change];
    const parts = Object.values(this.#ofPart).flat();
    this.parts = [el("div", { class: "headline" }, this.#name, this.#chip), this.#tabs, ...parts];
    place.replaceChildren(...this.parts.slice(0, 2), this.#message, ...parts);
    this.#showParts();
    this.#live = new Live(eventId, {
      onEvent: this.#take,
      onBooking() {},
      onLink: (connected) => this.#say(connected ? "" : "The connection is lost. Trying to get it back…"),
      onGone: () => this.#say("This sale does not exist."),
    });
    this.#second = setInterval(() => this.#updateRate(), 1000);
  }

  #parts;
  #ofPart;
  #links;
  #tabs;
  #forOwner;
  #ownerButtons;
  #live;
  #second;

  close() {
    this.#closed = true;
    this.#live.close();
    clearInterval(this.#second);
  }

  /** Shows a part: `sale`, `people` or `records`. */
  open(part) {
    this.part = part;
    this.#say("");
    this.#showParts();
    if (this.#event === null || !owns(this.#event)) return;
    if (this.#report !== null) this.#drawReport();
    if (part === "people") this.#people.follow(this.#event);
    if (part === "records") this.#records.audit();
  }

  #say(text, good = false) {
    this.#message.classList.toggle("good", good);
    setText(this.#message, text);
  }

  /** Shows the open part, or only the message while the sale is not loaded yet. */
  #showParts() {
    const isOwn = this.#event !== null && owns(this.#event);
    const open = isOwn ? this.part : "sale";
    for (const part of this.parts) part.hidden = this.#event === null;
    for (const [part, elements] of Object.entries(this.#ofPart)) for (const one of elements) one.hidden ||= part !== open;
    for (const one of this.#forOwner) one.hidden ||= !isOwn;
    for (const one of this.#ownerButtons) one.hidden = !isOwn;
    if (isOwn) this.#showState();
    PARTS.forEach(([part], at) => (part === open ? this.#links[at].setAttribute("aria-current", "page") : this.#links[at].removeAttribute("aria-current")));
  }

  #take = (event) => {
    const isFirst = this.#event === null;
    this.#event = event;
    if (isFirst) {
      if (owns(event)) {
        this.#refresh();
      } else {
        const owner = event.organizer_id === null ? "the administrators" : "another organizer";
        setText(this.#notYours, `This sale belongs to ${owner}. You can neither change it nor see its bookings.`);
      }
      this.open(this.part);
    }
    setText(this.#name, event.name);
    setText(this.#rules, rulesOf(event));
    setText(this.#pause, event.paused ? "Resume" : "Pause");
    COUNTERS.forEach(([key], at) => setText(this.#values[at], number(event[key])));
    this.#bar.show(event);
    if (this.part === "people" && owns(event)) this.#people.follow(event);
    this.#showState();
    this.onChange(event);
  };

  #showState() {
    const state = stateOf(this.#event);
    showChip(this.#chip, this.#event);
    setText(this.#sentence, sentenceOf(this.#event, this.#head.quantity));
    if (!owns(this.#event)) return;
    this.#closeNow.hidden = !["open", "paused"].includes(state);
    this.#endList.hidden = this.#event.waitlist_limit === 0 || state === "closed";
  }

  /** Updates the rate once a second. Changes of a sale are numbered, so the difference of numbers is the rate. */
  #updateRate() {
    if (this.#event === null) return;
    this.#showState();
    if (this.part === "sale" && this.#drawnMinute && this.#drawnMinute !== Math.floor(now() / 60_000)) this.#drawMinutes();
    this.#pulse = [...this.#pulse, this.#event.seq].slice(-PULSE_SECONDS - 1);
    const rates = this.#pulse.slice(1).map((seq, at) => seq - this.#pulse[at]);
    const recent = rates.slice(-10);
    const rate = recent.length ? recent.reduce((sum, value) => sum + value, 0) / recent.length : 0;
    setText(this.#pulseWords, `Now: ${number(Math.round(rate * 10) / 10)} changes a second`);
    drawPulse(this.#pulsePicture, Array(PULSE_SECONDS - rates.length).fill(0).concat(rates), "Changes a second over the last minute");
  }

  /** Loads what the live event does not tell, after changes. The longer it takes, the longer the pause after it. */
  async #refresh() {
    while (!this.#closed) {
      const began = performance.now();
      const { seq } = this.#event;
      if (!document.hidden && seq !== this.#reportedSeq) {
        try {
          const { data } = await call("GET", `/events/${this.id}/report`);
          this.#report = data;
          this.#drawReport();
          await this.#readHead();
          this.#reportedSeq = seq;
        } catch {
          this.#records.showError();
        }
      }
      const pause = Math.max(REFRESH_MS_MIN, PAUSE_FACTOR * (performance.now() - began));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** The size of the group at the head of the waiting list: tickets may be kept for it. */
  async #readHead() {
    const { seq, available_tickets: free, waiting_list_count: waiting } = this.#event;
    if (!free || !waiting || seq === this.#head.seq) return;
    const { data } = await call("GET", `/events/${this.id}/bookings?status=waiting&order=oldest&limit=1`);
    this.#head = { seq, quantity: data[0]?.quantity ?? 0 };
    this.#showState();
  }

  /** Draws what is visible: a chart needs its width. */
  #drawReport() {
    if (this.part === "records") this.#records.show(this.#report);
    if (this.part === "sale") this.#drawMinutes();
  }

  #drawMinutes() {
    this.#minutes.show(this.#report.per_minute, now() - (MINUTES_SHOWN - 1) * 60_000, now());
    this.#drawnMinute = Math.floor(now() / 60_000);
  }

  async #patch(body, done) {
    try {
      this.#take((await call("PATCH", `/events/${this.id}`, { body })).data);
      this.#say(done, true);
    } catch (refusal) {
      this.#say(inWords(refusal));
    }
  }

  #togglePause() {
    const paused = !this.#event.paused;
    return this.#patch({ paused }, paused ? "Paused: nobody can book until you resume. Confirming and cancelling go on." : "The sale goes on.");
  }

  async #endSale() {
    const text = "From now on nobody can book. Confirming, cancelling and the waiting list go on.";
    if (!(await ask({ title: "Close the sale?", text, yes: "Close it", no: "Leave it open" }))) return;
    // The lower bound has certainly passed. The middle may lie a second ahead, and the sale would go on until then.
    await this.#patch({ closes_at: new Date(atLeast()).toISOString() }, "Closed. “Change” opens it again, with another closing time.");
  }

  async #endWaitingList() {
    const stay = this.#event.waiting_list_count ? ` ${count(this.#event.waiting_list_count, "person who waits keeps the place", "people who wait keep their places")}.` : "";
    if (!(await ask({ title: "End the waiting list?", text: `Nobody can join it any more.${stay}`, yes: "End it", no: "Leave it open" }))) return;
    await this.#patch({ waitlist_limit: 0 }, "Ended: nobody can join the waiting list any more.");
  }

  async #copy(address) {
    try {
      await navigator.clipboard.writeText(address);
      this.#say("The link is copied.", true);
    } catch {
      this.#say("The browser did not copy it. Select the link, and copy it from there.");
    }
  }
}

/** The state of the sale in one sentence. `head` is the quantity of the first one who waits, 0 if it is not known. */
export function sentenceOf(event, head) {
  const { available_tickets: free, waiting_list_count: waiting, waiting_tickets: wanted, waitlist_limit: limit } = event;
  const state = stateOf(event);
  if (event.visibility === "archived") return "Archived: nothing can be booked.";
  if (state === "scheduled") return `Opens ${when(event.opens_at)}.`;
  if (state === "paused") return "Paused: nobody can book until you resume.";
  if (state === "closed") return `Closed since ${when(event.closes_at)}.`;
  if (!waiting && free) return `On sale: ${number(free)} of ${count(event.capacity, "ticket")} left.`;
  if (free) {
    const group = head ? `a group of ${number(head)}` : "the group";
    return `Sold out; ${count(free, "ticket is", "tickets are")} kept for ${group} at the front.`;
  }
  if (!waiting) return limit === 0 ? "Sold out, without a waiting list." : "Sold out; nobody is waiting yet.";
  const line = `${count(waiting, "person waits", "people wait")} for ${count(wanted, "ticket")}`;
  const full = limit !== null && wanted >= limit ? (limit === 0 ? ", and nobody can join" : ", and the waiting list is full") : "";
  return `Sold out; ${line}${full}.`;
}

function rulesOf(event) {
  return [
    count(event.capacity, "ticket"),
    `at most ${number(event.max_per_user)} a person`,
    event.hold_seconds ? `${number(event.hold_seconds)} s to confirm` : "booked at once",
    event.offer_seconds === event.hold_seconds ? null : `${number(event.offer_seconds)} s from the waiting list`,
    event.waitlist_limit === null ? "waiting list without end" : event.waitlist_limit ? `waiting list up to ${number(event.waitlist_limit)}` : "no waiting list",
    event.opens_at ? `opens ${when(event.opens_at)}` : null,
    event.closes_at ? `closes ${when(event.closes_at)}` : null,
    event.visibility === "listed" ? null : event.visibility,
  ].filter(Boolean).join(" · ");
}
