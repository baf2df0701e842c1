"""The core imports without any extra, and the model without what only reading, printing and plotting need."""

from __future__ import annotations

import subprocess
import sys

EXTRAS = ("lightning", "torchmetrics", "tensorboard", "matplotlib", "sklearn", "torchvision", "xarray", "zarr")
LIGHT = ("skysense", "skysense.model.assembly", "skysense.observation")
CORE = tuple(
    f"skysense.{room}"
    for room in ("cli", "data.earth", "data.places", "maps.front", "model.weights", "pretrain.loop", "sensors")
)

PROGRAM = """
import importlib, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for names in {groups!r}:
    for name in names:
        importlib.import_module(name)
    print(*{{name.partition(".")[0] for name in sys.modules}})
"""


def test_the_model_is_light_and_the_core_needs_no_extra() -> None:
    program = PROGRAM.format(extras=EXTRAS, groups=(LIGHT, CORE))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    light, core = (set(line.split()) for line in ran.stdout.splitlines())
    assert {"torch", "skysense"} <= light
    assert light & {"rasterio", "netCDF4", "rich", "jsonargparse"} == set()
    assert {"rich", "jsonargparse"} <= core
    assert core & set(EXTRAS) == set()
