// The people of a sale: one table from the server, by state, with a search.

import { call } from "./api.js";
import { el, field, scrollTable, setText } from "./elements.js";
import { ask } from "./question.js";
import { saveExport } from "./save_export.js";
import { briefly, inWords, number, t, tickets } from "./words.js";

const PAGE = 50;
const PAGE_MAX = 100; // the most items of one call
const REASON_MAX = 500; // characters
const SEARCH_MS = 300; // after the last letter
const PAUSE_MS_MIN = 1_000; // between two loadings of what has changed
const PAUSE_FACTOR = 5; // the pause is at least 5 times as long as the loading took

// Each filter: its value of `status`, its label, and the event's counter of its bookings.
const FILTERS = [
  ["", "label.all"],
  ["confirmed", "label.booked", "bookings_count"],
  ["held", "label.held", "held_count"],
  ["waiting", "label.waiting", "waiting_list_count"],
  ["ended", "label.ended"],
];
const STATES = { confirmed: "label.booked", held: "label.held", waiting: "label.waiting", cancelled: "label.cancelled", expired: "label.expired" };
const COLUMNS = ["people.person", "index.title", "people.state", "people.since", "people.cancel"];
const LIVE = ["confirmed", "held", "waiting"];

/** The table in `element`. It is loaded by `load()`, and by `follow(event)` if the sale has changed. */
export class People {
  #eventId;
  #status = "";
  #rows = [];
  #hasMore = false;
  #turn = 0;
  #seq = -1;
  #zone = null;
  #following = null;
  #pausesUntil = 0;
  #filters;
  #search = el("input", { id: "people-search", type: "search", maxlength: 254, autocomplete: "off", spellcheck: "false", oninput: () => this.#searchSoon() });
  #body = el("tbody");
  #table = scrollTable(t("console.part.people"), COLUMNS.map((key) => t(key)), this.#body);
  #note = el("p", { class: "quiet", role: "status" });
  #message = el("p", { class: "notice", role: "status" });
  #more = el("button", { type: "button", class: "plain", hidden: true, onclick: () => this.load(true) }, t("people.more"));
  #timer;

  constructor(eventId) {
    this.#eventId = eventId;
    this.#filters = FILTERS.map(([status, label]) =>
      el("button", { type: "button", class: "plain", "aria-pressed": String(status === ""), onclick: () => this.#choose(status) }, t(label)),
    );
    const save = (format) => el("button", { type: "button", class: "plain", onclick: () => this.#export(format) }, t("people.export", { format: format.toUpperCase() }));
    this.element = el(
      "section",
      { class: "people" },
      el("h3", {}, t("console.part.people")),
      el("div", { class: "buttons filters", role: "group", "aria-label": t("people.which") }, ...this.#filters),
      field(t("people.find"), this.#search, t("people.find_hint")),
      this.#message,
      this.#table,
      this.#note,
      el("div", { class: "buttons" }, this.#more, save("csv"), save("ndjson")),
    );
  }

  #choose(status) {
    this.#status = status;
    FILTERS.forEach(([value], at) => this.#filters[at].setAttribute("aria-pressed", String(value === status)));
    this.load();
  }

  #searchSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.load(), SEARCH_MS);
  }

  /** What is asked for: the waiting list from its head, all others from the newest. */
  #query() {
    const text = this.#search.value.trim();
    return new URLSearchParams({ ...(this.#status ? { status: this.#status } : {}), ...(text ? { q: text } : {}) });
  }

  /** Loads the table again, or with `more` the rows behind the last one. */
  async load(more = false) {
    const turn = ++this.#turn;
    const query = this.#query();
    if (this.#status === "waiting") query.set("order", "oldest");
    query.set("limit", more ? PAGE : Math.min(PAGE_MAX, Math.max(PAGE, this.#rows.length)));
    if (more) query.set("starting_after", this.#rows.at(-1).id);
    try {
      const { data, has_more: hasMore } = await call("GET", `/events/${this.#eventId}/bookings?${query}`);
      if (turn !== this.#turn) return; // another filter was chosen meanwhile
      this.#rows = more ? [...this.#rows, ...data] : data;
      this.#hasMore = hasMore;
      this.#draw();
    } catch (refusal) {
      if (turn === this.#turn) setText(this.#note, inWords(refusal));
    }
  }

  /** Shows the counts, and soon loads the table again if the sale has changed. A very long table is left as it is. */
  follow(event) {
    FILTERS.forEach(([, label, counter], at) => setText(this.#filters[at], counter ? `${t(label)} ${number(event[counter])}` : t(label)));
    this.#zone = event.time_zone;
    if (event.seq === this.#seq || this.#rows.length > PAGE_MAX) return;
    this.#seq = event.seq;
    this.#following ??= setTimeout(async () => {
      this.#following = null;
      const began = performance.now();
      await this.load();
      this.#pausesUntil = performance.now() + Math.max(PAUSE_MS_MIN, PAUSE_FACTOR * (performance.now() - began));
    }, Math.max(0, this.#pausesUntil - performance.now()));
  }

  #draw() {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement.dataset.booking : null;
    this.#body.replaceChildren(...this.#rows.map((booking) => this.#rowOf(booking)));
    if (focused) this.#body.querySelector(`[data-booking="${focused}"]`)?.focus();
    this.#table.hidden = !this.#rows.length;
    this.#more.hidden = !this.#hasMore;
    setText(this.#note, this.#rows.length ? "" : t(this.#search.value.trim() ? "people.not_found" : "people.none"));
  }

  #rowOf(booking) {
    const { id, position, user_id: user, email, quantity, status, created_at: since, expires_at: until } = booking;
    const who = email ?? user;
    const cancel = LIVE.includes(status)
      ? el("button", { type: "button", class: "plain", "data-booking": id, "aria-label": t("people.cancel_who", { who }), onclick: () => this.#cancel(booking) }, t("people.cancel"))
      : null;
    const state = position ? t("people.place", { position }) : until ? t("people.until", { when: briefly(until, this.#zone) }) : t(STATES[status]);
    const person = [el("span", { class: "who" }, who), email ? el("span", { class: "quiet" }, user) : null];
    // Roles, because on a phone the rows are no table rows to CSS, and then to screen readers neither.
    const cells = [person, [tickets(quantity)], [state], [el("span", { class: "quiet" }, briefly(since, this.#zone))], [cancel]];
    return el("tr", { role: "row" }, ...cells.map((children) => el("td", { role: "cell" }, ...children.filter(Boolean))));
  }

  async #cancel({ user_id: user, email, quantity, status }) {
    const text = status === "waiting" ? t("people.ask_waiting") : t("people.ask_text", { count: quantity });
    const reason = el("input", { id: "cancel-reason", type: "text", maxlength: REASON_MAX, autocomplete: "off", dir: "auto" });
    const more = field(t("people.reason"), reason, t("people.reason_hint"));
    if (!(await ask({ title: t("people.ask", { who: email ?? user }), text, more, yes: t("people.ask_yes"), no: t("people.ask_no") }))) return;
    const body = { event_id: this.#eventId, user_id: user, ...(reason.value.trim() ? { reason: reason.value } : {}) };
    try {
      await call("POST", "/cancel", { body });
      this.#say(t("people.cancelled", { who: email ?? user }), true);
      await this.load();
    } catch (refusal) {
      this.#say(inWords(refusal));
    }
  }

  #say(text, good = false) {
    this.#message.classList.toggle("good", good);
    setText(this.#message, text);
  }

  #export(format) {
    return saveExport(this.#eventId, format, this.#query(), (...said) => this.#say(...said));
  }
}
