// The organizer's console: the list of sales, the selected sale, and the health of the service.

import { ROOT } from "./api.js";
import { ConsoleSale } from "./console_sale.js";
import { byId, el, setText } from "./elements.js";
import { openForm } from "./sale_form.js";
import { showChip } from "./sale_state.js";
import { SalesList } from "./sales_list.js";
import * as session from "./session.js";
import { focusForm, SENDS_MAIL, showAccount, signInForm } from "./sign_in.js";
import { StockBar } from "./stock.js";
import { inWords, t } from "./words.js";

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
      setText(about, t("console.sold", { sold: latest.tickets_sold, capacity: latest.capacity }));
      bar.show(latest);
    },
  };
}

const report = (words) => {
  if (!session.isOrganizer()) return;
  setText(byId("trouble"), words);
  choose();
};
const list = new SalesList(rowOf, report, { query: "mine=true&", isActive: session.isOrganizer });

/** Shows the health of the service: its parts, and how far SQL is behind Redis. If a part fails, /readyz has status 503. */
async function showHealth() {
  byId("health").hidden = !session.isOrganizer();
  if (byId("health").hidden) return;
  let [state, figures, isReady] = [t("console.no_answer"), "", false];
  try {
    const { status, parts } = await (await fetch(`${ROOT}/readyz`, { cache: "no-store" })).json();
    isReady = status === "ready";
    const failing = Object.entries(parts).filter(([, part]) => !part.ok).map(([name, part]) => (part.reason ? `${name}: ${part.reason}` : name));
    const { lag_entries: entries, lag_seconds: seconds } = parts.persister;
    const lag = entries === null ? t("console.lag_unknown") : entries ? t("console.lag", { count: entries, seconds: Math.round(seconds * 10) / 10 }) : t("console.all_saved");
    figures = ` · ${lag}`;
    state = isReady ? t("console.ready") : t("console.not_well", { parts: failing.join("; ") });
  } catch {
    // No response, or one that cannot be parsed.
  }
  setText(byId("health-state"), state); // screen readers read its changes out; the figures change all the time, so they are not read out
  setText(byId("health-figures"), figures);
  byId("health").className = `health chip ${isReady ? "good" : "bad"}`;
}

/** Opens what the address names: a sale, and one of its parts. */
function choose() {
  if (!location.hash && list.rows.size) history.replaceState(null, "", `#sale-${Math.max(...list.rows.keys())}`);
  const [, text, part = "sale"] = /^#sale-(\d+)(?:\/(people|records))?$/.exec(location.hash) ?? [];
  const id = Number(text);
  for (const [other, row] of list.rows) {
    if (other === id) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }
  if (shown && shown.id !== id) {
    shown.close();
    shown = null;
  }
  if (id && session.isOrganizer()) {
    shown ??= new ConsoleSale(byId("detail"), id, (event) => list.rows.get(id)?.show(event));
    if (shown.part !== part) shown.open(part);
    if (list.rows.has(id)) shown.begin(list.rows.get(id).event);
  }
  else byId("detail").replaceChildren(el("p", { class: "quiet" }, t(list.rows.size ? "console.choose" : "console.none")));
}

async function enter() {
  const allowed = session.isOrganizer();
  byId("workspace").hidden = !allowed;
  byId("login").hidden = allowed;
  setText(byId("trouble"), session.hasEnded() ? inWords({ code: "unauthenticated" }) : session.isSignedIn() && !allowed ? inWords({ code: "forbidden" }) : "");
  if (!allowed) {
    shown?.close();
    shown = null;
    const form = signInForm();
    form.say(t("console.heading"), t("console.sign_in"));
    const command = el("code", {}, "booking user add EMAIL --organizer");
    byId("login").replaceChildren(form.element, el("p", { class: "quiet" }, t("account.make_organizer"), " ", command));
    return focusForm();
  }
  showHealth();
  if (location.hash) choose(); // the sale that the address names need not wait for the list
  await list.load();
}

byId("create").addEventListener("click", () =>
  openForm((event) => {
    list.load();
    location.hash = `sale-${event.id}`;
  }),
);
addEventListener("hashchange", choose);
session.onChange(enter);
setText(byId("no-mail"), SENDS_MAIL ? "" : t("account.no_mail_sent"));
showAccount(byId("account"));
await enter();
setInterval(() => document.hidden || showHealth(), HEALTH_MS);
