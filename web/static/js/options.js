/** The form that says how a film is to be made, as the service's options. */

import { byId, one, say } from "./dom.js";
import { number } from "./words.js";

const SECONDS = 3;

/** @typedef {Record<string, number | string>} Options of a video; what is left out is the service's default */

export class OptionsForm {
  /** @param {{ make: (options: Options) => void, makeAll: (options: Options) => void,
   *   tryOut: (options: Options) => void }} does */
  constructor(does) {
    this._form = byId("options", HTMLFormElement);
    this._all = byId("make-all", HTMLButtonElement);
    /** @type {import("./films.js").Facts | null} */
    this._facts = null;
    this._form.addEventListener("change", () => this._adapt());
    this._form.addEventListener("submit", (event) => {
      event.preventDefault();
      does.make(this.options());
    });
    this._all.addEventListener("click", () => does.makeAll(this.options()));
    byId("try", HTMLButtonElement).addEventListener("click", () => does.tryOut(this.options()));
  }

  /**
   * @param {import("./films.js").Facts} facts of the film that is chosen
   * @param {number} count of films
   */
  show(facts, count) {
    this._facts = facts;
    this._all.hidden = count < 2;
    say(this._all, `Make all ${count}`);
    this._adapt();
  }

  /**
   * The options for a trial of three seconds from `at` on, or of the last three.
   * @param {Options} options
   * @param {number} at seconds
   * @param {number | null} duration_s of the film
   * @returns {Options}
   */
  trial(options, at, duration_s) {
    return { ...options, start: Math.max(0, Math.min(at, (duration_s ?? Infinity) - SECONDS)), duration: SECONDS };
  }

  /** @returns {Options} */
  options() {
    const chosen = new FormData(this._form);
    const rate = String(chosen.get("rate"));
    /** @type {Options} */
    const options = { preset: String(chosen.get("preset")), format: String(chosen.get("format")) };
    if (rate === "fps") options.fps = "60";
    else if (rate === "slow") options.slow_motion = Number(chosen.get("slow"));
    else options.times = Number(rate);
    if (options.format !== "gif") options.quality = String(chosen.get("quality"));
    return options;
  }

  /** Show and hide what depends on the choices, and what the film will be. */
  _adapt() {
    const options = this.options();
    byId("slow-choice", HTMLFieldSetElement).hidden = !options.slow_motion;
    one(this._form, "[name=quality]", HTMLSelectElement).disabled = options.format === "gif";
    if (this._facts) say(byId("outcome", HTMLElement), this._outcome(options, this._facts.rate));
  }

  /**
   * @param {Options} options
   * @param {number} rate
   */
  _outcome(options, rate) {
    const now = `${number(rate)} frames per second`;
    if (options.slow_motion) return `Stays at ${now}, ${options.slow_motion} times as long, without sound.`;
    return `${now} become ${number(options.fps ? 60 : rate * Number(options.times))}.`;
  }
}

/**
 * What was chosen for a video, in words.
 * @param {{ times: number | null, fps: string | null, slow_motion: number | null, preset: string, format: string,
 *   quality: string, start: number, duration: number | null }} options
 * @param {(seconds: number) => string} moment
 */
export function told(options, moment) {
  const words = [options.fps ? `${options.fps} fps` : `${options.times ?? options.slow_motion ?? 2}×`];
  if (options.slow_motion) words[0] = `${options.slow_motion}× slower`;
  if (options.preset === "animation") words.push("animation");
  words.push(options.format);
  if (options.quality !== "standard") words.push(options.quality === "better" ? "better picture" : "smaller file");
  if (options.duration !== null) words.push(`${Number(options.duration.toFixed(1))} s from ${moment(options.start)}`);
  return words.join(" · ");
}
