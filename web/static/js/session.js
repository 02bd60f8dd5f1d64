/** Asking for the service's token, which becomes a cookie that no script can read. */

import { byId, say } from "./dom.js";

/** @type {Promise<void> | null} */
let asking = null;

/** Resolves once the service has taken a token. */
export function signIn() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

async function ask() {
  const dialog = byId("sign-in", HTMLDialogElement);
  const form = byId("sign-in-form", HTMLFormElement);
  const token = byId("token", HTMLInputElement);
  const words = byId("sign-in-words", HTMLElement);
  dialog.addEventListener("cancel", keepOpen);
  form.addEventListener("submit", keepOpen);
  dialog.showModal();
  try {
    for (;;) {
      await new Promise((resolve) => form.addEventListener("submit", resolve, { once: true }));
      const reply = await fetch("v1/session", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: token.value }),
      }).catch(() => null);
      if (reply?.ok) break;
      say(words, reply ? "That token is wrong." : "The service does not answer.");
    }
  } finally {
    token.value = "";
    dialog.removeEventListener("cancel", keepOpen);
    form.removeEventListener("submit", keepOpen);
    dialog.close();
  }
}

/** @param {Event} event */
function keepOpen(event) {
  event.preventDefault();
}
