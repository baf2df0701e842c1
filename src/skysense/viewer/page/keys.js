// Keys, and the page of help that lists them.

import { byId, element } from "./dom.js";

export function listen(actions) {
  const keys = {
    "?": ["this help", () => byId("help").showModal()],
    h: ["hide or show the panel", actions.panel],
    f: ["show everything", actions.fit],
    s: ["find alike", () => actions.mode("similar")],
    l: ["label classes", () => actions.mode("label")],
    u: ["undo (also Ctrl+Z)", actions.undo],
    w: ["swipe between two layers", actions.swipe],
    " ": ["play or pause a series", actions.play],
    "[": ["date before", () => actions.step(-1)],
    "]": ["date after", () => actions.step(1)],
    Escape: ["clear the similarity", actions.clear],
  };
  const others = { "1 … 9": "choose a class", "drag, arrow keys": "move the map", "wheel, pinch, + −": "zoom",
    "click, tap, Enter": "ask or label; a click on a point removes it" };
  const names = { " ": "Space", Escape: "Esc" };
  const rows = [...Object.entries(keys).map(([key, [words]]) => [names[key] ?? key.toUpperCase(), words]),
    ...Object.entries(others)];
  byId("keys").replaceChildren(...rows.flatMap(([key, words]) =>
    [element("dt", {}, element("kbd", {}, key)), element("dd", {}, words)]));

  document.addEventListener("keydown", (event) => {
    if (byId("help").open || isTyping(event.target)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      return actions.undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-9]$/.test(event.key)) return actions.choose(Number(event.key) - 1);
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (event.key === " " && event.target.closest?.("button, select, input:not([type=range])"))) return;
    event.preventDefault();
    action[1]();
  });
}

const isTyping = (target) => target.matches?.("input[type=text], select, textarea");
