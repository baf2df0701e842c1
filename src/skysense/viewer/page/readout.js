// Where the pointer is, and what lies there.

import { ask, query } from "./api.js";
import { byId, element } from "./dom.js";
import { short, titleOf } from "./layers.js";

const REST = 60; // milliseconds between two questions

export class Readout {
  constructor(stack) {
    this.stack = stack;
    this.timer = null;
    this.running = null;
    stack.map.on("mousemove", (event) => this.soon(event.lngLat.wrap()));
    stack.map.on("click", (event) => this.soon(event.lngLat.wrap()));
  }

  soon({ lng, lat }) {
    byId("place").textContent = `${degrees(lat, "N", "S")}  ${degrees(lng, "E", "W")}`;
    this.at = { lon: lng, lat };
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.look();
    }, REST);
  }

  async look() {
    this.running?.abort();
    const mine = (this.running = new AbortController());
    const series = this.stack.entries.find((entry) => entry.layer.kind === "series");
    try {
      const asked = query({ ...this.at, frame: series?.slot ?? 0 });
      const { items } = await (await ask(`/api/at?${asked}`, { signal: mine.signal })).json();
      this.write(items);
    } catch {
      byId("values").replaceChildren(); // a pointer that moved on, or a server that is gone: other questions will tell
    }
  }

  write(items) {
    const parts = [];
    const shown = this.stack.entries.filter((entry) => entry.visible);
    const first = items.find((item) => item.x !== null && shown.some((entry) => entry.item.id === item.id));
    if (first) {
      const { crs } = shown.find((entry) => entry.item.id === first.id).item;
      parts.push(element("span", { className: "crs" }, `${crs}  ${metric(first.x)}, ${metric(first.y)}`));
    }
    for (const entry of [...shown].reverse()) {
      const value = items[entry.item.id]?.values[entry.layer.id];
      if (value !== undefined) parts.push(this.value(entry, value));
    }
    byId("values").replaceChildren(...parts);
  }

  value(entry, value) {
    const { layer } = entry;
    if (layer.kind === "classes") {
      const one = layer.legend[value] ?? { name: `class ${value}`, colour: "#888888" };
      return element("span", {}, element("i", { style: { background: one.colour } }), one.name);
    }
    if (layer.kind === "image" || layer.kind === "series") return element("span", {}, value.map(short).join(" "));
    return element("span", {}, `${titleOf(entry, false)} ${short(value[Math.min(entry.slot, value.length - 1)])}`);
  }
}

const degrees = (value, positive, negative) => `${Math.abs(value).toFixed(5)}° ${value < 0 ? negative : positive}`;
const metric = (value) => (Math.abs(value) > 1000 ? Math.round(value) : Number(value.toFixed(5))).toString();
