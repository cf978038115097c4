// The page that lists the sales.

import { ROOT } from "./api.js";
import { byId, el, setText } from "./elements.js";
import { showChip, stateOf } from "./sale_state.js";
import { SalesList } from "./sales_list.js";
import { StockBar } from "./stock.js";
import { t, tickets, when } from "./words.js";

function cardOf(event) {
  const [chip, name, about, bar] = [el("span"), el("a", { href: `${ROOT}/sale/${event.id}`, dir: "auto" }), el("p", { class: "quiet" }), new StockBar()];
  return {
    element: el("li", { class: "card" }, el("h2", {}, name), chip, about, bar.element),
    show(latest) {
      setText(name, latest.name);
      showChip(chip, latest);
      setText(about, stateOf(latest) === "scheduled" ? t("index.opens", { when: when(latest.opens_at, latest.time_zone) }) : leftWords(latest));
      bar.show(latest);
    },
  };
}

function leftWords(event) {
  const left = event.available_tickets
    ? t("index.left", { left: event.available_tickets, count: tickets(event.capacity) })
    : t("index.none_left");
  return event.waiting_list_count ? `${left} · ${t("stock.waiting", { count: event.waiting_list_count })}` : left;
}

const list = new SalesList(cardOf, (words) =>
  setText(byId("state"), words || (list.rows.size ? "" : t("index.none"))),
);
await list.load();
