// Two layers side by side: a second map lies over the first, cut off left of a divider.

import { byId, element } from "./dom.js";
import { makeMap } from "./ground.js";
import { titleOf } from "./layers.js";

const STEP = 2; // percent of the width, for arrow keys

export class Swipe {
  constructor(stack, about) {
    this.stack = stack;
    this.bounds = about.bounds;
    this.at = 50;
    this.box = byId("swipe");
    this.choice = byId("swipe-with");
    this.divider = byId("divider");
    this.box.addEventListener("change", () => (this.box.checked ? this.on() : this.off()));
    this.choice.addEventListener("change", () => {
      this.stack.right = this.choice.value;
      this.stack.refresh();
    });
    this.divider.addEventListener("pointerdown", (event) => this.divider.setPointerCapture(event.pointerId));
    this.divider.addEventListener("pointermove", (event) => {
      if (this.divider.hasPointerCapture(event.pointerId)) this.move((100 * event.clientX) / window.innerWidth);
    });
    this.divider.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -STEP, ArrowRight: STEP, Home: -100, End: 100 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      this.move(this.at + by);
    });
    this.list();
  }

  list() {
    const several = new Set(this.stack.entries.map((entry) => entry.item.id)).size > 1;
    const options = this.stack.entries.map((entry) => [entry.key, titleOf(entry, several)]);
    if (this.stack.entries.some((entry) => entry.layer.kind === "features")) {
      options.push(["similar", "Similarity"], ["fewshot", "Map of labelled classes"]);
    }
    this.choice.replaceChildren(...options.map(([value, words]) => element("option", { value }, words)));
    const second = this.stack.entries.find((entry) => !entry.visible);
    if (second) this.choice.value = second.key;
  }

  toggle() {
    this.box.checked = !this.box.checked;
    this.box.dispatchEvent(new Event("change"));
  }

  on() {
    const { map } = this.stack;
    byId("other").classList.add("shown");
    const second = makeMap("other", this.bounds, false);
    const follow = () => second.jumpTo({ center: map.getCenter(), zoom: map.getZoom() });
    follow();
    this.follow = follow;
    map.on("move", follow);
    second.on("load", () => {
      if (!this.box.checked) return;
      this.stack.second = second;
      this.stack.right = this.choice.value;
      this.stack.refresh();
    });
    this.second = second;
    this.divider.hidden = false;
    this.move(this.at);
  }

  off() {
    this.stack.map.off("move", this.follow);
    this.stack.second = null;
    this.second.remove();
    byId("other").classList.remove("shown");
    this.divider.hidden = true;
    this.stack.refresh();
  }

  move(percent) {
    this.at = Math.max(0, Math.min(100, percent));
    this.divider.style.setProperty("left", `${this.at}%`);
    this.divider.setAttribute("aria-valuenow", Math.round(this.at));
    byId("other").style.setProperty("clip-path", `inset(0 0 0 ${this.at}%)`);
  }
}
