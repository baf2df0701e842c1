"""From imagery on disk to maps of answers on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from skysense.data.earth import simulate
from skysense.data.labelled.example import Example, Task
from skysense.data.labelled.open import open_labelled
from skysense.errors import ConfigError, InputError, OutputError
from skysense.geo import Window
from skysense.maps.parts import Parting
from skysense.maps.predict import MapResult, MapSettings, predict
from skysense.maps.product.read import Product, open_product
from skysense.model.loading import load
from skysense.model.weights import save_model
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR
from skysense.tasks.adapted import Adapted
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections
from tests.maps.adapted_models import CLASSES, SMALL, adapted
from tests.maps.scenes import HR_GRID, hr_scene, hr_values, s2_scene
from tests.tasks.labelled_samples import tiny

pytest.importorskip("torchvision")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")
HEIGHT, WIDTH = 10 * 32 - 5, 7 * 32 - 9  # 10 x 7 cells: windows of 4 share 1, the last ones more


def series(values_CHW: np.ndarray) -> Series:
    """One 8-bit image, padded to whole windows."""
    height, width = values_CHW.shape[1:]
    padded = np.zeros((3, 384, 256), np.uint8)
    padded[:, :height, :width] = values_CHW
    valid = np.zeros((1, 384, 256), bool)
    valid[:, :height, :width] = True
    return Series(OPTICAL_HR, padded[None], np.array(["NaT"], "datetime64[D]"), valid)


def image(*dates: np.ndarray) -> Example:
    """What evaluation is given of the scenes."""
    sample, *after = (Sample("scene", {"hr": series(values)}) for values in dates)
    height, width = dates[0].shape[1:]
    return Example("scene", sample, 0, 32, (height, width), after[0] if after else None)


def judged(model: Adapted, *dates: np.ndarray):
    """The answer of evaluation, where the map has the same windows: without the padding to whole windows."""
    return model.predictor()([replace(image(*dates), target=0)])[0]


def plain(values_CHW: np.ndarray) -> Sample:
    """One 8-bit image of whole windows or parts of such."""
    seen = np.ones((1, *values_CHW.shape[1:]), bool)
    return Sample("image", {"hr": Series(OPTICAL_HR, values_CHW[None], np.array(["NaT"], "datetime64[D]"), seen)})


def whole(product: Product, layer: str) -> np.ndarray:
    """All stored numbers of a layer."""
    grid = product.pixels(layer)
    return product.read(layer, Window(0, 0, grid.height, grid.width))


def mapped(model: Adapted, folder: Path, task: Task, **options) -> MapResult:
    hr_scene(folder / "before.tif", HEIGHT, WIDTH)
    source: object = folder / "before.tif"
    if "change" in task:
        with rasterio.open(folder / "before.tif") as file:
            profile, names = file.profile, file.descriptions
        with rasterio.open(folder / "after.tif", "w", **profile) as file:
            file.descriptions = names
            file.write(hr_values(HEIGHT, WIDTH, seed=1))
        source = {"before": str(folder / "before.tif"), "after": str(folder / "after.tif")}
    return predict(model, source, folder / "map", **options)


def test_a_map_of_classes_is_what_evaluation_judges(tmp_path: Path) -> None:
    model = adapted("segmentation")
    made = mapped(model, tmp_path, "segmentation", probabilities=True, uncertainty=True)
    wanted = judged(model, hr_values(HEIGHT, WIDTH))
    assert isinstance(wanted, ClassMap)
    assert [path.name for path in made.outputs] == ["map.tif", "map_probability.tif", "map_uncertainty.tif"]
    assert made.shape == (320, 224)
    with open_product(made.outputs[0]) as product:
        classes, shares = whole(product, "classes")[0], whole(product, "probability")
        sure = product.layers["uncertainty"].decode(whole(product, "uncertainty"))[0]
        about = product.metadata
        assert product.layers["classes"].classes == CLASSES
    assert (classes[HEIGHT:] == 255).all() and (classes[:, WIDTH:] == 255).all()
    # the fifth column of windows ends at the border here, and a cell later where the image is padded
    same = (slice(0, 5 * 32), slice(0, 4 * 32))
    np.testing.assert_array_equal(classes[same], wanted.answer_HW[same])
    np.testing.assert_allclose(shares.max(axis=0)[same] / 254, wanted.confidence_HW[same], atol=0.51 / 254)
    np.testing.assert_allclose(1 - sure[same], wanted.confidence_HW[same], atol=0.51 / 254)
    assert about["task"] == "segmentation" and about["overlap_cells"] == 1 and about["account"]["windows"] == 6
    with rasterio.open(made.outputs[0]) as file:
        assert file.crs.to_epsg() == 32632 and file.transform.almost_equals(HR_GRID, 1e-6)
        assert file.colormap(1)[0][:3] == (230, 159, 0)
    assert made.quicklook is not None
    with rasterio.open(made.quicklook) as picture:
        assert picture.width >= 224 and picture.height > 320  # the legend
        assert picture.read(4)[HEIGHT + 1, 5] == 0
        red = picture.read(1)[:320, :224]
    assert (red[same] == np.where(wanted.answer_HW[same] == 0, 230, 86)).all()


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_one_answer_per_window_is_blended_over_its_cells(task: Task, tmp_path: Path) -> None:
    model = adapted(task, replace(SMALL, window_cells=16))
    model.card = {"adapted": {"cells": 4}}  # the images that it has learned from
    made = mapped(model, tmp_path, task, probabilities=True, settings=MapSettings(overlap_cells=0))
    values = hr_values(HEIGHT, WIDTH)
    with open_product(made.outputs[0]) as product:
        shares = whole(product, "probability")
        assert set(product.layers) == ({"classes", "probability"} if task == "classification" else {"probability"})
        assert product.metadata["model"]["sha256"] and product.metadata["window_cells"] == 4
    assert made.shape == (10, 7) and shares.shape == (2, 10, 7)
    (wanted,) = model.predictor()([Example("corner", plain(values[:, :128, :128]), 0, 32, (128, 128))])
    assert isinstance(wanted, ClassScores)
    np.testing.assert_allclose(shares[:, 0, 0] / 254, wanted.scores_K, atol=0.51 / 254)
    assert (shares[:, :4, :3] == shares[:, :1, :1]).all()  # the second window begins in the fourth column
    assert (shares != 255).all()


@pytest.mark.parametrize("task", ["change", "semantic-change"])
def test_change_of_two_dates(task: Task, tmp_path: Path) -> None:
    model = adapted(task)
    made = mapped(model, tmp_path, task)
    wanted = judged(model, hr_values(HEIGHT, WIDTH), hr_values(HEIGHT, WIDTH, seed=1))
    assert isinstance(wanted, ChangeMap)
    same = (slice(0, 5 * 32), slice(0, 4 * 32))
    with open_product(made.outputs[0]) as product:
        np.testing.assert_allclose(whole(product, "changed")[0][same] / 254, wanted.changed_HW[same], atol=0.51 / 254)
        np.testing.assert_array_equal(whole(product, "classes")[0][same], wanted.changed_HW[same] > 0.5)
        if task == "semantic-change":
            np.testing.assert_array_equal(whole(product, "before")[0][same], wanted.before_HW[same])
            np.testing.assert_array_equal(whole(product, "after")[0][same], wanted.after_HW[same])
        assert set(product.metadata["source"]) == {"before", "after"}


@pytest.mark.parametrize("task", ["detection", "oriented-detection"])
def test_objects_are_those_of_the_whole_image_whatever_the_parts(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 x 7 cells, where the windows of a map are those of an image; every window touches several parts."""
    height, width, model = 10 * 32, 7 * 32, adapted(task)
    hr_scene(tmp_path / "scene.tif", height, width)
    (wanted,) = model.predictor()([Example("scene", plain(hr_values(height, width)), 0, 32, (height, width))])
    assert isinstance(wanted, Detections) and len(wanted.boxes_N) > 20
    monkeypatch.setattr("skysense.maps.job.parting_of", lambda layout, answerer: Parting(10, 7, 5, 4))
    made = predict(model, tmp_path / "scene.tif", tmp_path / "found", score=0)
    assert made.outputs == (tmp_path / "found.gpkg",) and made.quicklook == tmp_path / "found.gpkg.png"
    assert made.account.windows == 6 and sum(made.objects.values()) == len(wanted.boxes_N)
    rings, names, scores = read(made.outputs[0])
    found = np.column_stack([rings.mean(axis=1), names == CLASSES[1], scores])
    centres = [HR_GRID @ centre for centre in _centres(wanted).astype(float).tolist()]
    there = np.column_stack([centres, wanted.label_N == 1, wanted.scores_N])
    apart = np.abs(found[:, None] - there).max(axis=2)  # metres, classes, scores
    assert apart.min(axis=1).max() < 1e-3 and sorted(apart.argmin(axis=1)) == list(range(len(there)))

    middle = float(np.median(wanted.scores_N))
    few = predict(model, tmp_path / "scene.tif", tmp_path / "few.geojson", score=middle, quicklook=False)
    rings, names, scores = read(few.outputs[0])
    assert (
        len(names) == sum(few.objects.values()) == pytest.approx(len(there) / 2, abs=2)
        and scores.min() >= middle - 1e-6
    )
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(*rings.mean(axis=1).T)
    assert np.hypot(x[0] - there[:, 0], y[0] - there[:, 1]).min() < 0.02


def test_objects_are_those_of_the_score_that_was_best_in_validation(tmp_path: Path) -> None:
    model, scene = adapted("detection"), hr_scene(tmp_path / "scene.tif", 128, 128)
    every = predict(model, scene, tmp_path / "every", score=0)
    scores = read(every.outputs[0])[2]
    few = predict(model, scene, tmp_path / "few")
    assert few.notes[-1].startswith("objects with a score of 0.3 or more (the model does not say")
    np.testing.assert_array_equal(read(few.outputs[0])[2], scores[scores >= 0.3])
    best = float(np.median(scores))
    model.card = {"adapted": {"least_score": best}}
    some = predict(model, scene, tmp_path / "some")
    assert some.notes[-1].startswith(f"objects with a score of {best:.3g} or more (the best F1 on the examples")
    np.testing.assert_array_equal(read(some.outputs[0])[2], scores[scores >= best])
    assert 0 < len(scores[scores >= best]) < len(scores)
    assert not any("score" in note for note in every.notes)


def test_nothing_found_is_an_empty_file(tmp_path: Path) -> None:
    made = mapped(adapted("detection"), tmp_path, "detection", score=1.0)
    assert made.objects == {} and len(read(made.outputs[0])[1]) == 0
    assert not list(tmp_path.glob(".*"))


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners ``(N, 4, 2)``, classes and scores."""
    _, _, geometry, (names, scores, *_) = pyogrio.raw.read(path)
    rings = [np.array(shapely.from_wkb(one).exterior.coords)[:4] for one in geometry]
    return np.array(rings), names, scores


def _centres(found: Detections) -> np.ndarray:
    boxes = found.boxes_N
    return (boxes[:, :2] + boxes[:, 2:]) / 2 if boxes.shape[1] == 4 else boxes[:, :2]


def test_a_simulated_place_is_judged_as_evaluation_judges_it(tmp_path: Path) -> None:
    """From the folder of a data set on one side, from its files on the other."""
    simulate(tmp_path / "earth", regions=1, places_per_region=1, footprint_cells=8, buildings=True)
    (folder,) = (path for path in (tmp_path / "earth").iterdir() if path.is_dir())
    config = replace(SMALL, window_cells=8)
    for label, task, source in (
        ("land_cover", "segmentation", folder / "hr.tif"),
        ("change", "change", f"{{before: {folder / 'hr.tif'}, after: {folder / 'hr_after.tif'}}}"),
    ):
        model = adapted(task, config)
        data = model.reading.prepared(open_labelled(tmp_path / "earth", task=task, label=label))
        (wanted,) = model.predictor()([data.read(0)])
        made = predict(model, source, tmp_path / f"{task}.zarr", probabilities=True)
        with open_product(made.outputs[0]) as product:
            if isinstance(wanted, ClassMap):
                np.testing.assert_array_equal(whole(product, "classes")[0], wanted.answer_HW)
                stored, numbers = whole(product, "probability").max(axis=0), wanted.confidence_HW
            else:
                stored, numbers = whole(product, "changed")[0], wanted.changed_HW
            assert (
                np.abs(stored - np.rint(numbers * 254)).max() <= 1 and (stored == np.rint(numbers * 254)).mean() > 0.99
            )
            assert product.metadata["source"]["before" if task == "change" else "sensors"]


def test_a_run_goes_on_after_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that were answered are not answered again, and the objects are the same."""
    model, scene = adapted("detection"), hr_scene(tmp_path / "scene.tif", 160, 128)
    predict(model, scene, tmp_path / "whole", quicklook=False)
    with monkeypatch.context() as patch:
        patch.setattr("skysense.maps.predict.write_vectors", lambda *_: (_ for _ in ()).throw(OutputError("is full")))
        with pytest.raises(OutputError, match="is full"):
            predict(model, scene, tmp_path / "cut", quicklook=False)
    with pytest.raises(OutputError, match="another run"):
        predict(model, scene, tmp_path / "cut", quicklook=False, settings=MapSettings(flips=True))
    monkeypatch.setattr("skysense.maps.making.compute", None)
    predict(model, scene, tmp_path / "cut", quicklook=False)
    for one, other in zip(read(tmp_path / "whole.gpkg"), read(tmp_path / "cut.gpkg"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.gpkg", "scene.tif", "whole.gpkg"]


def test_objects_killed_before_their_work_is_removed_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scene, out = adapted("detection"), hr_scene(tmp_path / "scene.tif", 160, 128), tmp_path / "found.gpkg"
    predict(model, scene, tmp_path / "whole")

    def killed(folder: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(model, scene, out)
    assert out.exists() and (tmp_path / ".found.gpkg.work").exists()
    monkeypatch.setattr("skysense.maps.making.compute", None)
    again = predict(model, scene, out)
    for one, other in zip(read(tmp_path / "whole.gpkg"), read(out), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.quicklook == tmp_path / "found.gpkg.png" and again.quicklook.exists()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(OutputError, match=r"found\.gpkg: exists already"):
        predict(model, scene, out)


def test_what_does_not_suit_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    hr = hr_scene(tmp_path / "hr.tif", 128, 128)
    objects, classes, change = adapted("detection"), adapted("segmentation"), adapted("change")
    with pytest.raises(OutputError, match=r"objects, which are polygons. Call it .gpkg or .geojson"):
        predict(objects, hr, tmp_path / "out.tif")
    with pytest.raises(OutputError, match=r"Call it .tif or .zarr"):
        predict(classes, hr, tmp_path / "out.gpkg")
    with pytest.raises(InputError, match="does not name two dates"):
        predict(change, hr, tmp_path / "out.tif")
    with pytest.raises(InputError, match="does not name two dates"):
        predict(change, {"before": str(hr)}, tmp_path / "out.tif")
    with pytest.raises(InputError, match="names two dates; only a model of change"):
        predict(classes, {"before": str(hr), "after": str(hr)}, tmp_path / "out.tif")
    with pytest.raises(ConfigError, match="score 2: it must lie"):
        predict(objects, hr, tmp_path / "out.gpkg", score=2)
    with pytest.raises(OutputError, match="is the input"):
        predict(classes, hr, hr, overwrite=True)
    series = adapted("segmentation", replace(SMALL, modalities=("s2",)), per_cell=1)
    with pytest.raises(InputError, match=r"R, G, B.*sentinel-2-l2a"):
        predict(series, hr, tmp_path / "out.tif")
    save_model(tmp_path / "model.safetensors", tiny())
    with pytest.raises(InputError, match=r"is no adapted model. Give the adapted.safetensors"):
        predict(tmp_path / "model.safetensors", hr, tmp_path / "out.tif")
    classes.save(tmp_path / "adapted.safetensors")
    with pytest.raises(InputError, match=r"is a model adapted to a task.*skysense map"):
        load(tmp_path / "adapted.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"hr.tif", "model.safetensors", "adapted.safetensors"}


def test_an_output_is_not_replaced_unasked_and_a_missing_sensor_is_told(tmp_path: Path) -> None:
    scene = s2_scene(tmp_path / "s2.tif", 8, 8)
    both = adapted("segmentation", replace(SMALL, modalities=("hr", "s2")))
    made = predict(both, scene, tmp_path / "map.tif")
    assert any("also reads hr" in note for note in made.notes) and made.shape == (256, 256)
    before = made.outputs[0].read_bytes()
    made.quicklook.unlink()  # type: ignore[union-attr]
    with pytest.raises(OutputError, match="exists already"):
        predict(both, scene, tmp_path / "map.tif")
    again = predict(both, scene, tmp_path / "map.tif", overwrite=True)
    assert again.outputs[0].read_bytes() == before
