/** Uploads a file by tus (https://tus.io/protocols/resumable-upload), and continues uploads that were begun earlier. */

import { Problem, call } from "./api.js";

const CHUNK = 8 << 20;
const TRIES = 5;
const PAUSE_MS = 1000;
const TUS = { "Tus-Resumable": "1.0.0" };

/**
 * @param {File} file
 * @param {(sent: number) => void} progress bytes that are there
 * @param {AbortSignal} signal
 * @returns {Promise<string>} the upload's id. Rejects with a Problem.
 */
export async function upload(file, progress, signal) {
  const key = `upload ${file.name} ${file.size} ${file.lastModified}`;
  const known = localStorage.getItem(key);
  let sent = known ? await offset(known, signal) : null;
  const id = known && sent !== null ? known : await create(file, signal);
  sent ??= 0;
  localStorage.setItem(key, id);
  progress(sent);
  for (let failures = 0; sent < file.size; ) {
    try {
      sent = await append(id, file, sent, signal);
      failures = 0;
    } catch (error) {
      if (!(error instanceof Problem) || !passes(error.status) || ++failures === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      sent = (await offset(id, signal).catch(() => sent)) ?? sent;
    }
    progress(sent);
  }
  return id;
}

/**
 * Whether trying again may help: no answer, an outdated offset, a part still being written, or overload.
 * @param {number} status
 */
function passes(status) {
  return [0, 408, 409, 423, 429, 503].includes(status);
}

/**
 * @param {File} file
 * @param {AbortSignal} signal
 */
async function create(file, signal) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name.slice(0, 200))));
  const reply = await call("v1/uploads", {
    method: "POST",
    headers: { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` },
    signal,
  });
  return (reply.headers.get("Location") ?? "").split("/").at(-1) ?? "";
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<number | null>} null: it is gone
 */
async function offset(id, signal) {
  try {
    return there(await call(`v1/uploads/${id}`, { method: "HEAD", headers: TUS, signal }));
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/**
 * @param {string} id
 * @param {File} file
 * @param {number} from
 * @param {AbortSignal} signal
 */
async function append(id, file, from, signal) {
  const reply = await call(`v1/uploads/${id}`, {
    method: "PATCH",
    headers: { ...TUS, "Upload-Offset": String(from), "Content-Type": "application/offset+octet-stream" },
    body: file.slice(from, from + CHUNK),
    signal,
  });
  return there(reply);
}

/** @param {Response} reply */
function there(reply) {
  return Number(reply.headers.get("Upload-Offset"));
}
