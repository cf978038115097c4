// The state of a sale. The service sends it with every event; between two events, time alone may change it.

import { atLeast, now } from "./clock.js";
import { el, setText } from "./elements.js";
import { lasting, t, tickets, when } from "./words.js";

const ORDER = ["scheduled", "open", "closed"];

const CHIPS = { scheduled: "soon", open: "good", paused: "warn", closed: "done", sold_out: "bad" };

/** `scheduled`, `open`, `paused` or `closed`: the state from the service, or a later one by the clock. */
export function stateOf(event) {
  if (event.visibility === "archived") return "closed";
  if (event.paused) return "paused";
  const byClock =
    event.closes_at !== null && now() >= Date.parse(event.closes_at) ? "closed"
    : event.opens_at !== null && atLeast() < Date.parse(event.opens_at) ? "scheduled"
    : "open";
  return ORDER[Math.max(ORDER.indexOf(event.state), ORDER.indexOf(byClock))];
}

/**
 * Whether a booking now would join the waiting list, which serves in strict order. An event in a page's HTML has no
 * counters: it says whether one ticket would.
 */
export const wouldWait = (event, quantity = 1) =>
  event.would_wait ?? (event.available_tickets < quantity || event.waiting_list_count > 0);

/** Shows the state in an element, as a chip: its label, and the class that gives it its colour. */
export function showChip(element, event) {
  const state = stateOf(event);
  const shown = state === "open" && wouldWait(event) ? "sold_out" : state;
  setText(element, t(`state.${shown}`));
  element.className = `chip ${CHIPS[shown]}`;
}

/** The rules of a sale for buyers, as [name, value] pairs. */
function rulesOf(event) {
  return [
    [t("rule.may_book"), event.max_per_user === 1 ? t("rule.may_book_one") : t("rule.may_book_most", { tickets: tickets(event.max_per_user) })],
    [t("rule.after"), event.hold_seconds ? t(event.takes_payment ? "rule.after_pay" : "rule.after_hold", { time: lasting(event.hold_seconds) }) : t("rule.after_nothing")],
    [t("rule.sold_out"), event.waitlist_limit === 0 ? t("rule.no_list") : t("rule.list")],
    [t("rule.closes"), event.closes_at && when(event.closes_at, event.time_zone)],
  ].filter(([, value]) => value);
}

/** Shows the rules in a description list; it is rebuilt only if they have changed. */
export function showRules(list, event) {
  const rules = rulesOf(event);
  const key = JSON.stringify(rules);
  if (list.dataset.shown === key) return;
  list.dataset.shown = key;
  list.replaceChildren(...rules.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
