// The list of sales, newest first. It is refreshed while the page is visible, and older sales are loaded on request.

import { call } from "./api.js";
import { byId } from "./elements.js";
import { t } from "./words.js";

const PERIOD_MS = 5_000;
const PAGE = 20;
const PAGE_MAX = 100; // the most items of one call

/** Fills `#sales`. `rowOf(event)` makes a row, {element, show(event)}; it gets `event`, as loaded last. Each call ends with `report(message)`.
 *
 * `query` is the beginning of the query that is asked with; nothing is asked while `isActive()` is false. */
export class SalesList {
  rows = new Map();
  #rowOf;
  #report;
  #query;
  #isActive;

  constructor(rowOf, report, { query = "", isActive = () => true } = {}) {
    this.#rowOf = rowOf;
    this.#report = report;
    this.#query = query;
    this.#isActive = isActive;
    byId("older").addEventListener("click", () => this.load(Math.min(...this.rows.keys())));
    setInterval(() => document.hidden || this.load(), PERIOD_MS);
  }

  /** Loads the newest sales: as many as are shown, up to 100. With `after`, loads the next sales older than that. */
  async load(after = null) {
    if (!this.#isActive()) return;
    const limit = after ? PAGE : Math.min(PAGE_MAX, Math.max(PAGE, this.rows.size));
    try {
      const { data, has_more: more } = await call("GET", `/events?${this.#query}limit=${limit}${after ? `&starting_after=${after}` : ""}`);
      if (!after && !data.some(({ id }) => this.rows.has(id))) this.#clear(); // there is a gap between the new and the shown ones
      else if (!after) this.#drop(data, more);
      const elements = data.map((event) => this.#show(event));
      if (after) byId("sales").append(...elements);
      else byId("sales").prepend(...elements.filter((element) => !element.isConnected));
      if (after || this.rows.size <= data.length) byId("older").hidden = !more;
      this.#report("");
    } catch {
      this.#report(t("index.unread"));
    }
  }

  #clear() {
    this.rows.clear();
    byId("sales").replaceChildren();
  }

  /** Removes the rows of sales that the list no longer has: they are unlisted or archived now. */
  #drop(data, more) {
    const [ids, oldest] = [new Set(data.map(({ id }) => id)), more ? data.at(-1).id : 0];
    for (const [id, row] of this.rows) {
      if (id < oldest || ids.has(id)) continue;
      row.element.remove();
      this.rows.delete(id);
    }
  }

  #show(event) {
    const row = this.rows.get(event.id) ?? this.#rowOf(event);
    row.event = event;
    row.show(event);
    this.rows.set(event.id, row);
    return row.element;
  }
}
