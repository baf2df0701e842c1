// Questions to the server. What went wrong comes back as words.

import { byId } from "./dom.js";

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

let waiting = 0;

export async function ask(path, { signal, body } = {}) {
  const options = { signal };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  byId("busy").hidden = ++waiting === 0;
  try {
    const answer = await fetch(path, options);
    if (answer.ok) return answer;
    const words = await answer.json().then((told) => told.error, () => answer.statusText);
    throw new Refused(answer.status, words);
  } catch (error) {
    if (error instanceof TypeError) throw new Refused(0, "the server does not answer; is skysense view still running?");
    throw error;
  } finally {
    byId("busy").hidden = --waiting === 0;
  }
}

export const query = (values) => new URLSearchParams(values).toString();
