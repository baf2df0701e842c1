// Click: how alike is everything else? Cosines of the features, coloured above a threshold.

import { ask, query } from "./api.js";
import { HEAT, heatCss, packed } from "./colours.js";
import { element, notice, slider } from "./dom.js";
import { boxOf } from "./ground.js";
import { Overlay } from "./overlay.js";
import { saveAnswer } from "./saving.js";

const FEW = 0.88; // quantile of the view from which cells are coloured until somebody moves the slider

export class Similar {
  constructor(stack, itemOf, box) {
    this.stack = stack;
    this.itemOf = itemOf;
    this.place = null;
    this.limits = [-1, 1];
    this.threshold = null; // chosen by a person
    this.overlay = new Overlay("similar", stack, () => stack.cellZoom(itemOf()), (view, signal) => this.fetch(view, signal),
      (numbers, pixels) => this.colour(numbers, pixels));
    stack.overlays.similar = this.overlay;
    this.build(box);
  }

  build(box) {
    this.range = slider("Least similarity that is shown", { min: -1, max: 1, step: 0.001, value: 0, oninput: () => {
      this.threshold = Number(this.range.value);
      this.overlay.draw();
      this.say();
    } });
    this.value = element("output");
    const opacity = slider("Opacity of the similarity", { min: 0, max: 1, step: 0.02, value: this.overlay.opacity,
      oninput: () => this.overlay.fade(Number(opacity.value)) });
    this.scope = element("select", { "aria-label": "What to download" },
      element("option", { value: "view" }, "visible area"), element("option", { value: "all" }, "whole map"));
    this.bar = element("div", { className: "heat", style: { "--ramp": heatCss } });
    this.hint = element("p", { className: "hint" },
      "Click the map: everything that looks alike to the model lights up.");
    this.controls = element("div", { hidden: true, className: "controls" },
      element("label", { className: "row" }, element("span", {}, "At least"), this.range, this.value),
      this.bar,
      element("label", { className: "row" }, element("span", {}, "Opacity"), opacity, element("output")),
      element("label", { className: "row" }, element("span", {}, "Download"), this.scope),
      element("div", { className: "row" },
        element("button", { className: "primary", onclick: () => this.download() }, "Similarity as GeoTIFF"),
        element("button", { className: "quiet", onclick: () => this.clear(), title: "Clear (Esc)" }, "Clear")));
    box.append(this.hint, this.controls);
  }

  async click({ lng, lat }) {
    this.place = { item: this.itemOf(), lon: lng, lat };
    this.threshold = null;
    this.limits = null;
    this.controls.hidden = false;
    this.mark();
    await this.overlay.ask();
  }

  async fetch(view, signal) {
    const { item, ...place } = this.place;
    const answer = await ask(`/api/similar/${item}?${query({ ...place, ...view })}`, { signal }).catch((error) => {
      if (error.name !== "AbortError" && this.limits === null) this.clear(); // nothing is known of this place
      throw error;
    });
    const numbers = new Uint16Array(await answer.arrayBuffer());
    if (this.limits === null) this.measure(numbers);
    return numbers;
  }

  // Ends of the slider and a first threshold, of what is visible when a place is clicked.
  measure(numbers) {
    const counts = new Uint32Array(65536);
    for (const number of numbers) counts[number]++;
    const seen = numbers.length - counts[0];
    const quantile = (share) => {
      let below = 0, at = 1;
      while (at < 65535 && (below += counts[at]) < share * seen) at++;
      return cosine(at);
    };
    this.limits = [quantile(0.005), 1];
    this.range.min = this.limits[0];
    this.range.value = quantile(FEW);
    this.threshold = Number(this.range.value);
    this.say();
  }

  say() {
    this.value.textContent = this.threshold.toFixed(3);
    const [low, high] = this.limits;
    this.bar.style.setProperty("--from", `${(100 * (this.threshold - low)) / Math.max(high - low, 1e-6)}%`);
  }

  colour(numbers, pixels) {
    const table = new Uint32Array(65536);
    const first = Math.max(1, number(this.threshold));
    for (let at = first; at < 65536; at++) {
      const shade = Math.round((255 * (at - first)) / Math.max(65535 - first, 1));
      table[at] = packed(...HEAT[shade]);
    }
    for (let at = 0; at < numbers.length; at++) pixels[at] = table[numbers[at]];
  }

  mark() {
    const at = this.place && { type: "Feature", properties: {}, geometry: { type: "Point",
      coordinates: [this.place.lon, this.place.lat] } };
    this.stack.mark("clicked", at ? [at] : [], { "circle-radius": 7, "circle-color": "rgba(0,0,0,0)",
      "circle-stroke-color": "#ffffff", "circle-stroke-width": 2.5 });
  }

  clear() {
    this.place = null;
    this.overlay.clear();
    this.controls.hidden = true;
    this.mark();
  }

  async download() {
    const { item, lon, lat } = this.place;
    const box = this.scope.value === "view" ? { box: boxOf(this.stack.map) } : {};
    notice("Computing the GeoTIFF …");
    try {
      await saveAnswer(`/api/download/similar/${item}?${query({ lon, lat, ...box })}`);
    } catch (error) {
      notice(error.message, true);
    }
  }
}

const cosine = (stored) => ((stored - 1) / 65534) * 2 - 1;
const number = (value) => Math.round(((value + 1) / 2) * 65534) + 1;
