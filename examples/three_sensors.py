"""High-resolution optical, Sentinel-2 and Sentinel-1 of the same ground, fused into one feature per 10 m cell."""

import torch

from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.geo import Window
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.observation import collate

simulate("runs/three_sensors", regions=2, places_per_region=1)
places = Places("runs/three_sensors")
samples = [places.read_sample(place, window=Window(0, 0, 8, 8)) for place in places]
model = SkySense(preset("tiny"), regions=places.regions.cells).eval()
with torch.inference_mode():
    everything = model(collate(samples))
    radar_only = model(collate(samples), modalities=["s1"])  # the other sensors are left out, and so is their cost
print({sensor: tuple(frames.values_NDhw.shape) for sensor, frames in everything.frames.items()})
print(tuple(everything.cells_BDhw.shape), tuple(radar_only.cells_BDhw.shape))
