// Labelled points as GeoJSON (RFC 7946): properties "class" and "colour".

import { CLASS_COLOURS } from "./colours.js";

const NAMES = ["class", "label", "name"];

export function writeLabels(classes, points) {
  return { type: "FeatureCollection", features: points.map(({ lon, lat, label }) => ({ type: "Feature",
    properties: { class: classes[label].name, colour: classes[label].colour },
    geometry: { type: "Point", coordinates: [Number(lon.toFixed(8)), Number(lat.toFixed(8))] } })) };
}

// Classes that are there keep their places and colours.
export function readLabels(text, limits, there) {
  const content = parse(text);
  if (content?.type !== "FeatureCollection" || !Array.isArray(content.features)) {
    throw new Error("is no GeoJSON collection of features");
  }
  const used = new Set(content.features.map((feature) => nameOf(feature)));
  const classes = there.filter((one) => used.has(one.name)).map((one) => ({ ...one }));
  const points = [];
  for (const feature of content.features) {
    const name = nameOf(feature);
    if (!classes.some((one) => one.name === name)) {
      const given = feature.properties.colour ?? feature.properties.color;
      const colour = /^#[0-9a-f]{6}$/i.test(given) ? given.toLowerCase()
        : CLASS_COLOURS[classes.length % CLASS_COLOURS.length];
      classes.push({ name, colour });
      if (classes.length > limits.most_classes) throw new Error(`has more than ${limits.most_classes} classes`);
    }
    const label = classes.findIndex((one) => one.name === name);
    for (const [lon, lat] of placesOf(feature)) {
      if (!(Math.abs(lon) <= 180 && Math.abs(lat) <= 90)) throw new Error("positions must be degrees (WGS 84)");
      points.push({ lon, lat, label });
      if (points.length > limits.most_points) throw new Error(`has more than ${limits.most_points} points`);
    }
  }
  return { classes, points };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("is not JSON");
  }
}

function nameOf(feature) {
  const key = NAMES.find((name) => feature?.properties?.[name] !== undefined && feature.properties[name] !== null);
  if (key === undefined) throw new Error('every point needs a property "class"');
  return String(feature.properties[key]).slice(0, 60);
}

function placesOf({ geometry }) {
  if (geometry?.type === "Point") return [geometry.coordinates];
  if (geometry?.type === "MultiPoint") return geometry.coordinates;
  throw new Error("only points can be labels here");
}
