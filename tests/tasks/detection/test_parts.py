"""Anchors, levels, assignment and sampling against small cases worked out by hand."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from skysense.tasks.detection.anchors import grid_anchors
from skysense.tasks.detection.assign import NOT_COUNTED, NOTHING, leave_out, match, sample, shares
from skysense.tasks.detection.fpn import Pyramid
from skysense.tasks.detection.pooling import levels_of, pool


def test_anchors_have_one_area_and_lie_around_corners_of_cells():
    fine, coarse = grid_anchors([(2, 3), (1, 2)], (4, 8), 8.0, (0.25, 1.0, 4.0), torch.zeros(()))
    assert fine.shape == (18, 4) and coarse.shape == (6, 4)
    # row 1, column 2 of the fine level: around (8, 4), 64 x 16, 32 x 32, 16 x 64
    assert fine[15:].tolist() == [[-24, -4, 40, 12], [-8, -12, 24, 20], [0, -28, 16, 36]]
    assert coarse[3:].tolist() == [[-56, -16, 72, 16], [-24, -32, 40, 32], [-8, -64, 24, 64]]


def test_levels_by_the_size_of_a_box():
    sizes = torch.tensor([0.0, 5.0, 111.9, 112.0, 223.0, 448.0, 447.0, 9000.0])
    assert levels_of(sizes, 56.0, 4).tolist() == [0, 0, 0, 1, 1, 3, 2, 3]


def test_pooling_keeps_the_order_of_boxes():
    maps = [torch.full((2, 1, 8, 8), value) for value in (1.0, 2.0)]
    maps[1][1] = 20.0
    boxes = [torch.tensor([[0.0, 0, 100, 100], [0, 0, 10, 10]]), torch.tensor([[0.0, 0, 80, 90], [0, 0, 8, 8]])]
    sizes = [one[:, 2] for one in boxes]

    def align(map_BDHW, rois, scale):
        return map_BDHW[rois[:, 0].long(), :, :1, :1] + rois[:, 3, None, None, None] * scale

    found = pool(maps, boxes, sizes, (2, 4), 30.0, align)
    assert found.flatten().tolist() == [2 + 25, 1 + 5, 20 + 20, 1 + 4]


def test_match_by_thresholds_and_rescue():
    iou = torch.tensor([[0.8, 0.5, 0.1, 0.35, 0.2], [0.7, 0.6, 0.0, 0.36, 0.2], [0.1, 0.29, 0.25, 0.0, 0.29]])
    assert match(iou, 0.7, 0.3).tolist() == [0, NOT_COUNTED, NOTHING, NOT_COUNTED, NOTHING]
    # the best of the second truth is box 0, which two truths want; the third has none of 0.3
    assert match(iou, 0.7, 0.3, rescue=0.3).tolist() == [0, NOT_COUNTED, NOTHING, NOT_COUNTED, NOTHING]
    # both boxes that overlap the third most are its
    assert match(iou, 0.7, 0.3, rescue=0.2).tolist() == [0, 2, NOTHING, NOT_COUNTED, 2]
    assert match(iou[1:], 0.75, 0.3, rescue=0.3).tolist() == [0, NOT_COUNTED, NOTHING, NOT_COUNTED, NOTHING]
    assert match(iou[:0], 0.7, 0.3, rescue=0.3).tolist() == [NOTHING] * 5
    assert match(iou[:, :0], 0.7, 0.3, rescue=0.3).tolist() == []


def test_ignored_truths_take_what_would_find_nothing():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 8], [2, 2, 4, 4]])
    inside = shares(boxes, torch.tensor([[0.0, 0, 4, 4], [1, 0, 9, 9]]))
    assert inside.tolist() == [[1.0, 0.5, 1.0], [0.75, 0.5, 1.0]]
    truth = torch.tensor([0, NOTHING, NOT_COUNTED])
    assert leave_out(truth, inside, 0.5).tolist() == [0, NOT_COUNTED, NOT_COUNTED]
    assert leave_out(truth, inside, 0.6).tolist() == [0, NOTHING, NOT_COUNTED]
    assert leave_out(truth, inside[:0], 0.5).tolist() == truth.tolist()


@given(st.lists(st.sampled_from([0, 3, NOTHING, NOT_COUNTED]), max_size=30), st.integers(1, 20), st.floats(0, 1))
def test_samples_are_as_many_as_there_are_up_to_the_number(found, count, share):
    truth = torch.tensor(found, dtype=torch.long)
    finders, others = sample(truth, count, share)
    assert len(finders) == min(sum(one >= 0 for one in found), int(count * share))
    assert len(others) == min(found.count(NOTHING), count - len(finders))
    assert bool((truth[finders] >= 0).all()) and bool((truth[others] == NOTHING).all())
    assert len(set(finders.tolist())) == len(finders) and len(set(others.tolist())) == len(others)


def test_pyramid_adds_a_level_of_every_second_cell():
    torch.manual_seed(0)
    pyramid = Pyramid((2, 3), 4)
    levels = pyramid([torch.randn(1, 2, 6, 10), torch.randn(1, 3, 3, 5)])
    assert [tuple(one.shape[2:]) for one in levels] == [(6, 10), (3, 5), (2, 3)]
    assert torch.equal(levels[2], levels[1][:, :, ::2, ::2])
