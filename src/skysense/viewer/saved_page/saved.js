"use strict";
// A map in one file: pictures to move and zoom, values under the pointer, and what is alike, all in the browser.

const { view, layers } = JSON.parse(document.getElementById("data").textContent);
const HALF = Math.PI * 6378137;
const TITLES = { image: "Image", series: "Series", features: "Features", classes: "Classes" };
const STOPS = [[34, 22, 74], [104, 26, 109], [178, 44, 90], [232, 92, 54], [251, 165, 48], [252, 248, 190]];
const FEW = 0.88; // quantile from which cells are coloured at first
const stage = document.getElementById("stage"), sheet = document.getElementById("sheet");
const featured = layers.find((layer) => layer.features);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- moving and zooming ---------------------------------------------------------------------------------------------
const at = { x: 0, y: 0, scale: 1 };
function apply() {
  sheet.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`;
  for (const mark of sheet.querySelectorAll(".mark")) mark.style.transform = `translate(-50%, -50%) scale(${1 / at.scale})`;
}
function fit() {
  const left = stage.clientWidth > 700 ? 320 : 10, wide = stage.clientWidth - left - 20, high = stage.clientHeight - 40;
  at.scale = Math.min(wide / view.width, high / view.height);
  at.x = left + (wide - view.width * at.scale) / 2;
  at.y = 20 + (high - view.height * at.scale) / 2;
  apply();
}
function zoom(factor, x, y) {
  const scale = Math.max(0.05, Math.min(60, at.scale * factor)), by = scale / at.scale;
  Object.assign(at, { x: x - (x - at.x) * by, y: y - (y - at.y) * by, scale });
  apply();
}
const fingers = new Map();
let moved = 0;
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  if (!fingers.size) moved = 0;
  fingers.set(event.pointerId, event);
});
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return read(event);
  const [other] = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
  if (other) {
    const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(far(event) / Math.max(far(before), 1), other.clientX, other.clientY);
  } else {
    at.x += event.clientX - before.clientX;
    at.y += event.clientY - before.clientY;
    apply();
  }
  moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
  fingers.set(event.pointerId, event);
});
stage.addEventListener("pointerup", (event) => {
  const alone = fingers.size === 1;
  fingers.delete(event.pointerId);
  if (alone && moved < 5) click(event.clientX, event.clientY);
});
stage.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
}, { passive: false });
stage.addEventListener("keydown", (event) => {
  const middle = [stage.clientWidth / 2, stage.clientHeight / 2];
  const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  if (steps) Object.assign(at, { x: at.x + steps[0], y: at.y + steps[1] });
  else if (event.key === "+" || event.key === "=") zoom(1.4, ...middle);
  else if (event.key === "-") zoom(1 / 1.4, ...middle);
  else if (event.key === "Enter") click(...middle);
  else return;
  event.preventDefault();
  apply();
});
addEventListener("resize", fit);

// --- layers ---------------------------------------------------------------------------------------------------------
const heat = element("canvas", { className: "heat" });
for (const layer of layers) {
  const photograph = ["image", "series", "features"].includes(layer.kind);
  layer.slot = layer.kind === "series" ? layer.pictures.length - 1 : 0;
  layer.picture = element("img", { className: photograph && layer.kind !== "features" ? "soft" : "", alt: "",
    src: layer.pictures[layer.slot], draggable: false });
  layer.title = TITLES[layer.kind] ?? layer.id[0].toUpperCase() + layer.id.slice(1).replaceAll("_", " ");
  sheet.append(layer.picture);
}
sheet.append(heat);
const ground = layers.filter((layer) => layer.kind === "image" || layer.kind === "series");
for (const layer of layers) {
  layer.visible = ground.includes(layer) || layer.kind === "classes" || (!ground.length && layer.kind === "features");
  layer.opacity = layer.kind === "classes" && ground.length ? 0.6 : 1;
}
function show(layer) {
  layer.picture.hidden = !layer.visible;
  layer.picture.style.opacity = layer.opacity;
  if (layer.picture.src !== layer.pictures[layer.slot]) layer.picture.src = layer.pictures[layer.slot];
  layer.pixels = null;
}
function card(layer) {
  const visible = element("input", { type: "checkbox", checked: layer.visible, onchange: () => {
    layer.visible = visible.checked;
    show(layer);
  } });
  const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.02, value: layer.opacity,
    ariaLabel: `Opacity of ${layer.title}`, oninput: () => {
      layer.opacity = Number(opacity.value);
      show(layer);
    } });
  const box = element("div", { className: "card" }, element("div", { className: "row" },
    element("label", {}, visible, element("span", {}, layer.title, element("small", {}, layer.item))), opacity));
  if (layer.legend) {
    box.append(element("ul", {}, ...layer.legend.map(({ name, colour }) => {
      const square = element("i");
      square.style.background = colour;
      return element("li", {}, square, name);
    })));
  }
  const names = layer.kind === "series" ? layer.frames : Array.isArray(layer.bands) ? layer.bands : [];
  if (names.length > 1) {
    const told = element("output", {}, names[layer.slot]);
    const range = element("input", { type: "range", min: 0, max: names.length - 1, step: 1, value: layer.slot,
      ariaLabel: layer.kind === "series" ? "Date" : "Band", oninput: () => {
        layer.slot = Number(range.value);
        told.textContent = names[layer.slot];
        show(layer);
      } });
    box.append(element("div", { className: "row" }, range, told));
  }
  return box;
}

// --- values under the pointer ---------------------------------------------------------------------------------------
function place(x, y) {
  const col = (x - at.x) / at.scale, row = (y - at.y) / at.scale;
  const east = view.left + (col / view.width) * (view.right - view.left);
  const north = view.top - (row / view.height) * (view.top - view.bottom);
  return { col, row, lon: ((((east / HALF) * 180 + 540) % 360) + 360) % 360 - 180, lat: (Math.atan(Math.sinh((north / HALF) * Math.PI)) * 180) / Math.PI,
    inside: col >= 0 && row >= 0 && col < view.width && row < view.height };
}
function pixel(layer, { col, row }) {
  if (!layer.pixels) {
    if (!layer.picture.complete) return null;
    const canvas = element("canvas", { width: view.width, height: view.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(layer.picture, 0, 0);
    layer.pixels = context.getImageData(0, 0, view.width, view.height).data;
  }
  const [red, green, blue, opacity] = layer.pixels.subarray(4 * (Math.floor(row) * view.width + Math.floor(col)));
  return opacity ? [red, green, blue] : null;
}
const nearest = (colours, wanted) => colours.reduce((best, colour, index) => {
  const away = colour.reduce((sum, part, band) => sum + (part - wanted[band]) ** 2, 0);
  return away < best.away ? { away, index } : best;
}, { away: Infinity, index: 0 }).index;
const rgb = (colour) => [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
function value(layer, colour) {
  if (layer.legend) {
    const one = layer.legend[nearest(layer.legend.map((entry) => rgb(entry.colour)), colour)];
    const square = element("i");
    square.style.background = one.colour;
    return element("span", {}, square, one.name);
  }
  if (!layer.ramp) return "";
  const [low, high] = layer.limits;
  return element("span", {}, `${layer.title} ${(low + (nearest(layer.ramp, colour) / 255) * (high - low)).toPrecision(3)}`);
}
function read(event) {
  const there = place(event.clientX, event.clientY);
  const hemisphere = (number, positive, negative) => `${Math.abs(number).toFixed(5)}° ${number < 0 ? negative : positive}`;
  const parts = [element("span", {}, `${hemisphere(there.lat, "N", "S")}  ${hemisphere(there.lon, "E", "W")}`)];
  for (const layer of there.inside ? layers.filter((one) => one.visible) : []) {
    const colour = pixel(layer, there);
    if (colour) parts.push(value(layer, colour));
  }
  document.getElementById("readout").replaceChildren(...parts);
}

// --- what is alike --------------------------------------------------------------------------------------------------
const least = document.getElementById("least");
let cosines = null;
const cells = featured && Int8Array.from(atob(featured.features.bytes), (letter) => letter.charCodeAt(0));
function click(x, y) {
  read({ clientX: x, clientY: y });
  const there = place(x, y);
  if (!featured || !there.inside) return;
  const { width, height, numbers } = featured.features;
  const col = Math.floor((there.col / view.width) * width), row = Math.floor((there.row / view.height) * height);
  const query = cells.subarray((row * width + col) * numbers, (row * width + col + 1) * numbers);
  if (!query.some((number) => number)) return;
  const length = (from) => {
    let sum = 0;
    for (let k = from; k < from + numbers; k++) sum += cells[k] ** 2;
    return Math.sqrt(sum);
  };
  const own = length((row * width + col) * numbers);
  cosines = new Float32Array(width * height);
  for (let cell = 0; cell < cosines.length; cell++) {
    let sum = 0;
    for (let k = 0; k < numbers; k++) sum += query[k] * cells[cell * numbers + k];
    cosines[cell] = sum / (own * length(cell * numbers)); // NaN where there is no data
  }
  const sorted = cosines.filter((cosine) => !Number.isNaN(cosine)).sort();
  least.min = sorted[Math.floor(0.005 * sorted.length)];
  least.value = sorted[Math.floor(FEW * (sorted.length - 1))];
  document.getElementById("alike").hidden = false;
  for (const mark of sheet.querySelectorAll(".mark")) mark.remove();
  const mark = element("div", { className: "mark" });
  Object.assign(mark.style, { left: `${there.col}px`, top: `${there.row}px` });
  sheet.append(mark);
  apply();
  paint();
}
function paint() {
  const { width, height } = featured.features, from = Number(least.value);
  document.getElementById("least-is").textContent = from.toFixed(3);
  Object.assign(heat, { width, height, hidden: false });
  const picture = new ImageData(width, height);
  cosines.forEach((cosine, cell) => {
    if (!(cosine >= from)) return;
    const shade = Math.min(1, (cosine - from) / Math.max(1 - from, 1e-6)) * (STOPS.length - 1);
    const before = Math.min(Math.floor(shade), STOPS.length - 2);
    const colour = STOPS[before].map((part, band) => part + (STOPS[before + 1][band] - part) * (shade - before));
    picture.data.set([...colour, 216], 4 * cell);
  });
  heat.getContext("2d").putImageData(picture, 0, 0);
}
least.addEventListener("input", paint);
document.getElementById("clear").addEventListener("click", () => {
  heat.hidden = true;
  document.getElementById("alike").hidden = true;
  for (const mark of sheet.querySelectorAll(".mark")) mark.remove();
});

// --- start ----------------------------------------------------------------------------------------------------------
Object.assign(sheet.style, { width: `${view.width}px`, height: `${view.height}px` });
document.querySelector("h1").textContent = document.title;
document.querySelector(".hint").textContent = featured
  ? "Click the map: what is alike lights up. Coarser than the map itself; skysense view shows all of it."
  : "Coarser than the map itself; skysense view shows all of it.";
document.getElementById("layers").append(...[...layers].reverse().map(card));
layers.forEach(show);
heat.hidden = true;
fit();
