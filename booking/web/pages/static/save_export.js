// Saves the bookings of a sale as a file.

import { Refusal, request } from "./api.js";
import { el } from "./elements.js";
import { inWords, t } from "./words.js";

const KEPT_MS = 60_000; // until the browser has read it

/** A link cannot send the token, so the file is loaded by fetch and then saved through a link to the data. */
export async function saveExport(eventId, format, query, say) {
  say(t("records.preparing"));
  try {
    const response = await request("GET", `/events/${eventId}/bookings?${new URLSearchParams([...query, ["format", format]])}`);
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? `event-${eventId}.${format}`;
    const url = URL.createObjectURL(await response.blob().catch(() => Promise.reject(new Refusal("no_answer"))));
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
    say(t("records.saved", { name }), true);
  } catch (refusal) {
    say(inWords(refusal));
  }
}
