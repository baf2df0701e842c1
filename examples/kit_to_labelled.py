"""Lay the small real-data kit out as folders of labelled imagery, one for each task.

    python examples/kit_to_labelled.py OUT --data KIT
    skysense adapt OUT/land_cover --model MODEL --out RUN

``KIT`` is the folder that holds flair/, floods/ and so on; the environment variable SKYSENSE_DATA names it otherwise.
Files are copied as they are; only the scenes are cut out of larger images. What learns from several sensors or from
series is a folder of places, see kit_to_places.py. Some folders need a word more:

    skysense adapt OUT/fields --labels.task oriented-detection --labels.stretch '[0, 2500]' --labels.tile 128 ...
    skysense adapt OUT/trees --labels.tile 416 ...
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

SIDE = 64  # pixels of a scene: 2 x 2 cells of the model, 12.8 m of flair
SHARE = 0.7  # of the scene that its class covers at least
MOST_SCENES = 30  # of one class in one image

FLAIR_CLASSES: Mapping[int, str] = dict(
    enumerate(
        (
            *("building", "pervious surface", "impervious surface", "bare soil", "water", "coniferous", "deciduous"),
            *("brushwood", "vineyard", "herbaceous", "agricultural", "plowed", "other"),
        ),
        start=1,
    )
)

SCENE_CLASSES: Mapping[int, str] = {
    **dict.fromkeys((1, 3), "built-up"),
    5: "water",
    **dict.fromkeys((6, 7), "trees"),
    **dict.fromkeys((8, 9, 10, 11, 12), "low vegetation"),
    **dict.fromkeys((2, 4), "bare"),
}
"""Of seven images few of the 13 classes of the masks occur in several."""


def land_cover(kit: Path, out: Path) -> None:
    """Aerial images with masks, for segmentation: SPLIT/images/a.tif and SPLIT/masks/a.tif."""
    for place in places(kit / "flair"):
        split = read_json(place / "info.json")["split"]
        copy(place / "image.tif", out / split / "images" / f"{place.name}.tif")
        copy(place / "mask.tif", out / split / "masks" / f"{place.name}.tif")
    (out / "classes.json").write_text(json.dumps(FLAIR_CLASSES, indent=1))


def scenes(kit: Path, out: Path) -> None:
    """Small pieces of the same images that one class nearly fills, for classification: labels.csv."""
    (out / "tiles").mkdir(parents=True)
    rows = []
    for place in places(kit / "flair"):
        split, counts = read_json(place / "info.json")["split"], Counter[str]()
        with rasterio.open(place / "image.tif") as image, rasterio.open(place / "mask.tif") as mask:
            for row, col in np.ndindex(image.height // SIDE, image.width // SIDE):
                window = Window(col * SIDE, row * SIDE, SIDE, SIDE)
                scene = main_class(mask.read(1, window=window))
                if scene is None or counts[scene] == MOST_SCENES:
                    continue
                counts[scene] += 1
                name = f"tiles/{place.name}_{row}_{col}.tif"
                profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "width": SIDE, "height": SIDE}
                placed = {"crs": image.crs, "transform": image.window_transform(window), "photometric": "rgb"}
                with rasterio.open(out / name, "w", **profile, **placed) as tile:
                    tile.write(image.read([1, 2, 3], window=window))
                rows.append((name, scene, split, place.name))
    with open(out / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", "split", "group"), *rows])


def main_class(mask_HW: np.ndarray) -> str | None:
    """The class of scenes that covers most of a mask, None if that is not enough."""
    shares = {
        name: np.isin(mask_HW, [value for value, its in SCENE_CLASSES.items() if its == name]).mean()
        for name in SCENE_CLASSES.values()
    }
    name = max(shares, key=shares.__getitem__)
    return name if shares[name] >= SHARE else None


def building_masks(kit: Path, out: Path) -> None:
    """Drone images with masks of the buildings, for segmentation."""
    for area, split in building_areas(kit):
        shutil.copytree(area / "images", out / split / "images")
        shutil.copytree(area / "masks", out / split / "masks")


def building_boxes(kit: Path, out: Path) -> None:
    """The same with boxes, for detection: COCO."""
    for area, split in building_areas(kit):
        shutil.copytree(area / "images", out / split / "images")
        copy(area / "annotations.json", out / split / "annotations.json")


def building_quads(kit: Path, out: Path) -> None:
    """The same with oriented boxes: text files as of DOTA."""
    for area, split in building_areas(kit):
        shutil.copytree(area / "images", out / split / "images")
        shutil.copytree(area / "labels_obb", out / split / "labelTxt")


def building_areas(kit: Path) -> list[tuple[Path, str]]:
    """Of the two areas one is learned from and one is judged by."""
    return [(kit / "buildings" / "aoi1_zanzibar", "train"), (kit / "buildings" / "aoi4_catanduanes", "val")]


def cattle(kit: Path, out: Path) -> None:
    """Three images with boxes, for detection: their files of annotations become one of COCO."""
    images, annotations = [], []
    for number, file in enumerate(sorted((kit / "nzcattle").glob("*.json"))):
        content = read_json(file)
        copy(file.with_name(content["image"]), out / "images" / content["image"])
        keys = ("width", "height", "split", "lon", "lat")
        images.append({"id": number, "file_name": content["image"], **{key: content[key] for key in keys}})
        for one in content["annotations"]:
            annotations.append(one | {"id": len(annotations), "image_id": number})
        categories = content["categories"]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (out / "annotations.json").write_text(json.dumps(coco, indent=1))


def trees(kit: Path, out: Path) -> None:
    """Aerial images with a box around every crown, for detection: COCO."""
    shutil.copytree(kit / "trees", out)


def floods(kit: Path, out: Path) -> None:
    """Sentinel-2 quick-looks before and after a flood, for change: SPLIT/before/a.png, after, change."""
    for split in ("train", "test"):
        for place in places(kit / "floods" / split):
            for name, folder in (("s2_before", "before"), ("s2_after", "after"), ("mask", "change")):
                copy(place / f"{name}.png", out / split / folder / f"{place.name}.png")


def fields(kit: Path, out: Path) -> None:
    """A satellite image of 16 bits with polygons, for segmentation and both kinds of boxes: GeoTIFF and GeoJSON."""
    for name in ("image.tif", "fields.geojson"):
        copy(kit / "fields" / name, out / name)


FOLDERS: Mapping[str, Callable[[Path, Path], None]] = {
    "land_cover": land_cover,
    "scenes": scenes,
    "building_masks": building_masks,
    "building_boxes": building_boxes,
    "building_quads": building_quads,
    "cattle": cattle,
    "trees": trees,
    "fields": fields,
    "floods": floods,
}


def main() -> None:
    """Parse the command line and lay everything out."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--data", type=Path, default=os.environ.get("SKYSENSE_DATA"), help="the kit")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the kit with --data or SKYSENSE_DATA")
    if options.out.exists():
        parser.error(f"{options.out} exists already; name a new folder")
    for name, lay_out in FOLDERS.items():
        lay_out(options.data, options.out / name)
        print(f"{name:<16}{lay_out.__doc__}")


def places(folder: Path) -> list[Path]:
    """The folders in a folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def read_json(file: Path) -> dict:
    """A JSON file."""
    content: dict = json.loads(file.read_text())
    return content


def copy(file: Path, to: Path) -> None:
    """Copy a file into a folder that may be new."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


if __name__ == "__main__":
    main()
