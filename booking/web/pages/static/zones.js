// Times in a named time zone, for inputs of type datetime-local, which know no zone.

const DAY_MS = 86_400_000;
const formats = new Map();

/** The zone of this computer. */
export const here = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

/** The zones that this browser knows. */
export const zones = () => Intl.supportedValuesOf?.("timeZone") ?? [];

export function isZone(name) {
  try {
    return Boolean(formatOf(name));
  } catch {
    return false;
  }
}

function formatOf(zone) {
  if (!formats.has(zone)) {
    const two = "2-digit";
    formats.set(zone, new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", year: "numeric", month: two, day: two, hour: two, minute: two, second: two }));
  }
  return formats.get(zone);
}

/** What clocks in the zone show at `ms`, as the milliseconds at which clocks in UTC show the same. */
function wallClock(ms, zone) {
  const part = Object.fromEntries(formatOf(zone).formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
}

/** A time as `2026-11-26T20:00:00`, as clocks in the zone show it; empty for null. */
export function toInput(iso, zone) {
  return iso === null ? "" : new Date(wallClock(Date.parse(iso), zone)).toISOString().slice(0, 19);
}

/** The times at which clocks in the zone show `text`, in order: none if they skip it, two if they are set back over it. */
export function fromInput(text, zone) {
  const wall = Date.parse(`${text}Z`);
  if (Number.isNaN(wall)) return []; // a year of five digits
  const times = [-DAY_MS, DAY_MS].map((away) => wall - (wallClock(wall + away, zone) - (wall + away)));
  return [...new Set(times)].filter((ms) => wallClock(ms, zone) === wall).sort((one, other) => one - other).map((ms) => new Date(ms).toISOString());
}
