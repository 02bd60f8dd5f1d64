/** Shows a video, finished or in the making, beside the film that it is made from. */

import { json, sentence } from "./api.js";
import { byId, say } from "./dom.js";
import { InStep } from "./in_step.js";
import { Stream } from "./stream.js";
import { moment } from "./words.js";

/** @typedef {import("./queue.js").Video} Video */

const CHANGES = ["play", "pause", "seeking", "timeupdate", "ended", "durationchange"];

export class Watch {
  constructor() {
    this._section = byId("watch", HTMLElement);
    this._title = byId("watch-title", HTMLElement);
    this._smooth = byId("smooth", HTMLVideoElement);
    this._figure = byId("original-figure", HTMLElement);
    this._seek = byId("watch-seek", HTMLInputElement);
    this._play = byId("watch-play", HTMLButtonElement);
    this._sound = byId("watch-sound", HTMLInputElement);
    this._words = byId("watch-words", HTMLElement);
    this._beside = new InStep(this._smooth, byId("original", HTMLVideoElement));
    /** @type {Video | null} */
    this._video = null;
    /** @type {Stream | null} */
    this._stream = null;
    this._seconds = 0;
    this._complete = true;
    this._play.addEventListener("click", () => this._toggle());
    this._seek.addEventListener("input", () => (this._smooth.currentTime = Number(this._seek.value)));
    this._sound.addEventListener("change", () => (this._smooth.muted = !this._sound.checked));
    byId("watch-close", HTMLButtonElement).addEventListener("click", () => this.close());
    for (const name of CHANGES) this._smooth.addEventListener(name, () => this._tell());
    this._smooth.addEventListener("durationchange", () => this._measure());
    this._smooth.addEventListener("error", () => this._fail());
  }

  /**
   * Show a video: a complete one as its file, with sound; any other as a stream of its finished segments.
   * @param {Video} video
   */
  show(video) {
    this.close();
    this._video = video;
    this._section.hidden = false;
    say(this._title, video.name);
    this._title.focus();
    if (video.status === "completed") this._smooth.src = `v1/videos/${video.id}/content`;
    else this._follow(video);
    this._smooth.play().catch(() => undefined); // a browser that wants a click first shows the button
    this._showOriginal(video);
  }

  /**
   * Note that a video has changed, perhaps the one shown.
   * @param {Video} video
   */
  changed(video) {
    if (video.id !== this._video?.id) return;
    const grown = video.segments > this._video.segments || video.status !== this._video.status;
    this._video = video;
    if (grown) this._stream?.more();
    if (!this._seconds && video.status === "failed") say(this._words, sentence(video.error ?? "It failed"));
    if (!this._seconds && video.status === "cancelled") say(this._words, "Cancelled");
  }

  close() {
    this._video = null;
    this._stream?.close();
    this._stream = null;
    this._smooth.removeAttribute("src");
    this._smooth.load();
    this._beside.end();
    this._figure.hidden = this._section.hidden = true;
    this._grown(0, true);
    say(this._words, "");
  }

  /** @param {Video} video */
  async _follow(video) {
    const stream = new Stream(video.id, this._smooth, (seconds, complete) => this._grown(seconds, complete));
    this._stream = stream;
    this._sound.disabled = true;
    say(this._words, "The first seconds are being made …");
    try {
      await stream.run();
    } catch (error) {
      if (this._stream === stream) say(this._words, sentence(error instanceof Error ? error.message : String(error)));
    }
  }

  /**
   * Show the original beside it, if browsers can play it and it still exists.
   * @param {Video} video
   */
  async _showOriginal(video) {
    const facts = await json(`v1/uploads/${video.upload}/film`).catch(() => null);
    if (this._video?.id !== video.id || !facts) return;
    this._section.style.setProperty("--aspect", `${facts.width * facts.pixel_aspect} / ${facts.height}`);
    if (!facts.playable) return;
    this._figure.hidden = false;
    this._beside.begin(`v1/uploads/${video.upload}/content`, video.options.start, video.options.slow_motion ?? 1);
  }

  _toggle() {
    if (this._smooth.paused) this._smooth.play().catch(() => undefined);
    else this._smooth.pause();
  }

  /** Take the duration from the file. */
  _measure() {
    if (!this._stream && this._smooth.duration > 0) this._grown(this._smooth.duration, true);
  }

  /**
   * @param {number} seconds that can be seen
   * @param {boolean} complete whether that is all
   */
  _grown(seconds, complete) {
    this._seconds = seconds;
    this._complete = complete;
    this._sound.disabled = this._stream !== null;
    this._seek.max = String(Math.max(seconds, 0.01));
    this._tell();
  }

  _tell() {
    const { currentTime, paused } = this._smooth;
    say(this._play, paused ? "Play" : "Pause");
    if (!this._seconds) return;
    this._seek.value = String(currentTime);
    this._seek.setAttribute("aria-valuetext", moment(currentTime));
    say(this._words, `${moment(currentTime)} of ${moment(this._seconds)}${this._complete ? "" : ", so far"}`);
  }

  /** If this browser cannot play the file, try it as a stream. */
  _fail() {
    if (this._video && !this._stream) this._follow(this._video);
    else if (this._video) say(this._words, "This browser cannot play it: download it.");
  }
}
