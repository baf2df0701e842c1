// Files that the server computes.

import { ask } from "./api.js";
import { notice, save } from "./dom.js";

export async function saveAnswer(path, body) {
  const answer = await ask(path, { body });
  const said = answer.headers.get("content-disposition") ?? "";
  const [, far] = /filename\*=utf-8''([^;]+)/.exec(said) ?? []; // of names beyond ASCII
  const name = far ? decodeURIComponent(far) : (/filename="([^"]+)"/.exec(said)?.[1] ?? "map.tif");
  save(await answer.blob(), name);
  notice(`${name} is downloaded`);
}
