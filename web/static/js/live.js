/** Live pictures at twice their frame rate: the input, the output, and the rates of both. */

import { byId, say } from "./dom.js";
import { Link } from "./live_link.js";
import { camera, pattern } from "./live_source.js";
import { Playout } from "./playout.js";
import { counted, number } from "./words.js";

const QUALITY = 0.85;
const EVERY_MS = 1000;

export class Live {
  constructor() {
    this._in = byId("live-in", HTMLCanvasElement);
    this._out = byId("live-out", HTMLCanvasElement);
    this._view = byId("live-view", HTMLElement);
    this._words = byId("live-words", HTMLElement);
    this._stop = byId("live-stop", HTMLButtonElement);
    this._starts = [byId("live-camera", HTMLButtonElement), byId("live-pattern", HTMLButtonElement)];
    /** @type {(() => void)[]} what ends what is running */
    this._ends = [];
    this._starts[0].addEventListener("click", () => this._start(camera));
    this._starts[1].addEventListener("click", () => this._start(pattern));
    this._stop.addEventListener("click", () => {
      this.end();
      this._starts[0].focus();
    });
  }

  /** @param {typeof camera} source */
  async _start(source) {
    this.end();
    this._offer(true);
    say(this._words, "Connecting …");
    const playout = new Playout(this._out);
    const counts = { taken: 0, dropped: 0 };
    const link = new Link({
      between: async ({ first, second, picture }) =>
        playout.add((first + second) / 2, await createImageBitmap(picture), true),
      rates: ({ dropped }) => (counts.dropped = dropped),
      trouble: (message) => this._trouble(message),
      closed: () => this._fail("The service closed the connection, or accepts no more of them."),
    });
    this._ends.push(() => playout.end(), () => link.close());
    const ends = this._ends;
    try {
      const end = await source(this._in, () => {
        counts.taken += 1;
        this._take(link, playout);
      });
      if (ends !== this._ends) return end();
      ends.push(end, this._tell(playout, counts));
    } catch (error) {
      if (ends === this._ends) this._fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** End what is running, if anything is. */
  end() {
    const ends = this._ends;
    this._ends = [];
    for (const end of ends) end();
    this._offer(false);
  }

  /**
   * Send the picture on the canvas, and show it when it is due; it is skipped if it could not be sent at once.
   * @param {Link} link
   * @param {Playout} playout
   */
  async _take(link, playout) {
    if (!link.free) return;
    const stamp = performance.now();
    const shown = createImageBitmap(this._in);
    const picture = await new Promise((resolve) => this._in.toBlob(resolve, "image/jpeg", QUALITY));
    if (picture && link.free) link.send(stamp, picture);
    playout.add(stamp, await shown, false);
  }

  /**
   * Show rates and delay every second.
   * @param {Playout} playout
   * @param {{ taken: number, dropped: number }} counts
   * @returns {() => void} ends it
   */
  _tell(playout, counts) {
    let before = { taken: counts.taken, shown: playout.shown, drawn: playout.drawn, late: playout.late };
    let at = performance.now();
    const timer = window.setInterval(() => {
      const now = { taken: counts.taken, shown: playout.shown, drawn: playout.drawn, late: playout.late };
      const seconds = (performance.now() - at) / 1000;
      const per = (/** @type {number} */ count) => number(count / seconds);
      say(byId("live-in-rate", HTMLElement), `${per(now.taken - before.taken)} frames per second`);
      const out = `${per(now.shown - before.shown)} frames per second, ${per(now.drawn - before.drawn)} of them drawn`;
      say(byId("live-out-rate", HTMLElement), out);
      const dropped = counts.dropped + now.late - before.late;
      const left = dropped ? `; ${counted(dropped, "frame")} left out in the last second` : "";
      say(this._words, `Delay ${Math.round(playout.delay)} ms${left}`);
      Object.assign(this._out.dataset, { shown: now.shown, drawn: now.drawn });
      [before, at] = [now, performance.now()];
    }, EVERY_MS);
    return () => window.clearInterval(timer);
  }

  /** @param {string} message */
  _trouble(message) {
    say(byId("live-trouble", HTMLElement), message);
  }

  /** @param {string} message */
  _fail(message) {
    if (!this._ends.length) return;
    this.end();
    this._trouble(message);
  }

  /** @param {boolean} running */
  _offer(running) {
    this._view.hidden = !running;
    this._stop.hidden = !running;
    for (const start of this._starts) start.hidden = running;
    this._trouble("");
    if (running) this._stop.focus();
  }
}
