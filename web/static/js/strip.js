/** A film as a strip of thumbnails with its cuts, and a cursor on it. */

import { json } from "./api.js";
import { byId, say } from "./dom.js";
import { counted, moment } from "./words.js";

const HEIGHT = 90;
const SHOWN = 72;

export class Strip {
  /** @param {(at: number) => void} moved called with the time at the cursor, in seconds */
  constructor(moved) {
    this._thumbnails = byId("thumbnails", HTMLElement);
    this._cuts = byId("cuts", HTMLElement);
    this._cursor = byId("cursor", HTMLInputElement);
    this._moment = byId("moment", HTMLElement);
    this._count = byId("cut-count", HTMLElement);
    this._moved = moved;
    /** @type {import("./films.js").Film | null} */
    this._film = null;
    this._old = new AbortController();
    this._cursor.addEventListener("input", () => this._tell());
  }

  /** The time at the cursor, in seconds: the middle of a frame, so that rounding cannot reach another one. */
  get at() {
    return this._film ? (Number(this._cursor.value) + 0.5) / this._film.facts.rate : 0;
  }

  /** @param {import("./films.js").Film} film */
  show(film) {
    this._film = film;
    this._old.abort();
    this._old = new AbortController();
    this._cuts.replaceChildren();
    this._lay(film, film.facts.duration_s ?? 0);
    this._mark(film, this._old.signal);
  }

  /**
   * Show thumbnails, with the cursor in the middle.
   * @param {import("./films.js").Film} film
   * @param {number} duration_s
   */
  _lay({ id, facts }, duration_s) {
    const last = Math.max(0, (facts.frames ?? Math.round(duration_s * facts.rate)) - 2);
    this._cursor.max = String(last);
    this._cursor.value = String(Math.floor(last / 2));
    const width = Math.min(160, Math.max(40, (SHOWN * facts.width) / facts.height));
    const count = Math.max(1, Math.round(this._thumbnails.clientWidth / width));
    const pictures = Array.from({ length: count }, (_, index) => {
      const at = ((index + 0.5) / count) * duration_s;
      const picture = new Image();
      picture.alt = "";
      picture.src = `v1/uploads/${id}/frame?at=${at.toFixed(3)}&height=${HEIGHT}`;
      return picture;
    });
    this._thumbnails.replaceChildren(...pictures);
    this._tell();
  }

  /**
   * Look for cuts, and show those that are found.
   * @param {import("./films.js").Film} film
   * @param {AbortSignal} signal
   */
  async _mark(film, signal) {
    say(this._count, "Looking for cuts …");
    try {
      for (;;) {
        const { cuts, scanned_s, complete } = await json(`v1/uploads/${film.id}/cuts`, { signal });
        const duration = film.facts.duration_s ?? scanned_s;
        this._cuts.replaceChildren(...cuts.map((/** @type {number} */ at) => mark(at / duration)));
        if (complete) {
          if (film.facts.duration_s === null) this._lay(film, scanned_s); // only now is it known how long it is
          say(this._count, cuts.length ? counted(cuts.length, "cut") : "No cuts");
          return;
        }
        say(this._count, `Looking for cuts: ${counted(cuts.length, "cut")} up to ${moment(scanned_s)}`);
      }
    } catch {
      if (!signal.aborted) say(this._count, "");
    }
  }

  _tell() {
    const words = moment(Number(this._cursor.value) / (this._film?.facts.rate ?? 1));
    this._cursor.setAttribute("aria-valuetext", words);
    say(this._moment, `At ${words}`);
    this._moved(this.at);
  }
}

/** @param {number} part of the film */
function mark(part) {
  const line = document.createElement("i");
  line.style.left = `${100 * part}%`;
  return line;
}
