// The list of sales, newest first: kept up to date while somebody looks at it, and longer for whoever asks for older ones.

import { call } from "./api.js";
import { byId } from "./elements.js";

const PERIOD_MS = 5_000;
const PAGE = 20;
const PAGE_MAX = 100; // what one call brings at most

/** Fills `#sales`. `rowOf(event)` makes a row, {element, show(event)}; `told(words)` hears after each call what there is to say. */
export class SalesList {
  rows = new Map();
  #rowOf;
  #told;

  constructor(rowOf, told) {
    this.#rowOf = rowOf;
    this.#told = told;
    byId("older").addEventListener("click", () => this.load(Math.min(...this.rows.keys())));
    setInterval(() => document.hidden || this.load(), PERIOD_MS);
  }

  /** Reads the newest, as many as are shown where one call can bring them; or the next that are older than `after`. */
  async load(after = null) {
    const limit = after ? PAGE : Math.min(PAGE_MAX, Math.max(PAGE, this.rows.size));
    try {
      const { data, has_more: more } = await call("GET", `/events?limit=${limit}${after ? `&starting_after=${after}` : ""}`);
      if (!after && !data.some(({ id }) => this.rows.has(id))) this.#clear(); // there is a gap between these and those
      const elements = data.map((event) => this.#show(event));
      if (after) byId("sales").append(...elements);
      else byId("sales").prepend(...elements.filter((element) => !element.isConnected));
      if (after || this.rows.size <= data.length) byId("older").hidden = !more;
      this.#told("");
    } catch {
      this.#told("The sales cannot be read at the moment. This page asks again by itself.");
    }
  }

  #clear() {
    this.rows.clear();
    byId("sales").replaceChildren();
  }

  #show(event) {
    const row = this.rows.get(event.id) ?? this.#rowOf(event);
    row.show(event);
    this.rows.set(event.id, row);
    return row.element;
  }
}
