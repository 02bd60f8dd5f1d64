/** The line at the top of the page that shows an error. */

import { Problem, sentence } from "./api.js";
import { byId, say } from "./dom.js";

/** @param {unknown} error */
export function problem(error) {
  const line = byId("notice", HTMLElement);
  line.hidden = false;
  say(line, error instanceof Problem ? sentence(error.message) : `Something went wrong in the page: ${error}`);
}

export function noProblem() {
  byId("notice", HTMLElement).hidden = true;
}
