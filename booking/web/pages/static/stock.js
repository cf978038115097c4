// How many tickets there are and where they are: numbers, and a bar of the same.

import { el, setText } from "./elements.js";
import { count, number } from "./words.js";

const PARTS = [
  ["tickets_sold", "sold"],
  ["tickets_held", "held"],
  ["available_tickets", "free"],
];

/** A bar that `show(event)` fills. */
export class StockBar {
  constructor() {
    this.parts = PARTS.map(([, name]) => el("span", { class: name }));
    this.element = el("div", { class: "bar", role: "img" }, ...this.parts);
  }

  show(event) {
    PARTS.forEach(([key], place) => {
      this.parts[place].style.flexGrow = event[key] / event.capacity;
    });
    this.element.setAttribute(
      "aria-label",
      `Of ${count(event.capacity, "ticket")}, ${PARTS.map(([key, name]) => `${number(event[key])} ${name}`).join(", ")}`,
    );
  }
}

/** What a buyer sees: how many are left, the bar, and the crowd behind. */
export class Stock {
  #left = el("strong", { class: "figure" });
  #rest = el("span", { class: "quiet" });
  #bar = new StockBar();

  constructor(place) {
    place.append(el("p", { class: "left" }, this.#left, this.#rest), this.#bar.element);
  }

  show(event) {
    setText(this.#left, number(event.available_tickets));
    setText(this.#rest, ` of ${count(event.capacity, "ticket")} left${more(event)}`);
    this.#bar.show(event);
  }
}

function more(event) {
  const held = event.tickets_held > 0 ? ` · ${number(event.tickets_held)} held for people who are confirming` : "";
  const waiting = event.waiting_list_count > 0 ? ` · ${number(event.waiting_list_count)} waiting` : "";
  return held + waiting;
}
