"""The simulated Earth: an offline data set of made-up places that three sensors see alike.

High-resolution image, Sentinel-2 and Sentinel-1 series, labels and masks all come from one geometry of fields, stands,
buildings and water, and from one calendar per region type. See `skysense.data.earth.world` for what makes it hard.
"""

from skysense.data.earth.buildings import BUILDINGS
from skysense.data.earth.place import SimulatedPlace, simulate_place
from skysense.data.earth.world import CROPS, LAND_COVERS, SCENES, place_index
from skysense.data.earth.writing import BUILDING_LEGENDS, LEGENDS, simulate, simulate_scene

__all__ = [
    "BUILDINGS",
    "BUILDING_LEGENDS",
    "CROPS",
    "LAND_COVERS",
    "LEGENDS",
    "SCENES",
    "SimulatedPlace",
    "place_index",
    "simulate",
    "simulate_place",
    "simulate_scene",
]
