/** The films that a visitor added: each is uploaded, examined, and can then be chosen. */

import { Problem, json, sentence } from "./api.js";
import { byId, copyOf, one, say } from "./dom.js";
import { upload } from "./upload.js";

/**
 * What the service knows of a film.
 * @typedef {{ name: string, width: number, height: number, pixel_aspect: number, rate: number, duration_s: number | null, frames: number | null,
 *   playable: boolean }} Facts
 * @typedef {{ id: string, name: string, facts: Facts }} Film
 */

const KEPT = "films";

export class Films {
  /** @param {(film: Film | null, all: Film[]) => void} changed called with the chosen film, and all that can be chosen */
  constructor(changed) {
    this._list = byId("films", HTMLUListElement);
    this._changed = changed;
    /** @type {Entry[]} */
    this._entries = [];
    /** @type {Entry | null} */
    this._chosen = null;
    this._sending = Promise.resolve();
  }

  /** Bring back the films that were here before the page was reloaded. */
  restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    for (const { id, name } of kept) this._add(new Entry(this, name)).look(id);
  }

  /**
   * Send files, one after the other.
   * @param {File[]} files
   */
  add(files) {
    for (const file of files) {
      const entry = this._add(new Entry(this, file.name));
      this._sending = this._sending.then(() => entry.send(file));
    }
  }

  /** @param {Entry} entry */
  choose(entry) {
    this._chosen = entry;
    this.tell();
  }

  /** @param {Entry} entry */
  remove(entry) {
    const at = this._entries.indexOf(entry);
    this._entries.splice(at, 1);
    entry.row.remove();
    const next = this._entries[Math.min(at, this._entries.length - 1)];
    if (this._chosen === entry) this._chosen = this._entries.find((each) => each.film) ?? null;
    this.tell();
    (next?.button ?? byId("pick-files", HTMLButtonElement)).focus();
  }

  /** Report that an entry has changed. */
  tell() {
    this._chosen ??= this._entries.find((each) => each.film) ?? null;
    for (const each of this._entries) each.button.setAttribute("aria-pressed", String(each === this._chosen));
    const all = this._entries.flatMap((each) => each.film ?? []);
    sessionStorage.setItem(KEPT, JSON.stringify(all.map(({ id, name }) => ({ id, name }))));
    this._changed(this._chosen?.film ?? null, all);
  }

  /**
   * @param {Entry} entry
   * @returns {Entry}
   */
  _add(entry) {
    this._entries.push(entry);
    this._list.append(entry.row);
    return entry;
  }
}

/** One film, and its row. */
class Entry {
  /**
   * @param {Films} films
   * @param {string} name
   */
  constructor(films, name) {
    this._films = films;
    this._name = name;
    /** @type {Film | null} once it can be worked on */
    this.film = null;
    this._end = new AbortController();
    this.row = copyOf("film-template");
    this.button = one(this.row, ".film-choose", HTMLButtonElement);
    this.button.disabled = true;
    this.button.addEventListener("click", () => films.choose(this));
    this._progress = one(this.row, "progress", HTMLProgressElement);
    say(one(this.row, ".name", HTMLElement), name);
    const remove = one(this.row, ".film-remove", HTMLButtonElement);
    remove.setAttribute("aria-label", `Remove ${name} from this list`);
    remove.addEventListener("click", () => {
      this._end.abort();
      films.remove(this);
    });
    this._say("waiting to be uploaded");
  }

  /** @param {File} file */
  async send(file) {
    if (this._end.signal.aborted) return;
    try {
      const progress = (/** @type {number} */ sent) => {
        this._progress.value = file.size ? sent / file.size : 1;
        this._say(`${Math.round(100 * this._progress.value)} % uploaded`);
      };
      await this.look(await upload(file, progress, this._end.signal));
    } catch (error) {
      this._failed(error);
    }
  }

  /** @param {string} id of an upload that is complete */
  async look(id) {
    this._progress.hidden = true;
    this._say("being examined …");
    try {
      const facts = await json(`v1/uploads/${id}/film`, { signal: this._end.signal });
      this.film = { id, name: this._name, facts };
      this.button.disabled = false;
      this._say(`${facts.width}×${facts.height}`);
      this._films.tell();
    } catch (error) {
      this._failed(error);
    }
  }

  /** @param {unknown} error */
  _failed(error) {
    if (this._end.signal.aborted) return;
    this.row.classList.add("failed");
    this._progress.hidden = true;
    this._say(error instanceof Problem ? sentence(error.message) : String(error));
  }

  /** @param {string} text */
  _say(text) {
    say(one(this.row, ".state", HTMLElement), text);
  }
}
