/** The queue: films that wait, are being made, or have ended, updated as they change. */

import { json, sentence } from "./api.js";
import { byId, copyOf, one, say } from "./dom.js";
import { follow } from "./events.js";
import { told } from "./options.js";
import { counted, moment, number, size, span } from "./words.js";

/**
 * As the service tells it.
 * @typedef {{ id: string, name: string, upload: string, options: any, status: string, paused: boolean,
 *   position: number | null, progress: number, frames: number, expected_frames: number | null,
 *   segments: number, frames_per_second: number | null, eta_s: number | null, limited_by: string | null, error: string | null,
 *   bytes: number | null, created_at: number, ended_at: number | null }} Video
 */

const PAGE = 50;

export class Queue {
  /**
   * @param {{ watch: (video: Video) => void, changed: (video: Video) => void, problem: (error: unknown) => void }} does
   */
  constructor(does) {
    this._does = does;
    this._section = byId("queue", HTMLElement);
    this._list = byId("videos", HTMLOListElement);
    this._more = byId("queue-more", HTMLButtonElement);
    /** @type {Map<string, Row>} */
    this._rows = new Map();
    /** @type {number | null} */
    this._cursor = null;
    this._more.addEventListener("click", () => this._page(this._cursor));
  }

  /** Show the videos there are, and follow their changes. */
  begin() {
    follow({
      video: (video) => this.show(video),
      deleted: (id) => this._drop(id),
      anew: () => this._anew(),
    });
  }

  /**
   * Queue a new video, to be made from an upload.
   * @param {string} upload
   * @param {import("./options.js").Options} options
   * @returns {Promise<Video>}
   */
  async add(upload, options) {
    const video = await json("v1/videos", { method: "POST", body: { upload, options } });
    this.show(video);
    return video;
  }

  /** @param {Video} video */
  show(video) {
    let row = this._rows.get(video.id);
    if (!row) {
      row = new Row(video.id, this._does, (id, change) => this.change(id, change));
      this._rows.set(video.id, row);
    }
    row.show(video);
    this._arrange();
    this._does.changed(video);
  }

  /**
   * @param {string} id
   * @param {object | null} change null: remove it
   */
  async change(id, change) {
    try {
      if (change) this.show(await json(`v1/videos/${id}`, { method: "PATCH", body: change }));
      else await json(`v1/videos/${id}`, { method: "DELETE" }).then(() => this._drop(id));
    } catch (error) {
      this._does.problem(error);
    }
  }

  async _anew() {
    const page = await this._page(null);
    if (!page) return;
    const there = new Set(page.map(({ id }) => id));
    const oldest = this._cursor === null ? 0 : Math.min(...page.map(({ created_at }) => created_at));
    for (const { video } of [...this._rows.values()]) {
      if (video.created_at >= oldest && !there.has(video.id)) this._drop(video.id);
    }
  }

  /**
   * @param {number | null} cursor
   * @returns {Promise<Video[] | null>} what that page holds
   */
  async _page(cursor) {
    try {
      const page = await json(`v1/videos?limit=${PAGE}${cursor === null ? "" : `&cursor=${cursor}`}`);
      this._cursor = page.next_cursor;
      this._more.hidden = this._cursor === null;
      for (const video of page.data) this.show(video);
      return page.data;
    } catch (error) {
      this._does.problem(error);
      return null;
    }
  }

  /** @param {string} id */
  _drop(id) {
    const row = this._rows.get(id);
    if (!row) return;
    const focused = row.element.contains(document.activeElement);
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    row.element.remove();
    this._rows.delete(id);
    this._arrange();
    if (focused && next instanceof HTMLElement) next.focus();
  }

  /** Order the rows: being made, waiting, ended (latest first). Rows already in place are not touched. */
  _arrange() {
    const rows = [...this._rows.values()].sort((one, other) => compare(one.video, other.video));
    const focused = document.activeElement;
    rows.forEach(({ element }, index) => {
      if (this._list.children[index] !== element) this._list.insertBefore(element, this._list.children[index] ?? null);
    });
    if (focused instanceof HTMLElement && this._list.contains(focused)) focused.focus();
    const waiting = rows.filter(({ video }) => video.status === "queued");
    for (const row of rows) row.offer(waiting.length);
    this._section.hidden = !rows.length;
    const made = rows.filter(({ video }) => video.status === "in_progress").length;
    const words = [made && `${made} being made`, waiting.length && `${waiting.length} waiting`].filter(Boolean);
    say(byId("queue-words", HTMLElement), words.join(", ") || "All done");
  }
}

const RANK = { in_progress: 0, queued: 1 };

/**
 * @param {Video} one
 * @param {Video} other
 */
function compare(one, other) {
  const [first, second] = [one, other].map(({ status }) => RANK[/** @type {keyof typeof RANK} */ (status)] ?? 2);
  if (first !== second) return first - second;
  if (first === RANK.queued) return (one.position ?? 0) - (other.position ?? 0);
  return (other.ended_at ?? other.created_at) - (one.ended_at ?? one.created_at);
}

/** One video of the queue. */
class Row {
  /**
   * @param {string} id
   * @param {{ watch: (video: Video) => void }} does
   * @param {(id: string, change: object | null) => void} change
   */
  constructor(id, does, change) {
    this.element = copyOf("video-template");
    this.element.dataset.video = id;
    /** @type {Video} */
    this.video;
    this._poster = one(this.element, ".poster", HTMLImageElement);
    this._poster.addEventListener("error", () => (this._poster.style.visibility = "hidden"));
    const position = () => this.video.position ?? 0;
    const actions = {
      watch: () => does.watch(this.video),
      pause: () => change(id, { paused: true }),
      resume: () => change(id, { paused: false }),
      retry: () => change(id, { status: "queued" }),
      up: () => change(id, { position: position() - 1 }),
      down: () => change(id, { position: position() + 1 }),
      cancel: () => change(id, { status: "cancelled" }),
      remove: () => change(id, null),
    };
    for (const [name, act] of Object.entries(actions)) this._button(name).addEventListener("click", act);
  }

  /** @param {Video} video */
  show(video) {
    if (!this.video) {
      const { start, duration } = video.options;
      const at = start + Math.min(duration ?? 1, 1) / 2;
      this._poster.src = `v1/uploads/${video.upload}/frame?at=${at}&height=136`;
    }
    this.video = video;
    say(one(this.element, ".name", HTMLElement), video.name);
    say(one(this.element, ".what", HTMLElement), told(video.options, moment));
    say(one(this.element, ".state", HTMLElement), state(video));
    const problem = one(this.element, ".problem", HTMLElement);
    problem.hidden = video.status !== "failed";
    say(problem, video.status === "failed" ? sentence(video.error ?? "It failed") : "");
    const progress = one(this.element, "progress", HTMLProgressElement);
    progress.hidden = !["in_progress", "queued"].includes(video.status) || (video.status === "queued" && !video.frames);
    progress.value = video.progress;
    progress.setAttribute("aria-label", `Progress of ${video.name}`);
    this.element.dataset.status = video.status;
  }

  /**
   * Show the buttons that apply to the video.
   * @param {number} waiting how many videos wait
   */
  offer(waiting) {
    const { status, paused, position, bytes, name, options } = this.video;
    const unfinished = status === "queued" || status === "in_progress";
    const offered = {
      watch: options.format !== "gif" && (status === "in_progress" || bytes !== null),
      download: bytes !== null && !unfinished,
      pause: unfinished && !paused,
      resume: unfinished && paused,
      retry: status === "failed" || status === "cancelled",
      up: status === "queued" && (position ?? 0) > 0,
      down: status === "queued" && (position ?? 0) < waiting - 1,
      cancel: unfinished,
      remove: !unfinished,
    };
    const focused = document.activeElement;
    for (const [action, shown] of Object.entries(offered)) {
      const button = this._button(action);
      button.hidden = !shown;
      button.setAttribute("aria-label", `${button.textContent} ${name}`);
    }
    const download = this._button("download");
    if (download instanceof HTMLAnchorElement) download.href = `v1/videos/${this.video.id}/content`;
    if (focused instanceof HTMLElement && focused.hidden && this.element.contains(focused)) this.element.focus();
  }

  /** @param {string} action */
  _button(action) {
    return one(this.element, `[data-do=${action}]`, HTMLElement);
  }
}

/** @param {Video} video */
function state(video) {
  switch (video.status) {
    case "queued":
      if (video.paused) return `Paused${video.frames ? ` at ${video.progress} %` : ""}`;
      return video.position ? `Waiting behind ${counted(video.position, "film")}` : "Next in the queue";
    case "in_progress": {
      const words = [`${video.progress} %`];
      if (video.eta_s !== null) words.push(`${span(video.eta_s)} left`);
      if (video.frames_per_second) words.push(`${number(video.frames_per_second)} frames per second`);
      return words.join(" · ");
    }
    case "completed":
      return ["Done", counted(video.frames, "frame"), video.bytes && size(video.bytes)].filter(Boolean).join(" · ");
    case "cancelled":
      return video.bytes ? "Cancelled; the finished part can be watched" : "Cancelled";
    default:
      return "";
  }
}
