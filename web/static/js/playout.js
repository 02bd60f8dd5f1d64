/** Shows pictures at their times plus a small delay; those that arrive later than that are left out. */

const FIRST_MS = 100;
const MARGIN_MS = 30;
const LONGEST_MS = 2000;
const LOOKED_BACK = 10;

export class Playout {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this._canvas = canvas;
    /** @type {{ at: number, picture: ImageBitmap, drawn: boolean }[]} in the order of their times */
    this._waiting = [];
    this._last = -Infinity;
    /** @type {number[]} how late the last ones that were drawn came, in milliseconds */
    this._lateness = [];
    this.delay = FIRST_MS;
    this.shown = 0;
    this.drawn = 0;
    this.late = 0;
    this._ended = false;
    requestAnimationFrame(() => this._turn());
  }

  /**
   * @param {number} at when it was taken, by performance.now()
   * @param {ImageBitmap} picture
   * @param {boolean} drawn whether it goes between two that were taken
   */
  add(at, picture, drawn) {
    if (this._ended) return picture.close();
    if (drawn) this._learn(performance.now() - at);
    if (at <= this._last) {
      this.late += 1;
      return picture.close();
    }
    const place = this._waiting.findLastIndex((each) => each.at <= at) + 1;
    this._waiting.splice(place, 0, { at, picture, drawn });
  }

  end() {
    this._ended = true;
    for (const { picture } of this._waiting.splice(0)) picture.close();
  }

  /**
   * Set the delay to what the slowest of the last pictures needed, within bounds.
   * @param {number} lateness
   */
  _learn(lateness) {
    this._lateness.push(lateness);
    if (this._lateness.length > LOOKED_BACK) this._lateness.shift();
    this.delay = Math.min(Math.max(...this._lateness) + MARGIN_MS, LONGEST_MS);
  }

  _turn() {
    if (this._ended) return;
    const now = performance.now() - this.delay;
    while (this._waiting.length && this._waiting[0].at <= now) {
      const [{ at, picture, drawn }] = this._waiting.splice(0, 1);
      const passed = this._waiting.length > 0 && this._waiting[0].at <= now;
      if (passed) this.late += 1;
      else this._show(picture, drawn);
      this._last = at;
      picture.close();
    }
    requestAnimationFrame(() => this._turn());
  }

  /**
   * @param {ImageBitmap} picture
   * @param {boolean} drawn
   */
  _show(picture, drawn) {
    this._canvas.getContext("2d")?.drawImage(picture, 0, 0, this._canvas.width, this._canvas.height);
    this.shown += 1;
    if (drawn) this.drawn += 1;
  }
}
