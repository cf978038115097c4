// The tickets of a sale by state, as numbers and as a bar.

import { el, setText } from "./elements.js";
import { number, t, tickets } from "./words.js";

const STATES = [
  ["tickets_sold", "sold"],
  ["tickets_held", "held"],
  ["available_tickets", "free"],
];

/** A bar with a part for each state, updated by `show(event)`. */
export class StockBar {
  constructor() {
    this.parts = STATES.map(([, name]) => el("span", { class: name }));
    this.element = el("div", { class: "bar", role: "img" }, ...this.parts);
  }

  show(event) {
    STATES.forEach(([key], place) => {
      this.parts[place].style.flexGrow = event[key] / event.capacity;
    });
    const parts = Object.fromEntries(STATES.map(([key, name]) => [name, event[key]]));
    this.element.setAttribute("aria-label", t("stock.bar", { tickets: tickets(event.capacity), ...parts }));
  }
}

/** The stock for buyers: the tickets left, held tickets, waiting users, and the bar. */
export class Stock {
  #left = el("strong", { class: "figure" });
  #rest = el("span", { class: "quiet" });
  #bar = new StockBar();

  constructor(place) {
    place.append(el("p", { class: "left" }, this.#left, this.#rest), this.#bar.element);
  }

  show(event) {
    setText(this.#left, number(event.available_tickets));
    setText(this.#rest, [t("stock.left", { count: event.capacity }), ...more(event)].join(" · "));
    this.#bar.show(event);
  }
}

function more(event) {
  return [
    event.tickets_held > 0 ? t(event.takes_payment ? "stock.paying" : "stock.held", { count: event.tickets_held }) : "",
    event.waiting_list_count > 0 ? t("stock.waiting", { count: event.waiting_list_count }) : "",
  ].filter(Boolean);
}
