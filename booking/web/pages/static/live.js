// An event as it changes, over Server-Sent Events read with fetch: an EventSource could not send the token.

import { call, request } from "./api.js";
import { isSignedIn } from "./session.js";

const SILENCE_MS_MAX = 40_000; // the server says something at least every 15 s
const PAUSE_MS_MAX = 15_000;
const BEAT_MS = 1_000;
const SLEEP_MS_MIN = 10_000; // two clocks that part by so much between two beats: this computer slept, or one was set

const parting = () => Date.now() - performance.now();

/** Takes a stream's text apart: `read(text)` returns the messages that it completes, as {id, event, data}. */
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

/** Listens to one event until it is closed; comes back after every break, and more slowly the longer one lasts. */
export class Live {
  #eventId;
  #told;
  #lastId = null;
  #breaks = 0;
  #connection = null;
  #wake = () => {};
  #closed = false;
  #parting = parting();
  #beat = setInterval(() => this.#afterSleep(), BEAT_MS);

  /** `told` has onEvent(event), onBooking(booking or null), onLink(connected), onGone(). */
  constructor(eventId, told) {
    this.#eventId = eventId;
    this.#told = told;
    addEventListener("online", this.restart);
    this.#run();
  }

  /** Connects anew: somebody has signed in or out, or the connection may be dead without having said so. */
  restart = () => {
    this.#breaks = 0;
    this.#wake();
    this.#connection.abort("hung up");
  };

  close() {
    this.#closed = true;
    clearInterval(this.#beat);
    removeEventListener("online", this.restart);
    this.restart();
  }

  /** In a computer that sleeps, performance.now() may stand still; an answer of the service sets that right. */
  #afterSleep() {
    if (Math.abs(parting() - this.#parting) > SLEEP_MS_MIN) this.restart();
    this.#parting = parting();
  }

  async #run() {
    while (!this.#closed) {
      const connection = (this.#connection = new AbortController());
      try {
        await this.#listen(connection);
      } catch (failure) {
        if (failure.code === "event_not_found") {
          this.#told.onGone();
          return;
        }
        if (failure.code === "unauthenticated") continue; // the session has ended; anyone may listen without one
        if (failure.status) await this.#ask(connection.signal);
      }
      if (connection.signal.reason === "hung up") continue;
      this.#told.onLink(false);
      await this.#pause();
    }
  }

  async #listen(connection) {
    const headers = this.#lastId === null ? {} : { "Last-Event-ID": this.#lastId };
    const options = { headers, signal: connection.signal };
    let silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
    try {
      const response = await request("GET", `/events/${this.#eventId}/live`, options);
      this.#told.onLink(true);
      this.#breaks = 0;
      const [reader, decoder] = [new StreamReader(), new TextDecoder()];
      const stream = response.body.getReader();
      for (let piece = await stream.read(); !piece.done; piece = await stream.read()) {
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
        for (const message of reader.read(decoder.decode(piece.value, { stream: true }))) this.#take(message);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #take({ id, event, data }) {
    if (id !== null) this.#lastId = id;
    if (event === "availability") this.#told.onEvent(JSON.parse(data));
    if (event === "booking") this.#told.onBooking(JSON.parse(data));
  }

  /** Asks once where the stream was refused, for want of room: the page moves on, if not by itself. */
  async #ask(signal) {
    try {
      this.#told.onEvent((await call("GET", `/events/${this.#eventId}`)).data);
      const booking = isSignedIn() ? await ownBooking(this.#eventId) : undefined;
      if (booking !== undefined && !signal.aborted) this.#told.onBooking(booking);
    } catch {
      // It will be asked again after the pause.
    }
  }

  async #pause() {
    const longest = Math.min(PAUSE_MS_MAX, 500 * 2 ** this.#breaks);
    this.#breaks += 1;
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, longest * (0.5 + Math.random() / 2));
    });
  }
}
