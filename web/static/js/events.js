/** Changes of the service's videos, as they happen. */

const AGAIN_MS = 2000;

/**
 * Follow server-sent events for as long as the page is open; the browser connects again by itself.
 * @param {{ video: (video: any) => void, deleted: (id: string) => void, anew: () => void }} hears `anew`: events may
 *   have been missed, so list the videos again
 * @returns {() => void} ends it
 */
export function follow(hears) {
  /** @type {EventSource} */
  let source;
  let timer = 0;
  const open = () => {
    source = new EventSource("v1/events");
    source.addEventListener("open", hears.anew);
    source.addEventListener("reset", hears.anew);
    source.addEventListener("video", (event) => hears.video(JSON.parse(event.data)));
    source.addEventListener("deleted", (event) => hears.deleted(JSON.parse(event.data).id));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      timer = window.setTimeout(open, AGAIN_MS);
      hears.anew(); // it was refused: this says why
    });
  };
  open();
  return () => {
    window.clearTimeout(timer);
    source.close();
  };
}
