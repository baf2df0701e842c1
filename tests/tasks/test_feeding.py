"""Views of different examples in one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skysense.data.labelled.example import UNLABELLED, Boxes
from skysense.errors import InputError
from skysense.tasks.feeding import views_batch
from tests.tasks.labelled_samples import both_example, example, series_example


def test_smaller_views_are_padded_to_the_largest() -> None:
    found = views_batch([example("segmentation", 0), example("segmentation", 1, side=256)])
    assert found.grid == (256, 256) and found.sizes == [(128, 128), (256, 256)]
    assert found.batch.frames["hr"].values_BTCHW.shape[3:] == (256, 256)
    assert found.labels.mask_BHW is not None
    assert (found.labels.mask_BHW[0, 128:] == UNLABELLED).all() and (found.labels.mask_BHW[1] <= 1).all()


@pytest.mark.parametrize("order", [1, -1])
def test_places_with_and_without_the_image_go_together_by_their_cells(order: int) -> None:
    fine = both_example(0)
    coarse = replace(series_example(1, cells=8), target=1)
    found = views_batch([fine, coarse][::order])
    assert found.batch.frames["s2"].values_BTCHW.shape[3:] == (8, 8)
    assert found.batch.frames["hr"].values_BTCHW.shape[3:] == (256, 256)
    assert found.batch.frames["hr"].present_BT.any(dim=1).tolist() == [True, False][::order]
    assert found.labels.class_B is not None and found.labels.class_B.tolist() == [0, 1][::order]


def test_labels_on_different_grids_are_refused() -> None:
    coarse, mask = series_example(1, cells=4), np.zeros((128, 128), np.uint8)
    boxes = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    for fine, other in ((mask, coarse.target), (boxes, boxes)):
        with pytest.raises(InputError, match=r"place0 has labels in pixels .* and series1 one per cell"):
            views_batch([replace(coarse, target=other), replace(both_example(0), target=fine)])
