"""Oriented R-CNN (Xie et al., ICCV 2021, arXiv 2108.05699): rectangles of any direction, in two stages.

What the published configuration leaves out of the loss and we do not are anchors that stick out of the image: on tiles
of a few hundred pixels those of the coarse levels all do. What to do follows from whether truths are given, not from
the mode of the module.

Letters: B images, D width of a map, H W its cells, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skysense.tasks.detection.boxes import Found, Truth
from skysense.tasks.detection.config import OrientedRcnnConfig, check_strides
from skysense.tasks.detection.fpn import Pyramid
from skysense.tasks.detection.oriented_head import OrientedHead
from skysense.tasks.detection.oriented_rpn import OrientedRpn


class OrientedRcnn(nn.Module):
    """The oriented detector.

    Args:
        widths: channels of the maps it reads, from fine to coarse.
        classes: K.
        strides: label pixels per cell of the maps, doubling from level to level.
        config: its other numbers.

    Raises:
        ConfigError: strides that do not double.
    """

    def __init__(
        self,
        widths: Sequence[int],
        classes: int,
        strides: Sequence[float] = (4, 8, 16, 32),
        config: OrientedRcnnConfig | None = None,
    ) -> None:
        super().__init__()
        config = config or OrientedRcnnConfig()
        strides = check_strides(strides)
        self.pyramid = Pyramid(widths, config.channels)
        self.rpn = OrientedRpn(config, (*strides, 2 * strides[-1]))
        self.head = OrientedHead(config, strides, classes)

    def forward(
        self, maps: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]], targets: Sequence[Truth] | None = None
    ) -> dict[str, Tensor] | list[Found]:
        """Find boxes, or say how far off they are.

        Args:
            maps: ``(B, D_i, H_i, W_i)`` from fine to coarse.
            image_sizes: height and width of every image without padding, label pixels.
            targets: the truths of every image, in training.

        Returns:
            With truths the losses ``rpn_objectness``, ``rpn_box``, ``head_class`` and ``head_box``, to be added up;
            without, what is found in every image.

        Raises:
            InputError: maps that are not of `widths`.
        """
        levels = self.pyramid(maps)
        logits, offsets, anchors = self.rpn(levels)
        proposals = self.rpn.propose(logits, offsets, anchors, image_sizes)
        if targets is None:
            return self.head.found(levels[:-1], proposals, image_sizes)
        return self.rpn.losses(logits, offsets, anchors, targets) | self.head.losses(levels[:-1], proposals, targets)
