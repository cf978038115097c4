// The report of a sale: its totals, a chart by minute, and the refusals by reason.

import { MinutesChart, ranking } from "./charts.js";
import { el, setText } from "./elements.js";
import { lasting, number, when } from "./words.js";

const TOTALS = [
  ["bookings", "Bookings"],
  ["tickets", "Tickets sold"],
  ["held", "Held"],
  ["waiting", "Waiting"],
  ["promoted", "From the waiting list"],
  ["cancelled", "Cancelled"],
  ["expired", "Expired"],
];

// The refusal codes in words for organizers.
const REFUSED = {
  sale_not_open: "Too early",
  sale_closed: "Too late",
  sale_paused: "While paused",
  already_booked: "Had booked already",
  sold_out: "Sold out",
  waitlist_full: "Waiting list full",
  quantity_over_limit: "Too many tickets at once",
  booking_not_found: "No booking to confirm or cancel",
  hold_expired: "Confirmed too late",
  still_waiting: "Confirmed while waiting",
  payment_mismatch: "Another payment",
  refund_due: "Paid too late",
  rate_limited: "Too often",
  overloaded: "Overloaded",
  idempotency_key_reused: "Key used twice",
};

/** The report in `element`, updated by `show(report)`. */
export class Report {
  #totals = TOTALS.map(([, name]) => [name, el("dd")]);
  #soldOut = el("p", { class: "quiet" });
  #chart = new MinutesChart("The whole sale: bookings, waiting list, cancellations");
  #refused = el("div");

  constructor() {
    const totals = this.#totals.map(([name, value]) => el("div", {}, el("dt", {}, name), value));
    this.element = el("div", {}, el("dl", { class: "figures" }, ...totals), this.#soldOut, this.#chart.element, this.#refused);
    this.#chart.element.hidden = true;
  }

  /** Shows that the report could not be loaded; the next `show` removes the message. */
  showError() {
    setText(this.#soldOut, "The report cannot be read at the moment. This page asks again by itself.");
  }

  show(report) {
    const { per_minute: minutes, refusals, totals, sold_out_at: soldOutAt } = report;
    TOTALS.forEach(([key], at) => setText(this.#totals[at][1], number(totals[key])));
    setText(
      this.#soldOut,
      soldOutAt
        ? `Sold out ${when(soldOutAt)}, ${lasting(Math.max(1, report.seconds_to_sell_out))} after it opened.`
        : "Not sold out so far.",
    );
    this.#chart.element.hidden = !minutes.length;
    if (minutes.length) {
      const mark = soldOutAt && { time: Date.parse(soldOutAt), label: "sold out" };
      this.#chart.show(minutes, Date.parse(minutes[0].minute), Date.parse(minutes.at(-1).minute), mark);
    }
    const counts = Object.entries(refusals).map(([code, value]) => [REFUSED[code] ?? code, value]);
    this.#refused.replaceChildren(...(counts.length ? [el("h4", {}, "Refused"), ranking(counts, "Refusals by reason")] : []));
  }
}
