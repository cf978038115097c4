// The refunds of a sale: payments that came too late for their tickets, each to be marked as returned.

import { call } from "./api.js";
import { el, scrollTable, setText } from "./elements.js";
import { briefly, inWords, number, t } from "./words.js";

const PAGE = 50;

// Each filter: its value of `status`, and its label.
const FILTERS = [["due", "refunds.due"], ["done", "refunds.done"], ["", "refunds.all"]];

/** The list in `element`. It is loaded each time when it comes into view. */
export class Refunds {
  #eventId;
  #status = "due";
  #rows = [];
  #turn = 0;
  #filters = FILTERS.map(([status, label]) =>
    el("button", { type: "button", class: "plain", "aria-pressed": String(status === "due"), onclick: () => this.#choose(status) }, t(label)),
  );
  #body = el("tbody");
  #table = scrollTable(t("refunds.heading"), ["person", "tickets", "payment", "state", "mark"].map((column) => t(`refunds.${column}`)), this.#body);
  #note = el("p", { class: "quiet", role: "status" });
  #message = el("p", { class: "notice", role: "status" });
  #more = el("button", { type: "button", class: "plain", hidden: true, onclick: () => this.load(true) }, t("refunds.more"));

  constructor(eventId) {
    this.#eventId = eventId;
    this.#table.hidden = true;
    this.element = el(
      "section",
      { class: "people" },
      el("h3", {}, t("refunds.heading")),
      el("p", { class: "quiet" }, t("refunds.about")),
      el("div", { class: "buttons filters", role: "group", "aria-label": t("refunds.which") }, ...this.#filters),
      this.#message,
      this.#table,
      this.#note,
      this.#more,
    );
    new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.load()).observe(this.element);
  }

  #choose(status) {
    this.#status = status;
    FILTERS.forEach(([value], at) => this.#filters[at].setAttribute("aria-pressed", String(value === status)));
    this.load();
  }

  /** Loads the newest refunds, or with `more` those behind the last one. */
  async load(more = false) {
    const turn = ++this.#turn;
    const query = new URLSearchParams({ limit: PAGE, ...(this.#status && { status: this.#status }) });
    if (more) query.set("starting_after", this.#rows.at(-1).payment_id);
    try {
      const { data, has_more: hasMore, up_to_date: complete } = await call("GET", `/events/${this.#eventId}/refunds?${query}`);
      if (turn !== this.#turn) return; // another filter was chosen meanwhile
      this.#rows = more ? [...this.#rows, ...data] : data;
      this.#more.hidden = !hasMore;
      this.#draw();
      setText(this.#note, [this.#rows.length ? "" : t("refunds.none"), complete ? "" : t("refunds.late")].join(" ").trim());
    } catch (refusal) {
      if (turn === this.#turn) setText(this.#note, inWords(refusal));
    }
  }

  #draw() {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement.dataset.payment : null;
    this.#body.replaceChildren(...this.#rows.map((refund) => this.#rowOf(refund)));
    if (focused) [...this.#body.querySelectorAll("button")].find(({ dataset }) => dataset.payment === focused)?.focus();
    this.#table.hidden = !this.#rows.length;
  }

  #rowOf(refund) {
    const { payment_id: payment, booking_id: booking, user_id: user, email, quantity, due_at: due, done_at: done } = refund;
    const words = t(done ? "refunds.mark_due" : "refunds.mark_done");
    const label = `${words}: ${email ?? user}`; // it begins with what is seen
    const mark = el("button", { type: "button", class: "plain", "data-payment": payment, "aria-label": label, onclick: () => this.#mark(refund) }, words);
    const state = done ? t("refunds.done_at", { when: briefly(done) }) : t("refunds.due_since", { when: briefly(due) });
    const cells = [
      [el("span", { class: "who" }, email ?? user), email ? el("span", { class: "quiet" }, user) : null],
      [number(quantity)],
      [el("span", { class: "who" }, payment), el("span", { class: "quiet" }, t("booking.id", { id: booking }))],
      [el("span", { class: "quiet" }, state)],
      [mark],
    ];
    // Roles, because on a phone the rows are no table rows to CSS, and then to screen readers neither.
    return el("tr", { role: "row" }, ...cells.map((children) => el("td", { role: "cell" }, ...children.filter(Boolean))));
  }

  /** Marks a refund as done, or as due again. Its row stays until the list is loaded again, so that a slip can be undone. */
  async #mark({ payment_id: payment, done_at: done }) {
    const path = `/events/${this.#eventId}/refunds/${encodeURIComponent(payment)}`;
    try {
      const { data } = await call("PATCH", path, { body: { done: !done } });
      this.#rows = this.#rows.map((one) => (one.payment_id === payment ? data : one));
      this.#draw();
      this.#say(t(data.done_at ? "refunds.marked_done" : "refunds.marked_due", { who: data.email ?? data.user_id }), true);
    } catch (refusal) {
      this.#say(inWords(refusal));
    }
  }

  #say(text, good = false) {
    this.#message.classList.toggle("good", good);
    setText(this.#message, text);
  }
}
