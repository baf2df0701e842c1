// The map, and rectangles of it in the metres of Web Mercator.

const HALF = Math.PI * 6378137;
const MARGIN = 0.07; // of a view on each side, so that a short drag shows no edge
const LONGEST = 2048;
const FINE = 4;
export const NARROW = 700; // pixels of a window below which the panel lies at the bottom, as page.css has it

export const EMPTY = {
  version: 8,
  transition: { duration: 0 },
  sources: {},
  layers: [{ id: "ground", type: "background", paint: { "background-color": "#0b0f14" } }],
};

export function makeMap(container, bounds, interactive) {
  const map = new maplibregl.Map({
    container,
    style: structuredClone(EMPTY),
    bounds,
    fitBoundsOptions: { padding: room(container) },
    interactive,
    attributionControl: false,
    renderWorldCopies: crosses(bounds),
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    maxPitch: 0,
    maxZoom: 22,
    fadeDuration: 0,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  return map;
}

// Whether a box reaches over the antimeridian: east of 180 or west of -180 degrees.
export const crosses = ([west, , east]) => west < -180 || east > 180;

// Where a position is seen: on a map that crosses the antimeridian it has several names.
export function onScreen(map, lon, lat) {
  const turns = Math.round((map.getCenter().lng - lon) / 360);
  return map.project([map.getRenderWorldCopies() ? lon + 360 * turns : lon, lat]);
}

// Space beside the panel, so that what is fitted is not hidden by it.
export function room(container) {
  const panel = document.getElementById("panel");
  const width = document.getElementById(container)?.clientWidth ?? window.innerWidth;
  const away = panel.classList.contains("away");
  if (width < NARROW) return { left: 30, right: 30, top: 80, bottom: away ? 50 : panel.offsetHeight + 20 };
  return { left: away ? 30 : panel.offsetWidth + 40, right: 30, top: 30, bottom: 50 };
}

export function viewOf(map) {
  const { x: left, y: top } = maplibregl.MercatorCoordinate.fromLngLat(map.getBounds().getNorthWest());
  const { x: right, y: bottom } = maplibregl.MercatorCoordinate.fromLngLat(map.getBounds().getSouthEast());
  const { clientWidth, clientHeight } = map.getContainer();
  const metres = (part) => (part - 0.5) * 2 * HALF;
  return { left: metres(left), right: metres(right), top: -metres(top), bottom: -metres(bottom),
           width: clientWidth, height: clientHeight };
}

// The view that is asked for. Where a cell is many pixels of the screen, FINE of them are drawn across it.
export function widened(view, cellPixels) {
  const detail = Math.max(1, cellPixels / FINE);
  const wide = (view.right - view.left) * MARGIN, high = (view.top - view.bottom) * MARGIN;
  const size = (pixels) => Math.min(LONGEST, Math.ceil((pixels * (1 + 2 * MARGIN)) / detail));
  return { left: view.left - wide, right: view.right + wide, bottom: view.bottom - high, top: view.top + high,
           width: size(view.width), height: size(view.height) };
}

export const contains = (outer, inner) =>
  outer !== null && outer.left <= inner.left && outer.right >= inner.right && outer.bottom <= inner.bottom
  && outer.top >= inner.top;

export function corners(view) {
  const place = (x, y) => new maplibregl.MercatorCoordinate(x / 2 / HALF + 0.5, 0.5 - y / 2 / HALF).toLngLat().toArray();
  return [place(view.left, view.top), place(view.right, view.top), place(view.right, view.bottom),
          place(view.left, view.bottom)];
}

export function boxOf(map) {
  const bounds = map.getBounds();
  return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()]
    .map((value) => value.toFixed(8)).join(",");
}
