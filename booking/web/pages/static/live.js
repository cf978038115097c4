// Tells this page what changes, over one connection for all tabs of this browser. Over HTTP/1.1 a browser opens at most
// six connections to a server, so a connection for each tab would leave none for a click.
//
// The tabs of one user elect a leader by a Web Lock. The leader holds the connection, and sends what it receives to the
// others over a BroadcastChannel. A hidden tab takes part only if it waits for something. If a browser has no locks (a
// page over plain HTTP) or no channels, each visible tab has a connection of its own.

import { ROOT } from "./api.js";
import { addSample, bounds } from "./clock.js";
import * as session from "./session.js";
import { Stream } from "./stream.js";

export { ownBooking } from "./stream.js";

const EVENTS_MAX = 32; // the most events that a stream may name
const ANSWER_MS_MAX = 3_000; // a leader that does not answer for so long is frozen, and loses its place
const SILENCE_MS_MAX = 20_000; // a leader sends something at least every 16 s
const CLOCK_CHECK_MS = 1_000;
const CLOCK_JUMP_MS = 10_000; // if two clocks diverge by this between two checks, this computer slept, or a clock was set
const JOIN_MS = 30; // tabs that open together are one new connection

const canShare = "locks" in navigator && "BroadcastChannel" in window;
const clockDifference = () => Date.now() - performance.now();
const tab = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join("");

const members = new Set(); // what listens in this page
let group = null; // what this page takes part in; null: in nothing

/** The tabs of one user, as one of them sees them. */
class Group {
  #user = session.userId();
  #name = `booking.live ${ROOT} ${this.#user}`;
  #channel = canShare ? new BroadcastChannel(this.#name) : null;
  #request = null; // asks for the lock
  #release = () => {};
  #stream = null; // of the leader
  #peers = new Map(); // the events of each other tab
  #latest = new Map(); // the leader's last message of each kind and event
  #connected = null;
  #silence = 0;
  #renewal = 0;

  constructor() {
    if (!canShare) {
      this.#lead();
      return;
    }
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#stand();
    this.greet();
  }

  isOfUser(user) {
    return user === this.#user;
  }

  /** Leaves: another tab becomes the leader if this one is. */
  leave() {
    clearTimeout(this.#silence);
    clearTimeout(this.#renewal);
    this.#request?.abort();
    this.#stepDown();
    this.#say({ kind: "bye" });
    this.#channel?.close();
  }

  /** Asks the leader for what it knows, and tells it what this page listens to. */
  greet() {
    if (this.#stream) {
      this.#rename();
      for (const message of this.#latest.values()) deliver(message);
    } else {
      this.#say({ kind: "hello", events: ownEvents(), visible: !document.hidden, at: performance.now() });
      this.#expect(ANSWER_MS_MAX);
    }
  }

  /** The connection may be dead without an error. */
  restart() {
    if (this.#stream) this.#stream.restart();
    else this.greet();
  }

  #say(message) {
    this.#channel?.postMessage({ ...message, tab });
  }

  /** Asks for the lead; `steal` takes it from a leader that does not answer. */
  #stand(steal = false) {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    const options = steal ? { steal } : { signal: request.signal };
    navigator.locks
      .request(this.#name, options, () => {
        if (request.signal.aborted || group !== this) return null;
        return new Promise((resolve) => {
          this.#release = resolve;
          this.#lead();
        });
      })
      .catch(() => {
        if (group !== this || this.#request !== request || request.signal.aborted) return;
        this.#stepDown(); // another tab has taken the lead, because this one was frozen
        this.#stand();
        this.greet();
      });
  }

  #lead() {
    clearTimeout(this.#silence);
    this.#latest.clear();
    this.#stream = new Stream(() => this.#events(), {
      onMessage: (name, data) => {
        this.#latest.set(`${name} ${data.event_id ?? data.id}`, [name, data]);
        if (name === "gone") this.#latest.delete(`availability ${data.event_id}`);
        deliver([name, data]);
        this.#say({ kind: "message", message: [name, data] });
      },
      onLink: (connected) => {
        this.#link(connected);
        this.#say(connected ? { kind: "who" } : { kind: "link", connected });
      },
      onSign: () => this.#say({ kind: "sign" }),
    });
    this.#say({ kind: "who" });
  }

  #stepDown() {
    this.#stream?.close();
    this.#stream = null;
    this.#release();
    this.#release = () => {};
  }

  /** The events of all tabs, this one's first. */
  #events() {
    return [...new Set([...ownEvents(), ...[...this.#peers.values()].flat()])].slice(0, EVENTS_MAX);
  }

  /** Connects again if events are wanted that the connection does not name. */
  #rename() {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => {
      const named = this.#stream?.named ?? [];
      if (this.#events().some((id) => !named.includes(id))) this.#stream?.restart();
    }, JOIN_MS);
  }

  #link(connected) {
    this.#connected = connected;
    for (const member of members) member.handlers.onLink(connected);
  }

  /** A leader that is silent for too long is greeted, and loses its place if it does not answer. */
  #expect(ms) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      if (document.hidden) this.#expect(ms); // a hidden tab's clock is slow
      else if (ms === ANSWER_MS_MAX) this.#stand(true);
      else this.greet();
    }, ms);
  }

  #hear({ kind, tab: from, to, events, visible, at, clock, connected, message, messages }) {
    if (kind === "hello") {
      this.#peers.set(from, events);
      if (!this.#stream) return;
      if (document.hidden && visible) {
        this.#stepDown();
        this.#stand();
        return;
      }
      const known = [...this.#latest.values()].filter(([, data]) => events === null || events.includes(data.event_id ?? data.id));
      this.#say({ kind: "state", to: from, at, clock: bounds(), connected: this.#connected, messages: known });
      this.#rename();
      return;
    }
    if (kind === "bye") this.#peers.delete(from);
    if (this.#stream || kind === "bye" || (to && to !== tab)) return;
    this.#expect(SILENCE_MS_MAX);
    if (kind === "who") this.greet();
    if (kind === "link") this.#link(connected);
    if (kind === "message") deliver(message);
    if (kind === "state") {
      const [earliest, latest] = clock;
      addSample(at, performance.now(), earliest, latest - earliest);
      if (connected !== null) this.#link(connected);
      messages.forEach(deliver);
    }
  }
}

const ownEvents = () => [...new Set([...members].flatMap((member) => member.events()))];

function deliver([name, data]) {
  for (const { handlers, eventId } of members) {
    const about = data.event_id ?? data.id;
    if (eventId !== null && eventId !== about) continue;
    if (name === "availability") handlers.onEvent(data);
    if (name === "booking") handlers.onBooking(data.booking, about);
    if (name === "gone") handlers.onGone(about);
  }
}

/** Takes part while this page is visible, or waits for something. */
function update() {
  const takesPart = members.size > 0 && (!document.hidden || [...members].some((member) => member.isPatient));
  if (group && !(takesPart && group.isOfUser(session.userId()))) {
    const left = group;
    group = null;
    left.leave();
  }
  if (takesPart && !group) group = new Group();
}

let difference = clockDifference();

/** While a computer sleeps, performance.now() may stop. A new response of the service corrects the clock. */
function checkClocks() {
  if (Math.abs(clockDifference() - difference) > CLOCK_JUMP_MS) group?.restart();
  difference = clockDifference();
}

document.addEventListener("visibilitychange", update);
addEventListener("pagehide", () => {
  group?.leave();
  group = null;
});
addEventListener("pageshow", ({ persisted }) => persisted && update());
session.onChange(update);
setInterval(checkClocks, CLOCK_CHECK_MS);

/** Listens to one event, or to all bookings of the user, until `close()`. */
export class Live {
  #isPatient = false;

  /**
   * `handlers` has onEvent(event), onBooking(booking or null, eventId), onLink(connected), onGone(eventId).
   * If `eventId` is null, `events()` names the events that are told besides the user's bookings.
   */
  constructor(eventId, handlers, events = () => [eventId]) {
    this.eventId = eventId;
    this.handlers = handlers;
    this.events = events;
    members.add(this);
    group ? group.greet() : update();
  }

  /** Whether this listens on even if the page is hidden, because its user waits for something. */
  get isPatient() {
    return this.#isPatient;
  }

  set isPatient(value) {
    if (value === this.#isPatient) return;
    this.#isPatient = value;
    update();
  }

  /** Asks again for everything. */
  restart() {
    group?.restart();
  }

  /** Listens to other events from now on. */
  rename() {
    group?.greet();
  }

  close() {
    members.delete(this);
    update();
  }
}
