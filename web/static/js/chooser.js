/** The ways to add films: drop them, choose them, or take the demo clip. */

import { Problem, call } from "./api.js";
import { byId } from "./dom.js";
import { droppedFiles, filmsAmong } from "./files.js";

/** @param {{ films: (files: File[]) => void, problem: (error: unknown) => void }} does */
export function choose(does) {
  const files = byId("files", HTMLInputElement);
  const folder = byId("folder", HTMLInputElement);
  byId("pick-files", HTMLButtonElement).addEventListener("click", () => files.click());
  byId("pick-folder", HTMLButtonElement).addEventListener("click", () => folder.click());
  files.addEventListener("change", () => {
    does.films([...(files.files ?? [])]);
    files.value = "";
  });
  folder.addEventListener("change", () => {
    given(filmsAmong(folder.files ?? []));
    folder.value = "";
  });
  byId("pick-demo", HTMLButtonElement).addEventListener("click", () => demo().then(does.films, does.problem));
  drops(byId("drop", HTMLElement), (dropped) => droppedFiles(dropped).then(given, does.problem));

  /** @param {File[]} found */
  function given(found) {
    if (found.length) does.films(found);
    else does.problem(new Problem("There is no film in this folder", 0));
  }
}

async function demo() {
  const clip = await (await call("demo.mp4")).blob();
  return [new File([clip], "demo.mp4", { type: "video/mp4", lastModified: 0 })];
}

/**
 * Accept drops on the whole page: outside the zone, a browser would leave the page and open the file.
 * @param {HTMLElement} zone
 * @param {(dropped: DataTransfer) => void} taken
 */
function drops(zone, taken) {
  let inside = 0;
  const mark = () => zone.classList.toggle("over", inside > 0);
  const whole = document.documentElement;
  whole.addEventListener("dragenter", () => (inside++, mark()));
  whole.addEventListener("dragleave", () => (inside--, mark()));
  whole.addEventListener("dragover", (event) => event.preventDefault());
  whole.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    mark();
    if (event.dataTransfer) taken(event.dataTransfer);
  });
}
