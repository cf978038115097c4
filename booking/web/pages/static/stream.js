// One connection to GET /live. It is read with fetch, because EventSource cannot send the token.

import { call, request } from "./api.js";
import { isSignedIn } from "./session.js";

const SILENCE_MS_MAX = 20_000; // the server sends something at least every 16 s
const PAUSE_MS_MAX = 15_000;

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

/** Listens until `close()`. It reconnects after each failure, with growing pauses. */
export class Stream {
  /** The events of the connection. */
  named = [];
  #names;
  #handlers;
  #lastId = null;
  #failures = 0;
  #connection = new AbortController();
  #wake = () => {};
  #closed = false;

  /** `names()` returns the ids of the events. `handlers` has onMessage(name, data), onLink(connected), onSign(). */
  constructor(names, handlers) {
    this.#names = names;
    this.#handlers = handlers;
    addEventListener("online", this.restart);
    addEventListener("offline", this.#lose);
    this.#run();
  }

  /** Reconnects: other events are named, a user has signed in or out, or the connection may be dead without an error. */
  restart = () => {
    this.#failures = 0;
    this.#wake();
    this.#connection.abort("restart");
  };

  /** The browser says that there is no network. An open connection would only be silent. */
  #lose = () => {
    this.#handlers.onLink(false);
    this.#connection.abort("offline");
  };

  close() {
    this.#closed = true;
    removeEventListener("online", this.restart);
    removeEventListener("offline", this.#lose);
    this.restart();
  }

  async #run() {
    while (!this.#closed) {
      const connection = (this.#connection = new AbortController());
      const names = this.#names();
      try {
        this.named = names;
        if (!names.length && !isSignedIn()) await new Promise((resolve) => connection.signal.addEventListener("abort", resolve));
        else await this.#listen(names, connection);
      } catch (failure) {
        if (failure.code === "unauthenticated") continue; // the session has ended, but listening needs none
        if (failure.status) await this.#poll(names, connection.signal);
      }
      if (this.#closed || connection.signal.reason === "restart") continue;
      this.#handlers.onLink(false);
      await this.#pause();
    }
  }

  async #listen(names, connection) {
    const headers = this.#lastId === null ? {} : { "Last-Event-ID": this.#lastId };
    const options = { headers, signal: connection.signal };
    let silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
    try {
      const response = await request("GET", `/live${names.length ? `?events=${names}` : ""}`, options);
      this.#handlers.onLink(true);
      this.#failures = 0;
      const [reader, decoder] = [new StreamReader(), new TextDecoder()];
      const stream = response.body.getReader();
      for (let chunk = await stream.read(); !chunk.done; chunk = await stream.read()) {
        if (connection.signal.aborted) return;
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort("silence"), SILENCE_MS_MAX);
        this.#handlers.onSign();
        for (const message of reader.read(decoder.decode(chunk.value, { stream: true }))) this.#take(message);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #take({ id, event, data }) {
    if (id !== null) this.#lastId = id;
    if (data) this.#handlers.onMessage(event, JSON.parse(data));
  }

  /** Reads once what the stream would send if it was refused, for example because too many listen. */
  async #poll(names, signal) {
    const tell = (name, data) => signal.aborted || this.#handlers.onMessage(name, data);
    for (const id of names) {
      try {
        tell("availability", (await call("GET", `/events/${id}`)).data);
        if (isSignedIn()) tell("booking", { event_id: id, booking: await ownBooking(id) });
      } catch (refusal) {
        if (refusal.code === "event_not_found") tell("gone", { event_id: id });
        // After any other refusal, the next attempt follows after the pause.
      }
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
