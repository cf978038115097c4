// The server's time, estimated from its responses. The browser's clock may be wrong by hours, or be set at any time.

const DATE_PRECISION_MS = 2000; // a Date header has whole seconds, and the server updates it once a second

// Bounds of the offset from performance.now() to the server's time. Each response narrows them.
let earliest = -Infinity;
let latest = Infinity;

/** Adds a sample: the server's clock showed `time` to `time + precision` between two values of performance.now(). */
export function addSample(sent, received, time, precision = 0) {
  if (!Number.isFinite(time)) return;
  const low = time - received;
  const high = time + precision - sent;
  if (low > latest || high < earliest) {
    [earliest, latest] = [low, high]; // one of the clocks was set, or this computer slept: start again
  } else {
    earliest = Math.max(earliest, low);
    latest = Math.min(latest, high);
  }
}

/** Adds the Date header of any response of the server as a sample. */
export function addResponse(response, sent) {
  addSample(sent, performance.now(), Date.parse(response.headers.get("Date")), DATE_PRECISION_MS);
}

/** The lower bound of the server's time. If an opening time has passed by it, the server does not refuse as too early. */
export function atLeast() {
  return performance.now() + earliest;
}

/** The upper bound of the server's time. A deadline later than this has certainly not passed. */
export function atMost() {
  return performance.now() + latest;
}

/** The server's time in milliseconds since 1970; NaN before its first response. */
export function now() {
  return performance.now() + (earliest + latest) / 2;
}

/** Whether the server's time is known: it is not before its first response. */
export const isKnown = () => latest < Infinity;

/** Both bounds of the server's time now, in milliseconds since 1970. Before its first response they are infinite. */
export const bounds = () => [atLeast(), atMost()];
