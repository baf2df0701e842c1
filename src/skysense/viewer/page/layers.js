// The list of layers: what is visible, how opaque, which band or date, and what its colours mean.

import { byId, element, slider } from "./dom.js";

const TITLES = { image: "Image", series: "Series", features: "Features", classes: "Classes",
  probability: "Probability", uncertainty: "Uncertainty" };
const PACE = 700; // milliseconds a frame stays at least
const MANY = 12; // entries of a legend that are shown at once

export function listLayers(stack) {
  const several = new Set(stack.entries.map((entry) => entry.item.id)).size > 1;
  byId("layers").replaceChildren(...[...stack.entries].reverse().map((entry) => card(stack, entry, several)));
}

export function titleOf(entry, several = true) {
  const { kind, id } = entry.layer;
  const own = TITLES[kind] && (id === kind || kind === "series" || kind === "features" || kind === "image");
  const title = own ? TITLES[kind] : id[0].toUpperCase() + id.slice(1).replaceAll("_", " ");
  return several ? `${title} · ${entry.item.name}` : title;
}

function card(stack, entry, several) {
  const { layer } = entry;
  const visible = element("input", { type: "checkbox", checked: entry.visible, onchange: () => {
    entry.visible = visible.checked;
    box.classList.toggle("off", !entry.visible);
    stack.refresh();
  } });
  const opacity = slider(`Opacity of ${titleOf(entry)}`, { min: 0, max: 1, step: 0.02, value: entry.opacity,
    className: "opacity", oninput: () => {
      entry.opacity = Number(opacity.value);
      stack.refresh();
    } });
  const box = element("div", { className: entry.visible ? "card" : "card off" },
    element("div", { className: "row" },
      element("label", { className: "switch" }, visible,
        element("span", { title: entry.item.name }, titleOf(entry, false),
          several ? element("small", {}, entry.item.name) : null)),
      opacity),
    details(stack, entry));
  box.dataset.key = entry.key;
  return box;
}

function details(stack, entry) {
  const { layer } = entry;
  if (layer.kind === "series") return dates(stack, entry);
  if (layer.kind === "features") {
    return element("p", { className: "hint" }, `${layer.bands} numbers per cell; similar colours, similar ground`);
  }
  if (layer.kind === "classes") return legend(layer.legend);
  if (layer.kind === "image") return "";
  return element("div", { className: "more" },
    layer.bands.length > 1 ? choice(stack, entry, layer.bands) : "",
    element("div", { className: `ramp ${layer.kind}` },
      element("span", {}, short(layer.limits[0])), element("span", {}, short(layer.limits[1]))));
}

function legend(classes) {
  const rows = classes.map(({ name, colour }) => element("li", {},
    element("i", { style: { background: colour } }), element("span", {}, name)));
  const box = element("ul", { className: "legend more" }, ...rows.slice(0, MANY));
  if (rows.length <= MANY) return box;
  const all = element("button", { className: "quiet", onclick: () => box.replaceChildren(...rows) },
    `all ${rows.length} classes`);
  box.append(element("li", {}, all));
  return box;
}

function choice(stack, entry, names) {
  return element("select", { "aria-label": `Band of ${titleOf(entry)}`, onchange: (event) => {
    entry.slot = event.target.selectedIndex;
    stack.refresh();
  } }, ...names.map((name) => element("option", {}, name)));
}

function dates(stack, entry) {
  const { frames } = entry.layer;
  let playing = false;
  const shown = element("output", {}, frames[entry.slot]);
  const range = slider(`Date of ${titleOf(entry)}`, { min: 0, max: frames.length - 1, step: 1, value: entry.slot,
    className: "dates", oninput: () => go(Number(range.value)) });
  const play = element("button", { className: "round small", "aria-label": "Play the series", title: "Play (Space)",
    onclick: () => toggle() }, "▶");

  function go(slot) {
    entry.slot = (slot + frames.length) % frames.length;
    range.value = entry.slot;
    range.setAttribute("aria-valuetext", frames[entry.slot]);
    shown.textContent = frames[entry.slot];
    stack.refresh();
  }

  async function toggle() {
    playing = !playing;
    play.textContent = playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", playing ? "Pause the series" : "Play the series");
    while (playing) {
      go(entry.slot + 1);
      await Promise.all([new Promise((done) => setTimeout(done, PACE)),
        new Promise((done) => stack.map.once("idle", done))]);
    }
  }

  entry.step = (by) => go(entry.slot + by);
  entry.toggle = toggle;
  return element("div", { className: "row more" }, play, range, shown);
}

export const short = (value) => Number(value.toPrecision(3)).toString();
