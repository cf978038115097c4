// The waiting list of a sale, in order.

import { call } from "./api.js";
import { el, scrollTable, setText } from "./elements.js";
import { briefly, number } from "./words.js";

const PAGE = 100;
const READ_MAX = 300;

/** The list in `element`, reloaded by `load(eventId)`. It keeps its scroll position while its rows change. */
export class WaitingList {
  #body = el("tbody");
  #note = el("p", { class: "quiet" });
  #scroll = scrollTable("Waiting list", ["Place", "Person", "Tickets", "Since"], this.#body);

  constructor() {
    this.#scroll.hidden = true;
    this.element = el("div", {}, this.#scroll, this.#note);
  }

  /** Shows the head of the list. Pages come newest first, so of a list of more than 300 it shows the end. */
  async load(eventId) {
    const path = `/events/${eventId}/bookings?status=waiting&limit=${PAGE}`;
    const rows = [];
    let more = true;
    while (more && rows.length < READ_MAX) {
      const page = await call("GET", rows.length ? `${path}&starting_after=${rows.at(-1).id}` : path);
      rows.push(...page.data);
      more = page.has_more;
    }
    rows.sort((one, other) => one.position - other.position);
    const shown = rows.slice(0, PAGE).map(({ position, user_id: user, quantity, created_at: since }) =>
      el("tr", {}, ...[number(position), user, number(quantity), briefly(since)].map((text) => el("td", {}, text))),
    );
    this.#body.replaceChildren(...shown);
    this.#scroll.hidden = !rows.length;
    const all = !more && rows.length <= PAGE;
    setText(this.#note, !rows.length ? "Nobody is waiting." : all ? "" : "Not all of them are shown here; an export has all of them.");
  }
}
