// The organizer's console: all sales on one side, the chosen one on the other, and how the service itself is.

import { call } from "./api.js";
import { ConsoleSale } from "./console_sale.js";
import { byId, el, setText } from "./elements.js";
import { openForm } from "./sale_form.js";
import { showChip } from "./sale_state.js";
import * as session from "./session.js";
import { focusForm, showAccount, signInForm } from "./sign_in.js";
import { StockBar } from "./stock.js";
import { count, inWords, number } from "./words.js";

const SALES_MS = 5_000;
const HEALTH_MS = 3_000;
const rows = new Map();
let shown = null;

function rowOf(event) {
  const row = { name: el("span", { class: "name" }), chip: el("span"), about: el("span", { class: "quiet" }), bar: new StockBar() };
  row.link = el("a", { href: `#sale-${event.id}` }, row.name, row.chip, row.about, row.bar.element);
  row.element = el("li", {}, row.link);
  return row;
}

function showRow(event) {
  const row = rows.get(event.id) ?? rowOf(event);
  setText(row.name, event.name);
  showChip(row.chip, event);
  setText(row.about, `${number(event.tickets_sold)} of ${number(event.capacity)} sold`);
  row.bar.show(event);
  rows.set(event.id, row);
  return row.element;
}

async function loadSales(after = null) {
  if (!session.isOrganizer()) return;
  try {
    const answer = await call("GET", `/events?limit=20${after ? `&starting_after=${after}` : ""}`);
    const elements = answer.data.map(showRow);
    if (after) byId("sales").append(...elements);
    else byId("sales").prepend(...elements.filter((element) => !element.isConnected));
    if (after || rows.size <= answer.data.length) byId("older").hidden = !answer.has_more;
    setText(byId("trouble"), "");
  } catch (refusal) {
    setText(byId("trouble"), inWords(refusal));
  }
}

/** How the service is: its parts, and how far SQL is behind Redis. It answers 503 where a part is not well. */
async function showHealth() {
  if (!session.isOrganizer()) return setText(byId("health"), "");
  let text = "The service does not answer";
  let well = false;
  try {
    const { status, parts } = await (await fetch("/readyz", { cache: "no-store" })).json();
    well = status === "ready";
    const failing = Object.entries(parts).filter(([, part]) => !part.ok).map(([name, part]) => (part.reason ? `${name}: ${part.reason}` : name));
    const { lag_entries: entries, lag_seconds: seconds } = parts.persister;
    const lag = entries ? `${count(entries, "change")} to save, the oldest ${seconds.toFixed(1)} s` : "all saved";
    text = well ? `Ready · ${lag}` : `Not well: ${failing.join("; ")} · ${entries === null ? "lag unknown" : lag}`;
  } catch {
    // It said nothing, or nothing that can be read.
  }
  setText(byId("health"), text);
  byId("health").className = `health chip ${well ? "good" : "bad"}`;
}

function choose() {
  const id = Number(/^#sale-(\d+)$/.exec(location.hash)?.[1]);
  for (const [other, row] of rows) {
    if (other === id) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }
  if (shown?.id === id) return;
  shown?.close();
  shown = null;
  if (id && session.isOrganizer()) shown = new ConsoleSale(byId("detail"), id, showRow);
  else byId("detail").replaceChildren(el("p", { class: "quiet" }, rows.size ? "Choose a sale, or create one." : "There are no sales yet. Create the first."));
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
  await Promise.all([loadSales(), showHealth()]);
  if (!location.hash && rows.size) history.replaceState(null, "", `#sale-${Math.max(...rows.keys())}`);
  choose();
}

byId("create").addEventListener("click", () =>
  openForm(null, (event) => {
    loadSales();
    location.hash = `sale-${event.id}`;
  }),
);
byId("older").addEventListener("click", () => loadSales(Math.min(...rows.keys())));
addEventListener("hashchange", choose);
session.onChange(enter);
showAccount(byId("account"));
await enter();
setInterval(() => document.hidden || loadSales().then(choose), SALES_MS);
setInterval(() => document.hidden || showHealth(), HEALTH_MS);
