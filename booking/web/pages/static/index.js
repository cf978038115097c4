// The list of sales: newest first, kept up to date while somebody looks at it.

import { call } from "./api.js";
import { byId, el, setText } from "./elements.js";
import { showChip, stateOf } from "./sale_state.js";
import { StockBar } from "./stock.js";
import { count, inWords, number, when } from "./words.js";

const PERIOD_MS = 5_000;
const cards = new Map();

function cardOf(event) {
  const card = { chip: el("span"), name: el("a", { href: `/sale/${event.id}` }), about: el("p", { class: "quiet" }), bar: new StockBar() };
  card.element = el("li", { class: "card" }, el("h2", {}, card.name), card.chip, card.about, card.bar.element);
  return card;
}

function show(event) {
  const card = cards.get(event.id) ?? cardOf(event);
  setText(card.name, event.name);
  showChip(card.chip, event);
  const left = event.available_tickets ? `${number(event.available_tickets)} of ${count(event.capacity, "ticket")} left` : "No tickets left";
  const waiting = event.waiting_list_count ? ` · ${number(event.waiting_list_count)} waiting` : "";
  setText(card.about, stateOf(event) === "scheduled" ? `Opens ${when(event.opens_at)}` : left + waiting);
  card.bar.show(event);
  cards.set(event.id, card);
  return card.element;
}

async function load(after = null) {
  try {
    const answer = await call("GET", `/events?limit=20${after ? `&starting_after=${after}` : ""}`);
    const elements = answer.data.map(show);
    if (after) byId("sales").append(...elements);
    else byId("sales").prepend(...elements.filter((element) => !element.isConnected));
    if (after || cards.size <= answer.data.length) byId("older").hidden = !answer.has_more;
    setText(byId("state"), cards.size ? "" : "There are no sales yet.");
  } catch (refusal) {
    setText(byId("state"), inWords(refusal));
  }
}

byId("older").addEventListener("click", () => load(Math.min(...cards.keys())));
await load();
setInterval(() => document.hidden || load(), PERIOD_MS);
