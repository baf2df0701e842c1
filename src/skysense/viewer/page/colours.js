// Colours as one 32-bit number per pixel, as ImageData has them in memory on every machine that browsers run on.

export const packed = (red, green, blue, opacity = 255) =>
  ((opacity << 24) | (blue << 16) | (green << 8) | red) >>> 0;

const STOPS = [[34, 22, 74], [104, 26, 109], [178, 44, 90], [232, 92, 54], [251, 165, 48], [252, 248, 190]];

// A ramp of colours from dark to bright, for 0 .. 255.
export const HEAT = Array.from({ length: 256 }, (_, at) => {
  const place = (at / 255) * (STOPS.length - 1);
  const before = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[before].map((from, part) => Math.round(from + (STOPS[before + 1][part] - from) * (place - before)));
});

export const heatCss = `linear-gradient(to right, ${STOPS.map((rgb) => `rgb(${rgb})`).join(", ")})`;

export const rgbOf = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Colours that are told apart by most eyes, in the order in which classes are added.
export const CLASS_COLOURS = ["#f59e0b", "#3b82f6", "#22c55e", "#ec4899", "#a78bfa", "#14b8a6", "#ef4444", "#eab308",
  "#8b5cf6", "#84cc16", "#06b6d4", "#f97316"];
