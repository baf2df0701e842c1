// An answer of the server drawn over the map: numbers per pixel of a view, coloured here, so that a slider costs nothing.

import { contains, corners, viewOf, widened } from "./ground.js";
import { notice } from "./dom.js";

export class Overlay {
  // cellZoom() is the zoom at which a cell is a pixel; fetchView(view, signal) gives numbers; colour(numbers, pixels)
  // writes one 32-bit colour per pixel.
  constructor(id, stack, cellZoom, fetchView, colour) {
    this.cellZoom = cellZoom;
    this.id = id;
    this.stack = stack;
    this.fetchView = fetchView;
    this.colour = colour;
    this.canvas = document.createElement("canvas");
    this.view = null;
    this.numbers = null;
    this.opacity = 0.85;
    this.wanted = false;
    this.running = null;
    stack.map.on("move", () => this.follow());
    stack.map.on("moveend", () => this.follow(true));
  }

  get shown() {
    return this.numbers !== null;
  }

  // Ask anew: the question has changed.
  async ask() {
    this.wanted = true;
    this.running?.abort();
    await this.load();
  }

  // The question is the same, the map has moved; at rest also ask again for what is now sharper or coarser.
  follow(atRest = false) {
    if (!this.wanted) return;
    const now = viewOf(this.stack.map);
    const zoomed = Math.abs(this.stack.map.getZoom() - this.zoom) > 0.1;
    if (contains(this.view, now) && !(atRest && zoomed)) return;
    if (this.running && !atRest) return;
    this.running?.abort();
    this.load();
  }

  async load() {
    const zoom = this.stack.map.getZoom() + 1; // MapLibre counts tiles of 512 pixels, the server of 256
    const view = widened(viewOf(this.stack.map), 2 ** (zoom - this.cellZoom()));
    this.zoom = zoom - 1;
    const mine = (this.running = new AbortController());
    try {
      const numbers = await this.fetchView(view, mine.signal);
      if (mine.signal.aborted || numbers === null) return;
      this.view = view;
      this.numbers = numbers;
      this.draw();
      this.stack.map.getContainer().dispatchEvent(new CustomEvent("answered", { bubbles: true, detail: this.id }));
    } catch (error) {
      if (error.name !== "AbortError") notice(error.message, true);
    } finally {
      if (this.running === mine) this.running = null;
    }
  }

  draw() {
    if (!this.shown) return;
    const { width, height } = this.view;
    this.canvas.width = width;
    this.canvas.height = height;
    const picture = new ImageData(width, height);
    this.colour(this.numbers, new Uint32Array(picture.data.buffer));
    this.canvas.getContext("2d").putImageData(picture, 0, 0);
    for (const map of this.stack.maps()) this.put(map);
  }

  put(map) {
    const source = map.getSource(this.id);
    if (!this.shown) return;
    if (source) {
      source.setCoordinates(corners(this.view));
      source.play(); // takes the new picture over once
      source.pause();
    } else {
      map.addSource(this.id, { type: "canvas", canvas: this.canvas, coordinates: corners(this.view), animate: false });
      this.stack.place(map, { id: this.id, type: "raster", source: this.id,
        paint: { "raster-opacity": this.opacity, "raster-resampling": "nearest", "raster-fade-duration": 0 } });
    }
    map.triggerRepaint();
  }

  fade(opacity) {
    this.opacity = opacity;
    this.stack.refresh();
  }

  clear() {
    this.running?.abort();
    this.wanted = false;
    this.numbers = null;
    this.view = null;
    for (const map of this.stack.maps()) {
      if (map.getLayer(this.id)) map.removeLayer(this.id);
      if (map.getSource(this.id)) map.removeSource(this.id);
    }
  }
}
