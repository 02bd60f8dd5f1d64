/** The section about the EDEN server: its state, models and errors. */

import { json, sentence } from "./api.js";
import { byId, say } from "./dom.js";
import { counted, number } from "./words.js";

/**
 * As the service reports it (GET /v1/server).
 * @typedef {{ name: string, workers: number, workers_ready: number, waiting: number }} Model
 * @typedef {{ server: string, status: string, message: string, models: Model[] | null, pairs_per_second: number | null,
 *   trouble: string[], videos_waiting: number, videos_in_progress: number }} State
 */

const EVERY_MS = 5000;

export class ServerState {
  constructor() {
    this._section = byId("server", HTMLElement);
    this._words = byId("server-words", HTMLElement);
    this._facts = byId("server-facts", HTMLElement);
    this._trouble = byId("server-trouble", HTMLElement);
  }

  /** Update every few seconds while the page is visible. */
  async begin() {
    for (;;) {
      if (!document.hidden) await this._look();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async _look() {
    try {
      this._show(await json("v1/server"));
    } catch (error) {
      this._section.dataset.status = "unknown";
      this._facts.replaceChildren();
      this._trouble.replaceChildren();
      say(this._words, error instanceof Error ? sentence(error.message) : String(error));
    }
  }

  /** @param {State} state */
  _show(state) {
    this._section.dataset.status = state.status;
    say(this._words, state.message);
    const facts = (state.models ?? []).map(({ name, workers, workers_ready, waiting }) => [
      name,
      `${workers_ready} of ${counted(workers, "worker")}${waiting ? `, ${counted(waiting, "call")} waiting` : ""}`,
    ]);
    if (state.pairs_per_second !== null) facts.push(["Drawn", `${number(state.pairs_per_second)} frames per second`]);
    facts.push(["Films", `${state.videos_in_progress} being made, ${state.videos_waiting} waiting`]);
    this._facts.replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    this._trouble.replaceChildren(...state.trouble.map((text) => element("li", sentence(text))));
    byId("server-details", HTMLElement).hidden = !state.trouble.length;
  }
}

/**
 * @param {string} kind
 * @param {string} text
 */
function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
