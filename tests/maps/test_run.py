"""Parts of a map, computed in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from skysense.geo import RegionTable, Window, region_cell
from skysense.maps.account import Account
from skysense.maps.answer import Answerer, Regions, WindowAnswer
from skysense.maps.found import found_of
from skysense.maps.job import Job, Settings, parting_of
from skysense.maps.parts import Parting
from skysense.maps.product.read import open_product
from skysense.maps.product.work import Work
from skysense.maps.run import compute
from skysense.maps.sources.position import Positions
from skysense.observation import Sample
from tests.maps.fakes import ArraySource, Mean3, finer, mean3
from tests.maps.scenes import s1_values


def job_of(
    out: Path, source: ArraySource, answerer: Answerer, parting: Parting | None = None, batch_size: int = 3, **settings
) -> Job:
    layout = Settings(batch_size=batch_size, **settings).layout(source.grid.height, source.grid.width)
    parting = parting or parting_of(layout, answerer)
    work = Work.begin(out, source.grid, answerer.layers, parting, {"run": 1})
    return Job(source, layout, parting, answerer.scores, work, batch_size)


def made(job: Job) -> dict[str, np.ndarray]:
    """All layers of a finished map."""
    paths = job.work.finish({})
    product = open_product(paths[0])
    found = {}
    for name in product.layers:
        grid = product.pixels(name)
        found[name] = product.read_values(name, Window(0, 0, grid.height, grid.width))
    product.close()
    return found


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_in_windows_and_parts_a_local_model_answers_as_for_the_whole(tmp_path: Path, suffix: str) -> None:
    values = s1_values(150, 131)
    values[:, 40:60, 100:120] = np.nan
    source, answerer = ArraySource(values), Mean3(fine=8)
    job = job_of(tmp_path / f"a.{suffix}", source, answerer, Parting(150, 131, 64, 64), overlap_cells=4)
    compute(job, answerer, job.todo())
    assert job.todo() == []
    account = job.account()
    mean, seen = mean3(np.where(np.isnan(values), 0, values), ~np.isnan(values[0]))
    assert account.observed == seen.sum()
    assert account.windows == len(job.layout)
    found = made(job)
    for name, (whole, observed) in {"mean": (mean, seen), "fine": finer(mean[:1], seen, 8)}.items():
        np.testing.assert_array_equal(np.isnan(found[name]), np.broadcast_to(~observed, whole.shape))
        np.testing.assert_allclose(found[name][:, observed], whole[:, observed], rtol=1e-6)


def test_a_run_may_go_on_elsewhere_and_says_so(tmp_path: Path) -> None:
    source, answerer = ArraySource(s1_values(90, 100)), Mean3()
    job = job_of(tmp_path / "a.tif", source, answerer, Parting(90, 100, 64, 64))
    first, *rest = job.todo()
    compute(job, answerer, [first])
    assert job.account().to_json()["devices"] == ["cpu"] and not job.account().notes()
    compute(job, replace(answerer, device="meta"), rest)
    assert Account.from_json(job.account().to_json()).devices == {"cpu", "meta"}
    assert job.account().notes() == ("parts were computed on cpu and meta, which round differently",)


def test_parts_of_any_size_make_the_same_map(tmp_path: Path) -> None:
    source, answerer = ArraySource(s1_values(90, 100)), Mean3()
    maps = []
    for at, sides in enumerate([(90, 100), (32, 64), (64, 32)]):
        job = job_of(tmp_path / f"{at}.tif", source, answerer, Parting(90, 100, *sides))
        compute(job, answerer, reversed(job.todo()))
        maps.append(made(job)["mean"])
    np.testing.assert_array_equal(maps[1], maps[0])
    np.testing.assert_array_equal(maps[2], maps[0])


@dataclass(frozen=True)
class Leaning(Mean3):
    """Answers every cell of a window with the number of the window: the worst that a model's context can do."""

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        shape = samples[0].grid
        numbers = [sum(map(int, sample.name.strip("()").split(","))) % 5 for sample in samples]
        return [
            WindowAnswer({"mean": (np.full((2, *shape), number, np.float32), np.ones(shape, bool))})
            for number in numbers
        ]


def test_what_windows_disagree_about_is_spread_over_what_they_share(tmp_path: Path) -> None:
    steps = []
    for overlap in (0, 8):
        answerer = Leaning()
        job = job_of(tmp_path / f"{overlap}.tif", ArraySource(s1_values(64, 64)), answerer, overlap_cells=overlap)
        compute(job, answerer, job.todo())
        steps.append(np.abs(np.diff(made(job)["mean"], axis=2)).max())
    assert steps[0] >= 1
    assert steps[1] <= 0.25 * 4, "at most a quarter of what two neighbours disagree about goes into one cell"
    assert steps[1] < 0.5 * steps[0]


def test_every_window_is_accounted_for_once(tmp_path: Path) -> None:
    values = s1_values(64, 64)
    values[:, 16:32, :16] = np.nan
    grid = ArraySource(values).grid
    lon, lat = Positions(grid).centre(Window(0, 0, 16, 16))
    assert lon is not None
    assert lat is not None
    regions = Regions(RegionTable([region_cell(lon, lat)]), (False,))
    source = ArraySource(values, broken=((24, 24), (48, 0)), torn=((0, 0), (0, 24), (24, 48)))
    answerer = Mean3(regions=regions)
    job = job_of(tmp_path / "a.tif", source, answerer, Parting(64, 64, 32, 32), overlap_cells=8)
    told: list[int] = []
    compute(job, answerer, job.todo(), told.append)
    account = job.account()
    assert account.windows == len(job.layout) == 49
    assert sum(told) == job.windows(job.parting.parts) == 16 + 2 * 4 * 4 + 16  # nine of them twice, one four times
    assert account.empty == 1
    assert [one.window for one in account.skipped] == [Window(24, 24, 16, 16), Window(48, 0, 16, 16)]
    assert account.skipped[0].reason == "cannot be read"
    assert account.lost == {"array of 2024-07-14": 3}
    assert account.no_context == 49 - 1 - 2
    notes = account.notes()
    assert "46 of 49 windows lie in regions whose prototypes" in notes[0]
    assert notes[1] == "left out of 3 windows: array of 2024-07-14"


@dataclass(frozen=True)
class Counted(Mean3):
    """Remembers what it was asked."""

    batches: tuple[list[list[str]], ...] = ([],)

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        self.batches[0].append([sample.name for sample in samples])
        return super().__call__(samples)


def test_batches_of_a_part_are_the_same_whichever_part_was_before(tmp_path: Path) -> None:
    source = ArraySource(s1_values(64, 64))
    asked = []
    for at, order in enumerate((1, -1)):
        answerer = Counted(batches=([],))
        job = job_of(tmp_path / f"{at}.tif", source, answerer, Parting(64, 64, 32, 32), overlap_cells=0)
        compute(job, answerer, job.todo()[::order])
        asked.append(answerer.batches[0])
    assert [len(batch) for batch in asked[0]] == [3, 1] * 4
    assert sorted(asked[0]) == sorted(asked[1])


def test_what_goes_wrong_in_a_part_leaves_those_before_it(tmp_path: Path) -> None:
    source = ArraySource(s1_values(64, 64))

    class Failing(Mean3):
        def encode(self, blended: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if blended["mean"][0, 1, 1] != first:
                raise ValueError("a bug")
            return dict(blended)

    answerer = Failing()
    first = mean3(source.values_2hw[:, :16, :16], np.ones((16, 16), bool))[0][0, 1, 1]
    job = job_of(tmp_path / "a.tif", source, answerer, Parting(64, 64, 32, 64), overlap_cells=0)
    with pytest.raises(ValueError, match="a bug"):
        compute(job, answerer, job.todo())
    assert [part.name for part in job.todo()] == ["1-0"]
    compute(job, Mean3(), job.todo())
    assert job.account().observed == 64 * 64 - 4 * 4 * (16 * 16 - 14 * 14)


@dataclass(frozen=True)
class Boxes(Mean3):
    """One box per window, whose label is how many cells were seen."""

    @property
    def scores(self) -> dict[str, tuple[int, int]]:
        return {}

    @property
    def layers(self) -> tuple[()]:
        return ()

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        import torch

        from skysense.tasks.detection.boxes import Found

        seen = [int(sample.series["s1"].valid.sum()) for sample in samples]
        return [WindowAnswer({}, Found(torch.ones(1, 4), torch.ones(1), torch.tensor([one]))) for one in seen]


def test_objects_are_kept_once_for_every_window(tmp_path: Path) -> None:
    values = s1_values(40, 40)
    values[0, 3, 3] = np.nan
    answerer = Boxes()
    job = job_of(tmp_path / "a.tif", ArraySource(values), answerer, Parting(40, 40, 32, 32), overlap_cells=4)
    compute(job, answerer, job.todo())
    found = found_of(job.work, job.parting)
    assert {window for window, _ in found} == set(job.layout)
    assert len(found) == len(job.layout) == job.account().observed == 9
    assert [int(one.label_N) for _, one in found] == [255] + [256] * 8


def test_parts_are_wide_as_memory_allows_and_many_enough_to_share() -> None:
    def sides(height: int, width: int, channels: int, per_cell: int = 1) -> tuple[int, int]:
        class Wide(Mean3):
            scores = {"mean": (channels, per_cell)}  # noqa: RUF012

        parting = parting_of(Settings().layout(height, width), Wide())
        return parting.part_height, parting.part_width

    assert sides(100, 100, 8) == (512, 256), "a small map is one part"
    assert sides(5000, 5000, 8) == (2048, 1024)
    assert sides(3000, 3000, 8) == (1024, 512)
    assert sides(1000, 1000, 8) == (512, 256)
    assert sides(20000, 20000, 5632) == (256, 128), "open rows of 1024 cells would take 1.1 GB"
