/** Feeds a video to a player, segment by segment as they are finished, while it is being made or after. */

import { call, json } from "./api.js";

const AHEAD_S = 60;
const BEHIND_S = 20;

/** @typedef {{ url: string, start_s: number, duration_s: number }} Segment */

export class Stream {
  /**
   * @param {string} id of the video
   * @param {HTMLVideoElement} player
   * @param {(seconds: number, complete: boolean) => void} grown called with the seconds that can be seen
   */
  constructor(id, player, grown) {
    this._path = `v1/videos/${id}/stream`;
    this._player = player;
    this._grown = grown;
    this._end = new AbortController();
    /** @type {Segment[]} */
    this._segments = [];
    /** @type {Set<number>} numbers of the segments that the player holds */
    this._held = new Set();
    this._complete = false;
    this._more = true;
    this._rung = false;
    /** @type {() => void} */
    this._answer = () => undefined;
    for (const name of ["seeking", "timeupdate"]) {
      player.addEventListener(name, () => this._ring(), { signal: this._end.signal });
    }
  }

  /** Note that more segments may be finished. */
  more() {
    this._more = true;
    this._ring();
  }

  close() {
    this._end.abort();
    this._ring();
  }

  /** Feed the player until `close` is called; then it rejects with an AbortError, else with what went wrong. */
  async run() {
    const { signal } = this._end;
    let told = await this._look();
    while (told.mime === null && told.playable) {
      await this._next();
      told = await this._look();
    }
    if (!told.playable) throw new Error(told.reason);
    if (!MediaSource.isTypeSupported(told.mime)) throw new Error("This browser cannot play it while it is being made.");
    const media = new MediaSource();
    const url = URL.createObjectURL(media);
    this._player.src = url;
    await happens(media, "sourceopen", signal);
    URL.revokeObjectURL(url);
    const buffer = media.addSourceBuffer(told.mime);
    await this._append(buffer, told.init);
    for (;;) {
      if (this._more && !this._complete) await this._look();
      while (await this._feed(buffer));
      if (this._complete && this._held.has(this._segments.length - 1) && media.readyState === "open") {
        media.endOfStream();
      }
      await this._next();
    }
  }

  /** Ask the service for the finished segments. */
  async _look() {
    this._more = false;
    const told = await json(this._path, { signal: this._end.signal });
    this._segments = told.segments;
    this._complete = told.complete;
    const last = this._segments.at(-1);
    this._grown(last ? last.start_s + last.duration_s : 0, told.complete);
    return told;
  }

  /**
   * Give the player the next segment that it will need.
   * @param {SourceBuffer} buffer
   * @returns {Promise<boolean>} whether there was one, and room for it
   */
  async _feed(buffer) {
    const at = this._player.currentTime;
    const next = this._segments.findIndex(
      ({ start_s, duration_s }, index) =>
        !this._held.has(index) && start_s + duration_s > at && start_s < at + AHEAD_S,
    );
    if (next < 0) return false;
    try {
      await this._append(buffer, this._segments[next].url);
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "QuotaExceededError") throw error;
      return this._forget(buffer, at - BEHIND_S);
    }
    this._held.add(next);
    return true;
  }

  /**
   * @param {SourceBuffer} buffer
   * @param {string} url
   */
  async _append(buffer, url) {
    const { signal } = this._end;
    const data = await (await call(url, { signal })).arrayBuffer();
    signal.throwIfAborted();
    buffer.appendBuffer(data);
    await happens(buffer, "updateend", signal);
  }

  /**
   * Make room in the player: drop what was seen long ago; it is fetched again if needed.
   * @param {SourceBuffer} buffer
   * @param {number} before seconds
   * @returns {Promise<boolean>} whether anything could be left out
   */
  async _forget(buffer, before) {
    const old = [...this._held].filter((index) => {
      const { start_s, duration_s } = this._segments[index];
      return start_s + duration_s <= before;
    });
    if (!old.length) return false;
    buffer.remove(0, before);
    await happens(buffer, "updateend", this._end.signal);
    for (const index of old) this._held.delete(index);
    return true;
  }

  _ring() {
    this._rung = true;
    this._answer();
  }

  /** Resolves once more segments may be finished or needed. */
  async _next() {
    if (!this._rung) await new Promise((resolve) => (this._answer = () => resolve(undefined)));
    this._rung = false;
    this._end.signal.throwIfAborted();
  }
}

/**
 * @param {EventTarget} target
 * @param {string} name
 * @param {AbortSignal} signal rejects with its reason
 * @returns {Promise<void>}
 */
function happens(target, name, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const end = () => reject(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    const happened = () => {
      signal.removeEventListener("abort", end);
      resolve();
    };
    target.addEventListener(name, happened, { once: true, signal });
  });
}
