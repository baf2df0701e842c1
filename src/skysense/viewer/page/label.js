// Label classes by clicking; after each point the server learns from all of them and the map appears.

import { Refused, ask, query } from "./api.js";
import { CLASS_COLOURS, HEAT, packed, rgbOf } from "./colours.js";
import { element, notice, save, slider } from "./dom.js";
import { readLabels, writeLabels } from "./geojson.js";
import { boxOf, onScreen } from "./ground.js";
import { Overlay } from "./overlay.js";
import { saveAnswer } from "./saving.js";

const REACH = 9; // pixels within which a click means a point that is there already
const ENOUGH = 3; // points of a class, before leaving one out says anything
const SHOWN = { sure: "classes, pale if unsure", classes: "classes", doubt: "uncertainty",
  novelty: "unlike all points" };

export class Label {
  constructor(stack, itemOf, about, box) {
    this.stack = stack;
    this.itemOf = itemOf;
    this.about = about;
    this.where = `skysense labels ${about.items.map((item) => item.name).join(" ")}`; // in the store of this browser
    this.classes = [];
    this.points = []; // { lon, lat, label }
    this.active = 0;
    this.past = [];
    this.shown = false; // points are seen while they are what a click makes
    this.lesson = null; // { id, right } of the points as they are
    this.learning = null;
    this.overlay = new Overlay("fewshot", stack, () => stack.cellZoom(itemOf()), (view, signal) => this.fetch(view, signal),
      (numbers, pixels) => this.colour(numbers, pixels));
    stack.overlays.fewshot = this.overlay;
    this.build(box);
    this.recall();
    if (!this.classes.length) this.classes = [this.another(0), this.another(1)];
    this.list();
  }

  another(at) {
    return { name: `class ${at + 1}`, colour: CLASS_COLOURS[at % CLASS_COLOURS.length] };
  }

  build(box) {
    this.rows = element("ul", { className: "classes", "aria-label": "Classes" });
    this.told = element("p", { className: "hint" });
    this.view = element("select", { "aria-label": "What the map shows", onchange: () => this.overlay.draw() },
      ...Object.entries(SHOWN).map(([value, words]) => element("option", { value }, words)));
    const opacity = slider("Opacity of the map of classes", { min: 0, max: 1, step: 0.02, value: 0.85,
      oninput: () => this.overlay.fade(Number(opacity.value)) });
    this.scope = element("select", { "aria-label": "What to download" },
      element("option", { value: "view" }, "visible area"), element("option", { value: "all" }, "whole map"));
    const file = element("input", { type: "file", accept: ".geojson,.json,application/geo+json", hidden: true,
      onchange: () => this.upload(file) });
    this.controls = element("div", { className: "controls", hidden: true },
      element("label", { className: "row" }, element("span", {}, "Show"), this.view),
      element("label", { className: "row" }, element("span", {}, "Opacity"), opacity),
      element("label", { className: "row" }, element("span", {}, "Download"), this.scope),
      element("div", { className: "row" },
        element("button", { className: "primary", onclick: () => this.download(false) }, "Classes as GeoTIFF"),
        element("button", { onclick: () => this.download(true) }, "Uncertainty")));
    box.append(
      element("p", { className: "hint" }, "Choose a class, click a few places of each; the map follows."),
      this.rows,
      element("div", { className: "row" },
        element("button", { onclick: () => this.add() }, "+ class"),
        element("button", { onclick: () => this.undo(), title: "Undo (U)" }, "Undo"),
        element("button", { className: "quiet", onclick: () => this.clear() }, "Clear points")),
      this.told, this.controls,
      element("div", { className: "row" },
        element("button", { onclick: () => this.saveLabels() }, "Save labels"),
        element("button", { onclick: () => file.click() }, "Load labels"), file));
  }

  list() {
    this.rows.replaceChildren(...this.classes.map((one, at) => this.row(one, at)));
    this.mark();
  }

  row(one, at) {
    const choose = element("input", { type: "radio", name: "class", checked: at === this.active,
      "aria-label": `Label ${one.name}`, onchange: () => (this.active = at) });
    return element("li", { className: "row" }, choose,
      element("input", { type: "color", value: one.colour, "aria-label": `Colour of ${one.name}`, oninput: (event) => {
        one.colour = event.target.value;
        this.store();
        this.mark();
        this.overlay.draw();
      } }),
      element("input", { type: "text", value: one.name, maxLength: 60, "aria-label": `Name of class ${at + 1}`,
        onfocus: () => {
          this.active = at;
          choose.checked = true;
        },
        onchange: (event) => {
          one.name = event.target.value.trim() || `class ${at + 1}`;
          this.store();
          this.list();
        } }),
      element("span", { className: "count" }, `${this.count(at)}`),
      element("button", { className: "quiet", "aria-label": `Remove ${one.name}`, title: "Remove this class",
        onclick: () => this.remove(at) }, "✕"));
  }

  count(at) {
    return this.points.filter((point) => point.label === at).length;
  }

  choose(at) {
    if (at >= this.classes.length) return;
    this.active = at;
    this.list();
  }

  change(make) {
    this.past.push(JSON.stringify([this.classes, this.points]));
    if (this.past.length > 500) this.past.shift();
    make();
    this.after();
  }

  after() {
    this.active = Math.min(this.active, Math.max(this.classes.length - 1, 0));
    this.store();
    this.list();
    this.learn();
  }

  show(shown) {
    this.shown = shown;
    this.mark();
    if (shown) this.learn();
    else this.overlay.clear();
  }

  add() {
    if (this.classes.length >= this.about.most_classes) return notice("These are all classes there may be.", true);
    this.change(() => this.classes.push(this.another(this.classes.length)));
    this.choose(this.classes.length - 1);
  }

  remove(at) {
    this.change(() => {
      this.classes.splice(at, 1);
      this.points = this.points.filter((point) => point.label !== at)
        .map((point) => ({ ...point, label: point.label - (point.label > at) }));
    });
  }

  clear() {
    if (this.points.length) this.change(() => (this.points = []));
  }

  undo() {
    const before = this.past.pop();
    if (before === undefined) return notice("There is nothing to undo.");
    [this.classes, this.points] = JSON.parse(before);
    this.after();
  }

  click({ lng, lat }, { x, y }) {
    const near = this.points.findIndex(({ lon, lat: north }) => {
      const there = onScreen(this.stack.map, lon, north);
      return Math.hypot(there.x - x, there.y - y) < REACH;
    });
    if (near >= 0) return this.change(() => this.points.splice(near, 1));
    if (!this.classes.length) return notice("Add a class first.", true);
    if (this.points.length >= this.about.most_points) return notice("These are all points there may be.", true);
    this.change(() => this.points.push({ lon: lng, lat, label: this.active }));
  }

  async learn() {
    this.learning?.abort();
    this.lesson = null;
    if (new Set(this.points.map((point) => point.label)).size < 2) {
      this.overlay.clear();
      this.controls.hidden = true;
      this.told.textContent = this.points.length ? "Now a place of another class." : "";
      return;
    }
    this.controls.hidden = false;
    const mine = (this.learning = new AbortController());
    try {
      await this.teach(mine.signal);
      if (!mine.signal.aborted) await this.overlay.ask();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.overlay.clear();
      this.told.textContent = error.message;
    }
  }

  async teach(signal) {
    const body = { item: this.itemOf(), points: this.points };
    this.lesson = await (await ask("/api/fewshot", { body, signal })).json();
    const off = this.lesson.kept.filter((kept) => !kept).length;
    const least = Math.min(...this.classes.map((_, at) => this.count(at)).filter((count) => count));
    const unknown = least < ENOUGH || this.lesson.right === null;
    const right = unknown ? `From ${ENOUGH} points of each class on you are told how good it is.`
      : `${Math.round(100 * this.lesson.right)} % of the points are right when left out.`;
    this.told.textContent = off ? `${right} ${off} do not count: no data, or two classes in one cell.` : right;
  }

  // The server keeps the last few classifiers only: a forgotten one is taught again.
  async again(work) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      await this.teach();
      return work();
    }
  }

  async fetch(view, signal) {
    if (!this.lesson) return null;
    const answer = await this.again(() => ask(`/api/fewshot/${this.lesson.id}?${query(view)}`, { signal }));
    return new Uint8Array(await answer.arrayBuffer());
  }

  colour(numbers, pixels) {
    const count = pixels.length, shown = this.view.value;
    const rgb = this.classes.map(({ colour }) => rgbOf(colour));
    const chance = 1 / Math.max(2, new Set(this.points.map(({ label }) => label)).size);
    for (let at = 0; at < count; at++) {
      const label = numbers[at];
      if (label === 0) continue;
      const sure = numbers[count + at] / 255, novelty = numbers[2 * count + at];
      if (shown === "doubt") pixels[at] = packed(...HEAT[Math.round((255 * (1 - sure)) / (1 - chance))] ?? HEAT[255]);
      else if (shown === "novelty") pixels[at] = packed(...HEAT[novelty]);
      else {
        const faded = shown === "sure" ? 0.3 + 0.7 * Math.max(0, (sure - chance) / (1 - chance)) : 1;
        pixels[at] = packed(...(rgb[label - 1] ?? [136, 136, 136]), Math.round(255 * faded));
      }
    }
  }

  mark() {
    const features = !this.shown ? [] : this.points.map(({ lon, lat, label }) => ({ type: "Feature",
      properties: { colour: this.classes[label]?.colour ?? "#888888" },
      geometry: { type: "Point", coordinates: [lon, lat] } }));
    this.stack.mark("points", features,
      { "circle-radius": 6, "circle-color": ["get", "colour"], "circle-stroke-color": "#0b0f14",
        "circle-stroke-width": 2 },
      { "circle-radius": 8, "circle-color": "rgba(0,0,0,0)", "circle-stroke-color": "#ffffff",
        "circle-stroke-width": 1.5 });
  }

  store() {
    try {
      localStorage.setItem(this.where, JSON.stringify([this.classes, this.points]));
    } catch {
      // a browser that keeps nothing: the labels live as long as the page
    }
  }

  recall() {
    try {
      [this.classes, this.points] = JSON.parse(localStorage.getItem(this.where)) ?? [[], []];
    } catch {
      [this.classes, this.points] = [[], []];
    }
  }

  saveLabels() {
    if (!this.points.length) return notice("There are no points yet.", true);
    const text = JSON.stringify(writeLabels(this.classes, this.points), null, 1);
    save(new Blob([text], { type: "application/geo+json" }), "labels.geojson");
  }

  async upload(file) {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    try {
      const { classes, points } = readLabels(await chosen.text(), this.about, this.classes);
      this.change(() => Object.assign(this, { classes, points }));
      notice(`${points.length} points of ${classes.length} classes`);
    } catch (error) {
      notice(`${chosen.name}: ${error.message}`, true);
    }
  }

  async download(uncertainty) {
    if (!this.lesson) return;
    const legend = { names: this.classes.map((one) => one.name), colours: this.classes.map((one) => one.colour) };
    const asked = { uncertainty, ...(this.scope.value === "view" ? { box: boxOf(this.stack.map) } : {}) };
    notice("Computing the GeoTIFF …");
    try {
      await this.again(() => saveAnswer(`/api/download/fewshot/${this.lesson.id}?${query(asked)}`, legend));
    } catch (error) {
      notice(error.message, true);
    }
  }
}
