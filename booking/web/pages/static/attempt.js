// A click, from the wish to the proof. Each passes through four states:
//
//   wanted   it waits for the clicks before it
//   sent     its request is under way, or is about to be repeated because no answer came
//   known    its outcome is known: by the answer, or because the stream shows what it was to bring about
//   settled  the stream shows it, or the booking was read again
//
// A change is made once even if its request is repeated: each repetition has the same Idempotency-Key, and the service
// responds with its first response.

import { call } from "./api.js";
import { userId } from "./session.js";

const TRIES_MAX = 8;
const PAUSE_MS_MAX = 8_000;
const PROOF_MS_MAX = 15_000; // under load, the service reads each sale less often

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

/**
 * One click. `isProvenBy(booking)` says whether a booking (or null) shows that the change was made; it is null if the
 * answer has more to tell than a booking, so that nothing else can replace it.
 */
export class Attempt {
  state = "wanted";
  repeated = false;
  #prove = () => {};
  #proof = new Promise((resolve) => (this.#prove = resolve));

  constructor(path, body, isProvenBy) {
    this.path = path;
    this.body = body;
    this.isProvenBy = isProvenBy;
  }

  /** What the stream shows of the user's booking. */
  see(booking) {
    if (this.state !== "wanted" && this.isProvenBy?.(booking)) this.#prove(booking);
  }

  /** Sends it until its outcome is known; returns the booking. Throws the Refusal of the last try. */
  async send(onWait) {
    this.state = "sent";
    const [key, user] = [newKey(), userId()];
    const proven = this.#proof.then((booking) => ({ data: booking, isProof: true }));
    for (let tries = 1; ; tries += 1) {
      try {
        // A rejection after the proof has no one who waits for it, and needs none.
        const { data, isProof } = await Promise.race([call("POST", this.path, { body: this.body, key }), proven]);
        this.state = isProof || !this.isProvenBy ? "settled" : "known";
        return data;
      } catch (refusal) {
        if (!REPEATED.has(refusal.code) || tries === TRIES_MAX) throw refusal;
        this.repeated = true;
        // All clients may have lost their connection at the same moment: random pauses spread their retries.
        const backoff = Math.min(PAUSE_MS_MAX, 500 * 2 ** tries) * (0.5 + Math.random() / 2);
        const pause = Math.max(refusal.retryAfter * 1000, backoff);
        onWait(refusal, pause);
        await Promise.race([new Promise((resolve) => setTimeout(resolve, pause)), proven]);
        if (userId() !== user) throw refusal; // another user has signed in: do not act in that user's name
      }
    }
  }
}

/** The clicks of a page on one sale: each is sent when the outcome of the one before it is known. */
export class Clicks {
  #handlers;
  #queue = [];
  #known = null; // the last attempt whose outcome is known, until it is settled
  #proofTimer = 0;

  /**
   * `handlers` has onWait(refusal, ms), onKnown(attempt, booking), onRefused(attempt, refusal), onUnproven(), and
   * onIdle(). After `clear()` none is called for earlier clicks.
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Whether a click is under way. */
  get isBusy() {
    return this.#queue.length > 0;
  }

  /** Adds a click. A second click for the same change is the same click. Returns whether it is a new one. */
  want(attempt) {
    if (this.#queue.some(({ path }) => path === attempt.path)) return false;
    this.#queue.push(attempt);
    if (this.#queue.length === 1) this.#run(this.#queue);
    return true;
  }

  /** What the stream shows of the user's booking: it may prove what no answer has told. */
  see(booking) {
    this.#queue[0]?.see(booking);
    if (this.#known?.isProvenBy(booking)) this.#settle();
  }

  /** Forgets all clicks: another user has signed in. */
  clear() {
    this.#queue = [];
    this.#settle();
  }

  async #run(queue) {
    const isCurrent = () => queue === this.#queue;
    while (queue.length && isCurrent()) {
      const [attempt] = queue;
      try {
        const booking = await attempt.send((...wait) => isCurrent() && this.#handlers.onWait(...wait));
        if (!isCurrent()) return;
        queue.shift();
        this.#await(attempt);
        this.#handlers.onKnown(attempt, booking);
      } catch (refusal) {
        if (!isCurrent()) return;
        queue.length = 0; // the clicks after it rested on this one
        this.#handlers.onRefused(attempt, refusal);
      }
    }
    if (isCurrent()) this.#handlers.onIdle();
  }

  /** The stream shows a known change soon, unless it was undone between two of its reads. Then the booking is read. */
  #await(attempt) {
    this.#settle();
    if (attempt.state === "settled") return;
    this.#known = attempt;
    this.#proofTimer = setTimeout(() => {
      this.#settle();
      this.#handlers.onUnproven();
    }, PROOF_MS_MAX);
  }

  #settle() {
    clearTimeout(this.#proofTimer);
    if (this.#known) this.#known.state = "settled";
    this.#known = null;
  }
}
