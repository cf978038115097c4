// The report of a sale: its totals, a chart by minute, and the refusals by reason.

import { MinutesChart, ranking } from "./charts.js";
import { el, setText } from "./elements.js";
import { has, lasting, number, t, when } from "./words.js";

const TOTALS = [
  ["bookings", "label.bookings"],
  ["tickets", "label.tickets"],
  ["held", "label.held"],
  ["waiting", "label.waiting"],
  ["promoted", "label.promoted"],
  ["cancelled", "label.cancelled"],
  ["expired", "label.expired"],
];

/** The report in `element`, updated by `show(report, zone)`. */
export class Report {
  #totals = TOTALS.map(([, name]) => [t(name), el("dd")]);
  #soldOut = el("p", { class: "quiet" });
  #chart = new MinutesChart(t("report.chart"));
  #refused = el("div");

  constructor() {
    const totals = this.#totals.map(([name, value]) => el("div", {}, el("dt", {}, name), value));
    this.element = el("div", {}, el("dl", { class: "figures" }, ...totals), this.#soldOut, this.#chart.element, this.#refused);
    this.#chart.element.hidden = true;
  }

  /** Shows that the report could not be loaded; the next `show` removes the message. */
  showError() {
    setText(this.#soldOut, t("report.unread"));
  }

  show(report, zone) {
    const { per_minute: minutes, refusals, totals, sold_out_at: soldOutAt } = report;
    TOTALS.forEach(([key], at) => setText(this.#totals[at][1], number(totals[key])));
    setText(
      this.#soldOut,
      soldOutAt
        ? t("report.sold_out", { when: when(soldOutAt, zone), time: lasting(Math.max(1, report.seconds_to_sell_out)) })
        : t("report.not_sold_out"),
    );
    this.#chart.element.hidden = !minutes.length;
    if (minutes.length) {
      const mark = soldOutAt && { time: Date.parse(soldOutAt), label: t("report.mark") };
      this.#chart.show(minutes, Date.parse(minutes[0].minute), Date.parse(minutes.at(-1).minute), zone, mark);
    }
    const counts = Object.entries(refusals).map(([code, value]) => [has(`report.refused.${code}`) ? t(`report.refused.${code}`) : code, value]);
    this.#refused.replaceChildren(...(counts.length ? [el("h4", {}, t("report.refused")), ranking(counts, t("report.refusals"))] : []));
  }
}
