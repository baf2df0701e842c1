// What lies over what: tiles of layers, answers, points; on the map and, while swiping, on the other side.

import { crosses } from "./ground.js";

const NEXT = 2; // frames of a series that are fetched before they are asked for
const ANSWERS = ["similar", "fewshot", "clicked", "points"];

export class Stack {
  constructor(map, about) {
    this.map = map;
    this.second = null;
    this.right = null; // key of what is shown right of the divider
    this.run = about.run;
    this.overlays = {};
    this.points = {}; // collections of points by layer, with the look of each
    this.entries = about.items.flatMap((item) => item.layers.map((layer) => ({
      key: `${item.id}/${layer.id}`, item, layer, opacity: 1, visible: false,
      slot: layer.kind === "series" ? layer.frames.length - 1 : 0 })));
    const first = (...kinds) => this.entries.filter((entry) => kinds.includes(entry.layer.kind));
    const ground = first("image", "series");
    (ground.length ? ground : first("features")).forEach((entry) => (entry.visible = true));
    for (const entry of first("classes")) Object.assign(entry, { visible: true, opacity: ground.length ? 0.6 : 1 });
  }

  maps() {
    return this.second ? [this.map, this.second] : [this.map];
  }

  // Zoom at which a cell of the features of a map is a pixel of a tile.
  cellZoom(item) {
    return this.entries.find((entry) => entry.item.id === item && entry.layer.kind === "features").layer.zoom;
  }

  refresh() {
    for (const map of this.maps()) {
      const second = map === this.second;
      for (const entry of this.entries) this.show(map, entry, second ? this.isRight(entry) : entry.visible);
      for (const overlay of Object.values(this.overlays)) {
        if (!map.getLayer(overlay.id)) overlay.put(map);
        if (!map.getLayer(overlay.id)) continue;
        const visible = !this.second || second === (this.right === overlay.id);
        map.setPaintProperty(overlay.id, "raster-opacity", visible ? overlay.opacity : 0);
      }
      for (const name of Object.keys(this.points)) this.put(map, name);
    }
  }

  // An answer is looked at over the image that lies below it on the left, too.
  isRight(entry) {
    const ground = entry.layer.kind === "image" || entry.layer.kind === "series";
    return entry.key === this.right || (this.right in this.overlays && ground && entry.visible);
  }

  mark(name, features, ...looks) {
    this.points[name] = { data: { type: "FeatureCollection", features }, looks };
    for (const map of this.maps()) this.put(map, name);
  }

  put(map, name) {
    const { data, looks } = this.points[name];
    if (map.getSource(name)) return map.getSource(name).setData(data);
    map.addSource(name, { type: "geojson", data });
    looks.forEach((paint, at) => this.place(map, { id: `${name}-${at}`, type: "circle", source: name, paint }));
  }

  show(map, entry, visible) {
    const now = `${entry.key}@${entry.slot}`;
    const others = map.getStyle().layers.map((layer) => layer.id)
      .filter((id) => id.startsWith(`${entry.key}@`) && id !== now);
    if (!visible) {
      for (const id of [...others, now]) if (map.getLayer(id)) map.setLayoutProperty(id, "visibility", "none");
      return;
    }
    const isNew = !map.getLayer(now) || map.getLayoutProperty(now, "visibility") === "none"
      || map.getPaintProperty(now, "raster-opacity") === 0;
    this.ensure(map, entry, entry.slot);
    map.setLayoutProperty(now, "visibility", "visible");
    map.setPaintProperty(now, "raster-opacity", entry.opacity);
    if (!isNew || !others.length) return;
    map.moveLayer(now, this.above(map, this.rank(now)));
    map.once("idle", () => { // the picture before stays until this one is whole
      if (`${entry.key}@${entry.slot}` !== now) return;
      for (const id of others) if (map.getLayer(id)) map.setPaintProperty(id, "raster-opacity", 0);
    });
    if (entry.layer.kind === "series") this.fetchNext(map, entry, others);
  }

  // The next frames, and none of those long ago.
  fetchNext(map, entry, others) {
    const count = entry.layer.frames.length;
    const soon = Array.from({ length: NEXT }, (_, step) => (entry.slot + step + 1) % count);
    for (const slot of soon) {
      const id = `${entry.key}@${slot}`;
      if (slot === entry.slot || (map.getLayer(id) && map.getLayoutProperty(id, "visibility") !== "none")) continue;
      this.ensure(map, entry, slot);
      map.setPaintProperty(id, "raster-opacity", 0);
      map.setLayoutProperty(id, "visibility", "visible");
    }
    for (const id of others) {
      const away = (Number(id.split("@")[1]) - entry.slot + count) % count;
      if (away > NEXT && away < count - 1) map.setLayoutProperty(id, "visibility", "none");
    }
  }

  ensure(map, entry, slot) {
    const id = `${entry.key}@${slot}`;
    if (map.getLayer(id)) return;
    const { item, layer } = entry;
    const smooth = layer.kind === "image" || layer.kind === "series";
    map.addSource(id, { type: "raster", tileSize: 256, bounds: tiled(item.bounds), maxzoom: deepest(layer),
      tiles: [`${location.origin}/tiles/${item.id}/${layer.id}/{z}/{x}/{y}.png?band=${slot}&run=${this.run}`] });
    this.place(map, { id, type: "raster", source: id, paint: { "raster-opacity": entry.opacity,
      "raster-fade-duration": 0, "raster-resampling": smooth ? "linear" : "nearest" } });
  }

  place(map, spec) {
    map.addLayer(spec, this.above(map, this.rank(spec.id)));
  }

  // The first layer that must lie above this rank.
  above(map, rank) {
    return map.getStyle().layers.map((layer) => layer.id).find((id) => this.rank(id) > rank);
  }

  rank(id) {
    if (id === "ground") return -1;
    const answer = ANSWERS.findIndex((name) => id === name || id.startsWith(`${name}-`));
    return answer >= 0 ? 1000 + answer : this.entries.findIndex((entry) => id.startsWith(`${entry.key}@`));
  }
}

// Zoom from which tiles are only enlarged: two steps after a pixel of the map is one of the screen.
const deepest = ({ zoom }) => Math.max(1, Math.min(22, Math.ceil(zoom) + 2));

// Tiles are asked for within this box only; the library knows none across the antimeridian.
const tiled = (bounds) => (crosses(bounds) ? [-180, bounds[1], 180, bounds[3]] : bounds);
