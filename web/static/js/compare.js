/** Two pictures in one place with a divider between them; zoom moves both in step. */

import { byId, say } from "./dom.js";

const ZOOMS = [1, 2, 4, 8];
const CLOSE = 4;
const STEP = 40;

export class Compare {
  constructor() {
    this._figure = byId("compare", HTMLElement);
    this._stage = byId("stage", HTMLElement);
    this._divide = byId("divide", HTMLInputElement);
    this._zoomOut = byId("zoom-out", HTMLButtonElement);
    this._zoomIn = byId("zoom-in", HTMLButtonElement);
    this._zoom = 1;
    this._x = this._y = 0;
    this._divide.addEventListener("input", () => this._place());
    this._zoomOut.addEventListener("click", () => this._zoomTo(this._zoom / 2));
    this._zoomIn.addEventListener("click", () => this._zoomTo(this._zoom * 2));
    this._stage.addEventListener("keydown", (event) => this._key(event));
    this._stage.addEventListener("pointerdown", (event) => this._drag(event));
    this._place();
  }

  /**
   * Set the shape of the pictures to come.
   * @param {number} width
   * @param {number} height
   */
  shape(width, height) {
    this._stage.style.aspectRatio = `${width} / ${height}`;
    this._zoomTo(1);
  }

  /** @param {number} zoom */
  _zoomTo(zoom) {
    if (!ZOOMS.includes(zoom)) return;
    this._x *= zoom / this._zoom;
    this._y *= zoom / this._zoom;
    this._zoom = zoom;
    this._place();
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (event.key === "+" || event.key === "=") this._zoomTo(this._zoom * 2);
    else if (event.key === "-") this._zoomTo(this._zoom / 2);
    else if (event.key in moves && this._zoom > 1) {
      const [x, y] = moves[/** @type {keyof typeof moves} */ (event.key)];
      this._move(this._x + x, this._y + y);
    } else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  _drag(event) {
    if (event.button !== 0) return;
    const box = this._stage.getBoundingClientRect();
    const onDivider = event.target instanceof Element && event.target.closest(".divider");
    const [x, y, left, top] = [this._x, this._y, event.clientX, event.clientY];
    const follow = (/** @type {PointerEvent} */ at) => {
      if (this._zoom > 1 && !onDivider) return this._move(x + at.clientX - left, y + at.clientY - top);
      this._divide.value = String((100 * (at.clientX - box.left)) / box.width);
      this._place();
    };
    const end = new AbortController();
    const options = { signal: end.signal };
    this._stage.setPointerCapture(event.pointerId);
    this._stage.addEventListener("pointermove", follow, options);
    for (const name of ["pointerup", "pointercancel"]) {
      this._stage.addEventListener(name, () => end.abort(), options);
    }
    follow(event);
  }

  /**
   * Move the picture, within its bounds.
   * @param {number} x
   * @param {number} y
   */
  _move(x, y) {
    this._x = x;
    this._y = y;
    this._place();
  }

  _place() {
    const [wide, high] = [this._stage.clientWidth, this._stage.clientHeight].map((side) => (side * (this._zoom - 1)) / 2);
    this._x = Math.max(-wide, Math.min(wide, this._x));
    this._y = Math.max(-high, Math.min(high, this._y));
    const style = this._figure.style;
    style.setProperty("--divide", `${this._divide.value}%`);
    style.setProperty("--zoom", String(this._zoom));
    style.setProperty("--x", `${this._x}px`);
    style.setProperty("--y", `${this._y}px`);
    this._stage.classList.toggle("zoomed", this._zoom > 1);
    this._stage.classList.toggle("close", this._zoom >= CLOSE);
    this._zoomOut.disabled = this._zoom === ZOOMS[0];
    this._zoomIn.disabled = this._zoom === ZOOMS.at(-1);
    say(byId("zoom", HTMLOutputElement), `${100 * this._zoom}\u00a0%`);
  }
}
