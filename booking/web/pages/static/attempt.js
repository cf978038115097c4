// Makes a change exactly once, even if the request must be repeated: every attempt has the same Idempotency-Key, and the
// service responds to a repetition with its first response.

import { call } from "./api.js";
import { token } from "./session.js";

const TRIES_MAX = 8;
const PAUSE_MS_MAX = 8_000;

// After these codes, the change was not made, or its outcome is unknown. The same call may be repeated.
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
  // crypto.randomUUID is missing if the page was loaded over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Posts `body`. Calls `onWait(refusal, ms)` before each pause. Throws the Refusal of the last attempt. */
export async function attempt(path, body, onWait) {
  const key = newKey();
  const startToken = token();
  for (let tries = 1; ; tries += 1) {
    try {
      return await call("POST", path, { body, key });
    } catch (refusal) {
      if (!REPEATED.has(refusal.code) || tries === TRIES_MAX) throw refusal;
      // All clients may have lost their connection at the same moment: random pauses spread their retries.
      const backoff = Math.min(PAUSE_MS_MAX, 500 * 2 ** tries) * (0.5 + Math.random() / 2);
      const pause = Math.max(refusal.retryAfter * 1000, backoff);
      onWait(refusal, pause);
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (token() !== startToken) throw refusal; // another user has signed in: do not act in that user's name
    }
  }
}
