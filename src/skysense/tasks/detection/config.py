"""The numbers of the detectors.

Lengths are in cells of a map, not in pixels: what a cell of 4 px is to an aerial image, a cell of 1 px is to Sentinel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from skysense.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """What two-stage detectors have in common.

    Attributes:
        channels: width of the pyramid.
        anchor_scale: square root of the area of the anchors of a level, in its cells. A square object must have 0.55
            of it (4.4 cells of the finest level, 17.5 px at 4 px a cell) for an IoU of 0.3 with an anchor; smaller ones
            ask for a smaller scale.
        anchor_ratios: height over width of the anchors.
        anchor_positive: anchors that overlap a truth by this IoU shall find it.
        anchor_negative: those below this with every truth shall find nothing; those between do not count.
        anchors_sampled: anchors per image that count in the loss.
        anchors_positive: greatest share of positive ones among them.
        proposals_per_level: best anchors of a level that become proposals.
        proposal_nms: greatest IoU of two proposals of a level.
        proposals: most proposals of an image.
        roi_size: cells on the side of what the head sees of a proposal.
        roi_samples: points on the side of each of them.
        roi_scale: square root of the area, in cells, from whose double on a proposal is read from the second finest
            level, and so on by doublings: 56 px at 4 px a cell.
        hidden: width of the two layers of the head.
        head_iou: proposals that overlap a truth by this IoU shall tell its class and box, the others "nothing".
        head_sampled: proposals per image that count in the loss.
        head_positive: greatest share of positive ones among them.
        score: least score of a detection.
        nms: greatest IoU of two detections of a class.
        detections: most detections of an image.
        ignored_share: what lies by this share of its area in a box that does not count, and finds nothing else, does
            not count either.
    """

    channels: int = 256
    anchor_scale: float = 8.0
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_positive: float = 0.7
    anchor_negative: float = 0.3
    anchors_sampled: int = 256
    anchors_positive: float = 0.5
    proposals_per_level: int = 2000
    proposal_nms: float = 0.7
    proposals: int = 1000
    roi_size: int = 7
    roi_samples: int = 2
    roi_scale: float = 14.0
    hidden: int = 1024
    head_iou: float = 0.5
    head_sampled: int = 512
    head_positive: float = 0.25
    score: float = 0.05
    nms: float = 0.5
    detections: int = 100
    ignored_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.anchor_negative <= self.anchor_positive <= 1:
            raise ConfigError(
                f"anchor_negative {self.anchor_negative} and anchor_positive {self.anchor_positive} ascend in 0 .. 1"
            )
        if self.anchor_scale <= 0 or not self.anchor_ratios or min(self.anchor_ratios) <= 0:
            raise ConfigError(
                f"anchors need a scale and ratios above 0; got {self.anchor_scale} and {self.anchor_ratios}"
            )


@dataclass(frozen=True, kw_only=True)
class FasterRcnnConfig(DetectorConfig):
    """Faster R-CNN with a feature pyramid; the numbers of its paper and code."""


@dataclass(frozen=True, kw_only=True)
class OrientedRcnnConfig(DetectorConfig):
    """Oriented R-CNN; the numbers of its paper and code.

    Two detections of a class may hardly overlap: objects that lie side by side do not, once their boxes are turned.
    """

    proposal_nms: float = 0.8
    proposals: int = 2000
    nms: float = 0.1
    detections: int = 2000


def check_strides(strides: Sequence[float]) -> tuple[float, ...]:
    """Pixels per cell of every level, checked.

    Raises:
        ConfigError: none, or some that do not double from level to level: a proposal could not tell its level.
    """
    if not strides or strides[0] <= 0 or any(after != 2 * before for before, after in pairwise(strides)):
        raise ConfigError(f"the strides of a pyramid double from level to level, as 4, 8, 16, 32; got {tuple(strides)}")
    return tuple(strides)
