// Receives an event's changes as Server-Sent Events. It reads them with fetch, because EventSource cannot send the token.

import { call, request } from "./api.js";
import { isSignedIn } from "./session.js";

const SILENCE_MS_MAX = 40_000; // the server sends something at least every 15 s
const PAUSE_MS_MAX = 15_000;
const CLOCK_CHECK_MS = 1_000;
const CLOCK_JUMP_MS = 10_000; // if two clocks diverge by this between two checks, this computer slept, or a clock was set

const clockDifference = () => Date.now() - performance.now();

/** Parses a stream's text: `read(text)` returns the messages that `text` completes, as {id, event, data}. */
export class StreamReader {
  #rest = "";

  read(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map((block) => {
      const message = { id: null, event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, value] = /^([^:]*): ?(.*)$/.exec(line) ?? [null, line, ""];
        if (name === "data") message.data += (message.data && "\n") + value;
        else if (name in message) message[name] = value;
      }
      return message;
    });
  }
}

/** The signed-in user's live booking of an event, or null. */
export async function ownBooking(eventId) {
  try {
    return (await call("GET", `/events/${eventId}/booking`)).data;
  } catch (refusal) {
    if (refusal.code === "booking_not_found") return null;
    throw refusal;
  }
}

/** Listens to one event until `close()`. It reconnects after each failure, with growing pauses. */
export class Live {
  #eventId;
  #handlers;
  #lastId = null;
  #failures = 0;
  #connection = null;
  #wake = () => {};
  #closed = false;
  #clockDifference = clockDifference();
  #clockCheck = setInterval(() => this.#checkClocks(), CLOCK_CHECK_MS);

  /** `handlers` has onEvent(event), onBooking(booking or null), onLink(connected), onGone(). */
  constructor(eventId, handlers) {
    this.#eventId = eventId;
    this.#handlers = handlers;
    addEventListener("online", this.restart);
    this.#run();
  }

  /** Reconnects: a user has signed in or out, or the connection may be dead without an error. */
  restart = () => {
    this.#failures = 0;
    this.#wake();
    this.#connection.abort("restart");
  };

  close() {
    this.#closed = true;
    clearInterval(this.#clockCheck);
    removeEventListener("online", this.restart);
    this.restart();
  }

  /** While a computer sleeps, performance.now() may stop. A new response of the service corrects the clock. */
  #checkClocks() {
    if (Math.abs(clockDifference() - this.#clockDifference) > CLOCK_JUMP_MS) this.restart();
    this.#clockDifference = clockDifference();
  }

  async #run() {
    while (!this.#closed) {
      const connection = (this.#connection = new AbortController());
      try {
        await this.#listen(connection);
      } catch (failure) {
        if (failure.code === "event_not_found") {
          this.#handlers.onGone();
          return;
        }
        if (failure.code === "unauthenticated") continue; // the session has ended, but listening needs none
        if (failure.status) await this.#poll(connection.signal);
      }
      if (connection.signal.reason === "restart") continue;
      this.#handlers.onLink(false);
      await this.#pause();
    }
  }

  async #listen(connection) {
    const headers = this.#lastId === null ? {} : { "Last-Event-ID": this.#lastId };
    const options = { headers, signal: connection.signal };
    let silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
    try {
      const response = await request("GET", `/events/${this.#eventId}/live`, options);
      this.#handlers.onLink(true);
      this.#failures = 0;
      const [reader, decoder] = [new StreamReader(), new TextDecoder()];
      const stream = response.body.getReader();
      for (let chunk = await stream.read(); !chunk.done; chunk = await stream.read()) {
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
        for (const message of reader.read(decoder.decode(chunk.value, { stream: true }))) this.#take(message);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #take({ id, event, data }) {
    if (id !== null) this.#lastId = id;
    if (event === "availability") this.#handlers.onEvent(JSON.parse(data));
    if (event === "booking") this.#handlers.onBooking(JSON.parse(data));
  }

  /** Loads the event once if the stream was refused, for example because too many listen: so the page is updated. */
  async #poll(signal) {
    try {
      this.#handlers.onEvent((await call("GET", `/events/${this.#eventId}`)).data);
      const booking = isSignedIn() ? await ownBooking(this.#eventId) : undefined;
      if (booking !== undefined && !signal.aborted) this.#handlers.onBooking(booking);
    } catch {
      // The next attempt follows after the pause.
    }
  }

  async #pause() {
    const longest = Math.min(PAUSE_MS_MAX, 500 * 2 ** this.#failures);
    this.#failures += 1;
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, longest * (0.5 + Math.random() / 2));
    });
  }
}
