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
import { inWords, lasting, number, t, tickets, when } from "./words.js";

const COUNTERS = [
  ["available_tickets", "label.free"],
  ["tickets_held", "label.held"],
  ["tickets_sold", "label.sold"],
  ["waiting_list_count", "label.waiting"],
];
const PARTS = ["sale", "people", "records"];
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
  #pause = button(t("console.pause"), () => this.#togglePause());
  #closeNow = button(t("console.close_now"), () => this.#endSale());
  #endList = button(t("console.end_list"), () => this.#endWaitingList());
  #change = button(t("console.change"), () => openChange(this.id, this.#take).catch((refusal) => this.#say(inWords(refusal))));
  #notYours = el("p", { class: "quiet" });
  #pulseWords = el("p", { class: "quiet" });
  #pulsePicture = el("div");
  #minutes = new MinutesChart(t("console.minutes_chart", { count: MINUTES_SHOWN }));
  #people;
  #records;

  constructor(place, eventId, onChange) {
    this.id = eventId;
    this.onChange = onChange;
    this.#people = new People(eventId);
    this.#records = new Records(eventId);
    const address = new URL(`${ROOT}/sale/${eventId}`, location.href).href;
    const link = el("input", { id: "sale-link", readonly: true, value: address, onfocus: ({ target }) => target.select() });
    const share = el("div", { class: "field share" }, el("label", { for: "sale-link" }, t("console.link")), link, button(t("console.copy"), () => this.#copy(address)));
    const chart = section(t("console.minutes", { count: MINUTES_SHOWN }), el("div", { class: "now" }, this.#pulseWords, this.#pulsePicture), this.#minutes.element);
    this.#links = PARTS.map((part) => el("a", { href: `#sale-${eventId}${part === "sale" ? "" : `/${part}`}` }, t(`console.part.${part}`)));
    this.#tabs = el("nav", { class: "parts", "aria-label": t("console.parts") }, ...this.#links);
    this.#ofPart = {
      sale: [
        this.#sentence,
        this.#rules,
        el("div", { class: "buttons" }, this.#pause, this.#closeNow, this.#endList, this.#change, el("a", { class: "button plain", href: `${ROOT}/sale/${eventId}` }, t("console.buyers_page"))),
        this.#notYours,
        el("dl", { class: "counters" }, ...COUNTERS.map(([, name], at) => el("div", {}, el("dt", {}, t(name)), this.#values[at]))),
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
      onLink: (connected) => this.#say(connected ? "" : t("sale.lost")),
      onGone: () => this.#say(inWords({ code: "event_not_found" })),
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

  /** Shows what the list of sales tells of the event, until its stream tells more. */
  begin(event) {
    if (this.#event === null) this.#take(event);
  }

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
    PARTS.forEach((part, at) => (part === open ? this.#links[at].setAttribute("aria-current", "page") : this.#links[at].removeAttribute("aria-current")));
  }

  #take = (event) => {
    const isFirst = this.#event === null;
    this.#event = event;
    this.#records.zone = event.time_zone;
    if (isFirst) {
      if (owns(event)) {
        this.#refresh();
      } else {
        setText(this.#notYours, t("console.not_yours", { owner: t(event.organizer_id === null ? "console.of_admins" : "console.of_another") }));
      }
      this.open(this.part);
    }
    setText(this.#name, event.name);
    setText(this.#rules, rulesOf(event));
    setText(this.#pause, t(event.paused ? "console.resume" : "console.pause"));
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
    setText(this.#pulseWords, t("console.rate", { rate: Math.round(rate * 10) / 10 }));
    drawPulse(this.#pulsePicture, Array(PULSE_SECONDS - rates.length).fill(0).concat(rates));
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
    this.#minutes.show(this.#report.per_minute, now() - (MINUTES_SHOWN - 1) * 60_000, now(), this.#event.time_zone);
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
    return this.#patch({ paused }, t(paused ? "console.now_paused" : "console.now_resumed"));
  }

  async #endSale() {
    if (!(await ask({ title: t("console.ask_close"), text: t("console.ask_close_text"), yes: t("console.ask_close_yes"), no: t("console.leave_open") }))) return;
    // The lower bound has certainly passed. The middle may lie a second ahead, and the sale would go on until then.
    await this.#patch({ closes_at: new Date(atLeast()).toISOString() }, t("console.now_closed"));
  }

  async #endWaitingList() {
    const { waiting_list_count: waiting } = this.#event;
    const text = t("console.ask_end_text") + (waiting ? ` ${t("console.keep_places", { count: waiting })}` : "");
    if (!(await ask({ title: t("console.ask_end"), text, yes: t("console.ask_end_yes"), no: t("console.leave_open") }))) return;
    await this.#patch({ waitlist_limit: 0 }, t("console.now_ended"));
  }

  async #copy(address) {
    try {
      await navigator.clipboard.writeText(address);
      this.#say(t("console.copied"), true);
    } catch {
      this.#say(t("console.not_copied"));
    }
  }
}

/** The state of the sale in one sentence. `head` is the quantity of the first one who waits, 0 if it is not known. */
export function sentenceOf(event, head) {
  const { available_tickets: free, waiting_list_count: waiting, waiting_tickets: wanted, waitlist_limit: limit, time_zone: zone } = event;
  const state = stateOf(event);
  if (event.visibility === "archived") return t("console.state.archived");
  if (state === "scheduled") return t("console.state.scheduled", { when: when(event.opens_at, zone) });
  if (state === "paused") return t("console.state.paused");
  if (state === "closed") return t("console.state.closed", { when: when(event.closes_at, zone) });
  if (!waiting && free) return t("console.state.open", { free, tickets: tickets(event.capacity) });
  if (free) return t("console.state.kept", { count: free, group: head ? t("console.group", { size: head }) : t("console.group_unknown") });
  if (!waiting) return t(limit === 0 ? "console.state.no_list" : "console.state.sold_out");
  const full = limit !== null && wanted >= limit ? t(limit === 0 ? "console.list_ended" : "console.list_full") : "";
  return t("console.state.waiting", { count: waiting, tickets: tickets(wanted), full });
}

function rulesOf(event) {
  const { hold_seconds: hold, offer_seconds: offer, waitlist_limit: limit, time_zone: zone } = event;
  return [
    tickets(event.capacity),
    t("console.rule.most", { most: event.max_per_user }),
    hold ? t(event.takes_payment ? "rule.after_pay" : "rule.after_hold", { time: lasting(hold) }) : t("console.rule.at_once"),
    offer === hold ? null : t("console.rule.offer", { time: offer ? lasting(offer) : t("console.rule.at_once") }),
    limit === null ? t("console.rule.list") : limit ? t("console.rule.list_limit", { limit }) : t("rule.no_list"),
    event.opens_at ? t("console.rule.opens", { when: when(event.opens_at, zone) }) : null,
    event.closes_at ? t("console.rule.closes", { when: when(event.closes_at, zone) }) : null,
    event.visibility === "listed" ? null : t(`console.rule.${event.visibility}`),
  ].filter(Boolean).join(" · ");
}
