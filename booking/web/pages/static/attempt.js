// A change that is made once, however often it has to be asked for: every repetition carries the same Idempotency-Key,
// and the service answers a repetition with what it decided the first time.

import { call } from "./api.js";
import { token } from "./session.js";

const TRIES_MAX = 8;
const PAUSE_MS_MAX = 8_000;

// After these nobody knows whether the change was made, or it certainly was not; the same call may simply be repeated.
const REPEATED = new Set([
  "no_answer",
  "outcome_unknown",
  "inventory_unavailable",
  "database_unavailable",
  "identity_unavailable",
  "overloaded",
  "rate_limited",
]);

function newKey() {
  // crypto.randomUUID is missing where a page came over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Posts `body`; `onWait(refusal, ms)` hears of each pause before a repetition. Throws the Refusal that is final. */
export async function attempt(path, body, onWait) {
  const key = newKey();
  const whose = token();
  for (let tries = 1; ; tries += 1) {
    try {
      return await call("POST", path, { body, key });
    } catch (refusal) {
      if (!REPEATED.has(refusal.code) || tries === TRIES_MAX) throw refusal;
      // Everybody lost the same connection at the same moment: chance spreads them out when they come back.
      const grown = Math.min(PAUSE_MS_MAX, 500 * 2 ** tries) * (0.5 + Math.random() / 2);
      const pause = Math.max(refusal.retryAfter * 1000, grown);
      onWait(refusal, pause);
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (token() !== whose) throw refusal; // never in the name of whoever has sat down meanwhile
    }
  }
}
