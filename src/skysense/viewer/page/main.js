// The page: what is shown, and what a click does. Everything a person does lives here, not on the server.

import { ask } from "./api.js";
import { byId, element, notice } from "./dom.js";
import { NARROW, makeMap, room } from "./ground.js";
import { listen } from "./keys.js";
import { Label } from "./label.js";
import { listLayers } from "./layers.js";
import { Readout } from "./readout.js";
import { Similar } from "./similar.js";
import { Stack } from "./stack.js";
import { Swipe } from "./swipe.js";

const FARTHEST = 4; // zoom levels from where everything fits

function showPanel(shown) {
  byId("panel").classList.toggle("away", !shown);
  byId("panel").inert = !shown;
  byId("open-panel").hidden = shown;
}

async function start() {
  const about = await (await ask("/api/about")).json();
  byId("title").textContent = about.items.length === 1 ? about.items[0].name : `${about.items.length} maps`;
  document.title = `${about.items.map((item) => item.name).join(", ")} · skysense`;
  if (window.innerWidth < NARROW) showPanel(false);
  const map = makeMap("map", about.bounds, true);
  map.addControl(new maplibregl.ScaleControl({ maxWidth: 140 }), "bottom-right");
  await new Promise((done) => map.once("load", done));
  map.setMinZoom(Math.max(0, map.getZoom() - FARTHEST)); // farther away there is only the dark

  const stack = new Stack(map, about);
  const mode = () => document.querySelector("input[name=mode]:checked").value;
  const featured = about.items.filter((item) => item.layers.some((layer) => layer.kind === "features"));
  const itemOf = () => Number(byId("item").value);
  byId("item").append(...featured.map((item) => element("option", { value: item.id }, item.name)));
  byId("item-row").hidden = featured.length < 2;
  byId("ask").hidden = !featured.length;
  stack.refresh();
  listLayers(stack);
  const swipe = new Swipe(stack, about);
  new Readout(stack);

  const similar = featured.length ? new Similar(stack, itemOf, byId("similar")) : null;
  const label = featured.length ? new Label(stack, itemOf, about, byId("label")) : null;

  function choose(wanted) {
    if (!featured.length) return;
    document.querySelector(`input[name=mode][value=${wanted}]`).checked = true;
    byId("similar").hidden = wanted !== "similar";
    byId("label").hidden = wanted !== "label";
    if (wanted === "label") similar.clear();
    label.show(wanted === "label");
  }
  byId("mode").addEventListener("change", () => choose(mode()));
  byId("item").addEventListener("change", () => (mode() === "label" ? label.learn() : similar.clear()));

  function click(lngLat, point) {
    if (!featured.length) return;
    if (mode() === "similar") similar.click(lngLat);
    else label.click(lngLat, point);
  }
  map.on("click", (event) => click(event.lngLat.wrap(), event.point));
  byId("map").addEventListener("pointerdown", () => byId("stage").classList.remove("by-keys"));
  byId("map").addEventListener("focusout", () => byId("stage").classList.remove("by-keys"));
  byId("map").addEventListener("keyup", (event) => {
    if (/^(Tab|Arrow)/.test(event.key)) byId("stage").classList.add("by-keys"); // the crosshair is the pointer now
  });
  byId("map").addEventListener("keydown", (event) => {
    if (event.key === "Enter") click(map.getCenter().wrap(), map.project(map.getCenter()));
  });

  const panel = () => {
    const shown = byId("panel").classList.contains("away");
    showPanel(shown);
    byId(shown ? "close-panel" : "open-panel").focus({ preventScroll: true }); // it is on its way into the window
    if (window.innerWidth < NARROW) { // what is in the middle stays to be seen above the panel
      map.panBy([0, ((shown ? 1 : -1) * byId("panel").offsetHeight) / 2], { duration: 220 });
    }
  };
  const fit = () => map.fitBounds(about.bounds, { padding: room("map"), duration: 500 });
  const series = () => stack.entries.find((entry) => entry.step && entry.visible);
  for (const id of ["open-panel", "close-panel"]) byId(id).addEventListener("click", panel);
  byId("fit").addEventListener("click", fit);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  listen({ panel, fit, mode: choose, undo: () => mode() === "label" && label?.undo(), swipe: () => swipe.toggle(),
    play: () => series()?.toggle(), step: (by) => series()?.step(by), clear: () => similar?.clear(),
    choose: (at) => mode() === "label" && label?.choose(at) });
  window.skysense = { map, stack, similar, label }; // for a look from the console, and for tests
  document.body.classList.add("ready");
}

start().catch((error) => notice(error.message, true));
