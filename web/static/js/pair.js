/** The frame between the two at the cursor, as EDEN draws it, beside the first one held or both blended. */

import { Problem, call, json } from "./api.js";
import { Compare } from "./compare.js";
import { byId, one, say } from "./dom.js";
import { number } from "./words.js";

const LARGE = 1_500_000;
const NAMES = { first: "Original, held", blended: "Blended" };

export class Pair {
  constructor() {
    this._compare = new Compare();
    this._stage = byId("stage", HTMLElement);
    this._words = byId("stage-words", HTMLElement);
    this._over = byId("over-picture", HTMLImageElement);
    this._under = byId("under-picture", HTMLImageElement);
    this._beside = byId("beside", HTMLFieldSetElement);
    /** @type {{ film: import("./films.js").Film, at: number } | null} what is wanted next: the latest only */
    this._wanted = null;
    this._busy = false;
    /** @type {Record<string, string>} object URLs by kind */
    this._pictures = {};
    this._beside.addEventListener("change", () => this._showOver());
  }

  /** @param {import("./films.js").Film} film */
  begin(film) {
    this._forget();
    const { width, height, pixel_aspect } = film.facts;
    this._compare.shape(width * pixel_aspect, height);
  }

  /**
   * Show the pair at a time, after the one being drawn: the server is never asked for two at once.
   * @param {import("./films.js").Film} film
   * @param {number} at seconds
   */
  async show(film, at) {
    this._wanted = { film, at };
    if (this._busy) return;
    this._busy = true;
    try {
      while (this._wanted) {
        const { film, at } = this._wanted;
        this._wanted = null;
        await this._draw(film, at.toFixed(6));
      }
    } finally {
      this._busy = false;
    }
  }

  /**
   * @param {import("./films.js").Film} film
   * @param {string} at seconds
   */
  async _draw({ id, facts }, at) {
    const format = facts.width * facts.height > LARGE ? "jpeg" : "png";
    const picture = (/** @type {string} */ kind) =>
      this._fetch(kind, `v1/uploads/${id}/pair/${kind}?at=${at}&format=${format}`);
    this._stage.classList.add("waiting");
    this._stage.removeAttribute("data-at");
    this._say("EDEN draws the frame between …");
    try {
      const pair = json(`v1/uploads/${id}/pair?at=${at}`);
      const [{ cut }] = await Promise.all([pair, picture("first"), picture("blended")]);
      if (this._wanted) return;
      await this._showOver();
      const ms = cut ? 0 : await picture("eden");
      if (this._wanted) return;
      if (cut) await this._put(this._under, "first", "The first frame, held up to the cut");
      else await this._put(this._under, "eden", "The frame that EDEN draws between the two");
      this._say(cut ? "A cut: nothing is drawn between these two" : `Drawn in ${ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000)} s`}`);
      this._stage.classList.remove("waiting");
      this._stage.dataset.at = at;
    } catch (error) {
      this._say(error instanceof Problem ? error.message : String(error), true);
    }
  }

  /**
   * @param {string} kind
   * @param {string} path
   * @returns {Promise<number>} milliseconds that it took
   */
  async _fetch(kind, path) {
    const begun = performance.now();
    const picture = await (await call(path)).blob();
    URL.revokeObjectURL(this._pictures[kind] ?? "");
    this._pictures[kind] = URL.createObjectURL(picture);
    return performance.now() - begun;
  }

  _showOver() {
    const kind = one(this._beside, "input:checked", HTMLInputElement).value;
    say(byId("over-name", HTMLElement), NAMES[/** @type {keyof typeof NAMES} */ (kind)]);
    return this._put(this._over, kind, kind === "first" ? "The original's first frame, held" : "Both frames, blended");
  }

  /**
   * @param {HTMLImageElement} image
   * @param {string} kind
   * @param {string} alt
   */
  async _put(image, kind, alt) {
    if (!this._pictures[kind]) return;
    image.src = this._pictures[kind];
    image.alt = alt;
    image.hidden = false;
    await image.decode().catch(() => undefined);
  }

  _forget() {
    for (const url of Object.values(this._pictures)) URL.revokeObjectURL(url);
    this._pictures = {};
    for (const image of [this._over, this._under]) {
      image.hidden = true;
      image.removeAttribute("src");
    }
  }

  /**
   * @param {string} text
   * @param {boolean} [problem]
   */
  _say(text, problem = false) {
    say(this._words, text);
    this._words.classList.toggle("problem-words", problem);
  }
}
