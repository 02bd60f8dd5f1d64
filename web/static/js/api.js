/** Calls to the service that this page comes from. */

import { signIn } from "./session.js";

/** A call that was refused or not answered; its message says what to do. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {number} status of HTTP; 0: there was no answer
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * The answer to a successful call. If the service asks for its token, the page asks the visitor, and calls again.
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} Rejects with a Problem, or with an AbortError where `options.signal` says so.
 */
export async function call(path, options = {}) {
  for (;;) {
    const reply = await answer(path, options);
    if (reply.ok) return reply;
    if (reply.status !== 401) throw new Problem(await message(reply), reply.status);
    await signIn();
  }
}

/**
 * @param {string} path
 * @param {{ method?: string, body?: object, signal?: AbortSignal }} [options] `body` goes as JSON
 * @returns {Promise<any>}
 */
export async function json(path, { method = "GET", body, signal } = {}) {
  const headers = body ? { "Content-Type": "application/json" } : undefined;
  const reply = await call(path, { method, headers, body: body && JSON.stringify(body), signal });
  return reply.status === 204 ? null : reply.json();
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function answer(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem("The service does not answer. If it was stopped, start it again: make web", 0);
  }
}

/** @param {Response} reply */
async function message(reply) {
  try {
    return sentence((await reply.json()).message);
  } catch {
    return `The service answered with ${reply.status} ${reply.statusText}`;
  }
}

/** @param {string} text */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
