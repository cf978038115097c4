// The server's time, worked out from its answers. The browser's own clock may be hours off, or be set while we look.

const DATE_PRECISION_MS = 2000; // a Date header has whole seconds, and the server writes it anew once a second

// Bounds of what has to be added to performance.now(); each answer can only narrow them.
let earliest = -Infinity;
let latest = Infinity;

/** Learns that the server's clock said `time` (up to `precision` later) between two moments of performance.now(). */
export function learn(sent, received, time, precision = 0) {
  if (!Number.isFinite(time)) return;
  const low = time - received;
  const high = time + precision - sent;
  if (low > latest || high < earliest) {
    [earliest, latest] = [low, high]; // one of the clocks was set, or this computer slept: begin anew
  } else {
    earliest = Math.max(earliest, low);
    latest = Math.min(latest, high);
  }
}

/** Learns from any answer of our own server. */
export function learnFrom(response, sent) {
  learn(sent, performance.now(), Date.parse(response.headers.get("Date")), DATE_PRECISION_MS);
}

/** What the server's time is at least: before an hour that has come by this, nobody is sent into a refusal. */
export function atLeast() {
  return performance.now() + earliest;
}

/** What the server's time is at most: what runs out later than this has certainly not run out. */
export function atMost() {
  return performance.now() + latest;
}

/** The server's time in milliseconds since 1970; NaN before its first answer. */
export function now() {
  return performance.now() + (earliest + latest) / 2;
}
