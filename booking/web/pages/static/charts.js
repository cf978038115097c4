// Charts of a sale, drawn as SVG in their displayed size. Their figures are also in a table or in text.

import { el, scrollTable, svg } from "./elements.js";
import { axisDay, axisTime, briefly, number, t, zoneName } from "./words.js";

const HEIGHT = 220;
const EDGE = { top: 18, right: 8, bottom: 24, left: 40 };
const LINE = 14;
const BARS_MAX = 60;
const BAR_WIDTH_MAX = 56;

// Series with 1 are drawn above the axis, those with -1 below it.
const SERIES = [
  ["booked", "label.booked", 1],
  ["promoted", "label.promoted", 1],
  ["joined", "label.joined", 1],
  ["cancelled", "label.cancelled", -1],
  ["expired", "label.expired", -1],
];

/** At most 60 bars from `from` to `to` (milliseconds since 1970). All span the same whole number of minutes. */
function barsOf(minutes, from, to) {
  const total = Math.max(1, Math.floor(to / 60_000) - Math.floor(from / 60_000) + 1);
  const step = Math.ceil(total / BARS_MAX) * 60_000;
  const first = Math.floor(from / 60_000) * 60_000;
  const bars = Array.from({ length: Math.ceil((total * 60_000) / step) }, (_, place) => ({
    start: first + place * step,
    ...Object.fromEntries(SERIES.map(([name]) => [name, 0])),
  }));
  for (const minute of minutes) {
    const bar = bars[Math.floor((Date.parse(minute.minute) - first) / step)];
    if (bar) for (const [name] of SERIES) bar[name] += minute[name];
  }
  return { bars, step };
}

/** The next number of 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value);
}

function stacked(bar, sign) {
  return SERIES.filter(([, , side]) => side === sign).reduce((sum, [name]) => sum + bar[name], 0);
}

/** A bar chart with its legend and table, redrawn by `show(minutes, from, to, zone, mark)`. */
export class MinutesChart {
  #picture = el("div", { class: "picture" });
  #legend = el("div");

  constructor(title) {
    this.title = title;
    this.table = new FiguresTable(title);
    this.element = el("div", {}, this.#picture, this.#legend, this.table.element);
  }

  show(minutes, from, to, zone = null, mark = null) {
    const drawn = barsOf(minutes, from, to);
    drawBars(this.#picture, drawn, this.title, zone, mark);
    this.#legend.replaceChildren(legendOf(drawn.bars, zone));
    this.table.show(drawn.bars, zone);
  }
}

/** Draws bars into `place`. `mark` is {time, label}: a vertical line at that time. */
function drawBars(place, { bars, step }, title, zone, mark) {
  const width = Math.max(240, place.clientWidth);
  const top = roundUp(Math.max(...bars.map((bar) => stacked(bar, 1))));
  const below = Math.max(...bars.map((bar) => stacked(bar, -1)));
  const bottom = below ? roundUp(below) : 0;
  const plot = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const y = (value) => EDGE.top + ((top - value) / (top + bottom)) * plot.height;
  const x = (time) => EDGE.left + ((time - bars[0].start) / (bars.length * step)) * plot.width;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-label": title });
  for (const value of new Set([0, top, -bottom, top % 2 ? top : top / 2])) {
    drawing.append(svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: value ? "grid" : "axis" }));
    if (value && Math.abs(y(value) - y(0)) < LINE) continue; // its label would overlap zero's label
    drawing.append(svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(Math.abs(value))));
  }
  const thick = Math.max(1, Math.min(BAR_WIDTH_MAX, (plot.width / bars.length) * 0.72));
  for (const bar of bars) {
    const left = x(bar.start + step / 2) - thick / 2;
    for (const sign of [1, -1]) {
      let from = 0;
      for (const [name] of SERIES.filter(([, , side]) => side === sign)) {
        if (!bar[name]) continue;
        const to = from + sign * bar[name];
        const height = Math.max(1, Math.abs(y(to) - y(from)));
        drawing.append(svg("rect", { x: left, y: Math.min(y(from), y(to)), width: thick, height, class: name }));
        from = to;
      }
    }
  }
  const wanted = Math.max(2, Math.min(bars.length, Math.floor(plot.width / 90)));
  const every = Math.ceil(bars.length / wanted);
  bars.forEach((bar, place) => {
    if (place % every) return;
    const text = (bars.length * step > 86_400_000 ? axisDay : axisTime)(bar.start, zone);
    drawing.append(svg("text", { x: x(bar.start + step / 2), y: HEIGHT - 6, "text-anchor": "middle" }, text));
  });
  if (mark) {
    const bar = bars.findLast(({ start }) => start <= mark.time) ?? bars[0];
    const at = x(bar.start + step / 2); // the precision of the time is one bar
    drawing.append(
      svg("line", { x1: at, x2: at, y1: EDGE.top - 4, y2: HEIGHT - EDGE.bottom, class: "mark" }),
      svg("text", { x: at, y: 11, class: "mark", "text-anchor": at > width / 2 ? "end" : "start" }, mark.label),
    );
  }
  place.replaceChildren(drawing);
}

/** The legend of the series that have values, and the zone of the times at the axis. */
function legendOf(bars, zone) {
  const shown = SERIES.filter(([name]) => bars.some((bar) => bar[name]));
  return el("ul", { class: "legend" }, ...shown.map(([name, label]) => el("li", { class: name }, t(label))), el("li", { class: "zone" }, t("chart.zone", { zone: zoneName(bars[0].start, zone) })));
}

/** The figures as a table, for users who cannot see the chart or want exact numbers. An update changes only its rows, so
 *  it stays open, scrolled and focused. */
class FiguresTable {
  #body = el("tbody");

  constructor(caption) {
    const scroll = scrollTable(caption, [t("chart.from"), ...SERIES.map(([, label]) => t(label))], this.#body);
    this.element = el("details", {}, el("summary", {}, t("chart.table")), scroll);
  }

  show(bars, zone) {
    const busy = bars.filter((bar) => SERIES.some(([name]) => bar[name]));
    this.#body.replaceChildren(
      ...busy.map((bar) => el("tr", {}, el("th", { scope: "row" }, briefly(bar.start, zone)), ...SERIES.map(([name]) => el("td", {}, number(bar[name]))))),
    );
  }
}

/** [name, count] pairs as a list of bars, the largest first. */
export function ranking(counts, label) {
  const entries = counts.toSorted(([, one], [, other]) => other - one);
  const most = Math.max(...entries.map(([, value]) => value));
  return el(
    "ul",
    { class: "ranking", "aria-label": label },
    ...entries.map(([name, value]) => {
      const bar = el("span", { class: "length", "aria-hidden": "true" });
      bar.style.inlineSize = `${Math.max(1, (value / most) * 100)}%`;
      return el("li", {}, el("span", {}, name), el("span", { class: "amount" }, number(value)), bar);
    }),
  );
}

/** A line chart of the last values, which shows the current rate. */
export function drawPulse(place, values) {
  const [width, height] = [Math.max(160, place.clientWidth), 44];
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${((at / (values.length - 1)) * width).toFixed(1)},${(height - 3 - (value / most) * (height - 8)).toFixed(1)}`);
  place.replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "pulse", role: "img", "aria-label": t("chart.pulse", { most }) }, svg("polyline", { points: points.join(" ") })),
  );
}
