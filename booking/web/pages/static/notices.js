// Tells a user whose page is not in front that it is their turn: by a sound and a notice of the browser. Only if asked to.

import { ROOT } from "./api.js";
import { el, setText } from "./elements.js";
import { t } from "./words.js";

const NAME = "booking.notices";
const TONES_HZ = [659, 880];
const TONE_SECONDS = 0.18;

function stored() {
  try {
    return localStorage.getItem(NAME) === "on";
  } catch {
    return false; // this browser stores nothing: then the wish ends with the page
  }
}

function store(isOn) {
  try {
    if (isOn) localStorage.setItem(NAME, "on");
    else localStorage.removeItem(NAME);
  } catch {
    // The wish ends with the page.
  }
}

/** A switch in `place`, and the notices. */
export class Notices {
  #isOn = stored();
  #audio = null;
  #button = el("button", { type: "button", class: "plain", onclick: () => this.#toggle() });
  #words = el("p", { class: "quiet", role: "status" });

  constructor(place) {
    this.place = place;
    place.append(this.#button, this.#words);
    this.#draw();
  }

  get isOn() {
    return this.#isOn;
  }

  /** Shows the switch while there is something to be told of. */
  show(isUseful) {
    this.place.hidden = !isUseful;
  }

  /** Tells of a booking that has come from the waiting list. Its event is named if it is known. */
  tell(booking, event) {
    if (!this.#isOn || !["held", "confirmed"].includes(booking?.status)) return;
    this.#play();
    if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    const isToPay = booking.status === "held" && event?.takes_payment;
    const body = t(isToPay ? "notices.text.pay" : `notices.text.${booking.status}`, { event: event?.name ?? "" });
    const options = { body, tag: booking.id };
    try {
      const notice = new Notification(t(`notices.heading.${booking.status}`), options);
      notice.onclick = () => {
        window.focus();
        if (!location.pathname.endsWith(`/sale/${booking.event_id}`)) location.assign(`${ROOT}/sale/${booking.event_id}`);
      };
    } catch {
      // A phone's browser shows notices of service workers only. The sound has told it.
    }
  }

  async #toggle() {
    this.#isOn = !this.#isOn;
    store(this.#isOn);
    if (this.#isOn) {
      this.#play(); // a browser plays sounds only after a click, and the user hears what to expect
      if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
    }
    this.#draw();
  }

  #draw() {
    setText(this.#button, t(this.#isOn ? "notices.off" : "notices.ask"));
    const allowed = "Notification" in window && Notification.permission === "granted";
    setText(this.#words, this.#isOn ? t(allowed ? "notices.on" : "notices.denied") : "");
  }

  /** Two short tones, made here: no file has to be loaded. */
  #play() {
    if (!("AudioContext" in window)) return;
    this.#audio ??= new AudioContext();
    this.#audio.resume();
    TONES_HZ.forEach((frequency, place) => {
      const [tone, volume] = [this.#audio.createOscillator(), this.#audio.createGain()];
      const start = this.#audio.currentTime + place * TONE_SECONDS;
      tone.frequency.value = frequency;
      volume.gain.setValueAtTime(0.2, start);
      volume.gain.exponentialRampToValueAtTime(0.001, start + TONE_SECONDS);
      tone.connect(volume).connect(this.#audio.destination);
      tone.start(start);
      tone.stop(start + TONE_SECONDS);
    });
  }
}
