// The organizer's console: all sales on one side, the chosen one on the other, and how the service itself is.

import { ConsoleSale } from "./console_sale.js";
import { byId, el, setText } from "./elements.js";
import { openForm } from "./sale_form.js";
import { showChip } from "./sale_state.js";
import { SalesList } from "./sales_list.js";
import * as session from "./session.js";
import { focusForm, showAccount, signInForm } from "./sign_in.js";
import { StockBar } from "./stock.js";
import { count, inWords, number } from "./words.js";

const HEALTH_MS = 3_000;
let shown = null;

function rowOf(event) {
  const [name, chip, about, bar] = [el("span", { class: "name", dir: "auto" }), el("span"), el("span", { class: "quiet" }), new StockBar()];
  const link = el("a", { href: `#sale-${event.id}` }, name, chip, about, bar.element);
  return {
    link,
    element: el("li", {}, link),
    show(latest) {
      setText(name, latest.name);
      showChip(chip, latest);
      setText(about, `${number(latest.tickets_sold)} of ${number(latest.capacity)} sold`);
      bar.show(latest);
    },
  };
}

const list = new SalesList(rowOf, (words) => {
  if (!session.isOrganizer()) return;
  setText(byId("trouble"), words);
  choose();
});

/** How the service is: its parts, and how far SQL is behind Redis. It answers 503 where a part is not well. */
async function showHealth() {
  byId("health").hidden = !session.isOrganizer();
  if (byId("health").hidden) return;
  let [state, figures, well] = ["The service does not answer", "", false];
  try {
    const { status, parts } = await (await fetch("/readyz", { cache: "no-store" })).json();
    well = status === "ready";
    const failing = Object.entries(parts).filter(([, part]) => !part.ok).map(([name, part]) => (part.reason ? `${name}: ${part.reason}` : name));
    const { lag_entries: entries, lag_seconds: seconds } = parts.persister;
    figures = entries === null ? " · lag unknown" : entries ? ` · ${count(entries, "change")} to save, the oldest ${seconds.toFixed(1)} s` : " · all saved";
    state = well ? "Ready" : `Not well: ${failing.join("; ")}`;
  } catch {
    // It said nothing, or nothing that can be read.
  }
  setText(byId("health-state"), state); // is read out when it changes; the figures, which always do, are not
  setText(byId("health-figures"), figures);
  byId("health").className = `health chip ${well ? "good" : "bad"}`;
}

function choose() {
  if (!location.hash && list.rows.size) history.replaceState(null, "", `#sale-${Math.max(...list.rows.keys())}`);
  const id = Number(/^#sale-(\d+)$/.exec(location.hash)?.[1]);
  for (const [other, row] of list.rows) {
    if (other === id) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }
  if (shown?.id === id) return;
  shown?.close();
  shown = null;
  if (id && session.isOrganizer()) shown = new ConsoleSale(byId("detail"), id, (event) => list.rows.get(id)?.show(event));
  else byId("detail").replaceChildren(el("p", { class: "quiet" }, list.rows.size ? "Choose a sale, or create one." : "There are no sales yet. Create the first."));
}

async function enter() {
  const may = session.isOrganizer();
  byId("desk").hidden = !may;
  byId("gate").hidden = may;
  setText(byId("trouble"), session.hasEnded() ? inWords({ code: "unauthenticated" }) : session.isSignedIn() && !may ? inWords({ code: "forbidden" }) : "");
  if (!may) {
    shown?.close();
    shown = null;
    const form = signInForm();
    form.say("Organizer’s console", "Sign in with an organizer’s account.");
    byId("gate").replaceChildren(form.element);
    return focusForm();
  }
  showHealth();
  await list.load();
}

byId("create").addEventListener("click", () =>
  openForm(null, (event) => {
    list.load();
    location.hash = `sale-${event.id}`;
  }),
);
addEventListener("hashchange", choose);
session.onChange(enter);
showAccount(byId("account"));
await enter();
setInterval(() => document.hidden || showHealth(), HEALTH_MS);
