/** Puts the parts of the page together. */

import { choose } from "./chooser.js";
import { byId, say } from "./dom.js";
import { Films } from "./films.js";
import { Live } from "./live.js";
import { noProblem, problem } from "./notice.js";
import { OptionsForm } from "./options.js";
import { Pair } from "./pair.js";
import { Queue } from "./queue.js";
import { ServerState } from "./server.js";
import { Strip } from "./strip.js";
import { Watch } from "./watch.js";
import { moment, number } from "./words.js";

/** @typedef {import("./films.js").Film} Film */

const workbench = byId("workbench", HTMLElement);
/** @type {Film | null} */
let chosen = null;
/** @type {Film[]} */
let all = [];

const pair = new Pair();
const strip = new Strip((at) => chosen && pair.show(chosen, at));
const watch = new Watch();
const queue = new Queue({ watch: (video) => watch.show(video), changed: (video) => watch.changed(video), problem });
const options = new OptionsForm({
  make: (wanted) => chosen && make([chosen], wanted),
  makeAll: (wanted) => make(all, wanted),
  tryOut: (wanted) => chosen && tryOut(chosen, options.trial(wanted, strip.at, chosen.facts.duration_s)),
});
const films = new Films((film, found) => {
  all = found;
  workbench.hidden = !film;
  if (film) options.show(film.facts, all.length);
  if (film && film !== chosen) present(film);
  chosen = film;
});

choose({
  films(files) {
    noProblem();
    films.add(files);
  },
  problem,
});
films.restore();
queue.begin();
new Live();
new ServerState().begin();

/** @param {Film} film */
function present(film) {
  chosen = film;
  const { width, height, rate, duration_s } = film.facts;
  say(byId("film-title", HTMLElement), film.name);
  const facts = [`${width}×${height}`, `${number(rate)} frames per second`, duration_s !== null && moment(duration_s)];
  say(byId("film-facts", HTMLElement), facts.filter(Boolean).join(" · "));
  pair.begin(film);
  strip.show(film);
}

/**
 * @param {Film[]} wanted
 * @param {import("./options.js").Options} how
 */
async function make(wanted, how) {
  noProblem();
  try {
    for (const film of wanted) await queue.add(film.id, how);
    byId("queue-title", HTMLElement).scrollIntoView({ block: "nearest" });
  } catch (error) {
    problem(error);
  }
}

/**
 * Make a part of the film, before all waiting ones, and show it while it is being made.
 * @param {Film} film
 * @param {import("./options.js").Options} how
 */
async function tryOut(film, how) {
  noProblem();
  try {
    const video = await queue.add(film.id, how);
    await queue.change(video.id, { position: 0 });
    watch.show(video);
  } catch (error) {
    problem(error);
  }
}
