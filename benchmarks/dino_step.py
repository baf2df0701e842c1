"""One DINO step against that of lightly (MIT licence), at equal backbone, crops, head and optimiser.

Both sides have the Swin of the package with the same weights, mean pooling, heads of the same sizes, and the same
prepared views of the same simulated places: images alone, two global views and some local crops.

* lightly: its projection head, its loss (a centre keeps the teacher from collapsing), its moving average, in the loop
  of its tutorial: one forward pass per view and crop.
* package: `skysense.pretrain.run.Run` with the image term alone, once as it is, with fusion and the head of the fused
  feature, which lightly has nothing like, and once with these put aside, so that both sides do the same work.

In the time are colours and normalisation (the package's on both sides), forward and backward, clipping, AdamW (fused
on both sides) and the teacher's average; reading and cutting views are not. Pooled features are compared first. Printed
are medians of the ratios of processor time, in turns; and the ceiling: what the ratio would be if a step did nothing
but colour images and run the common backbone, forward for the teacher, forward and backward for the student.

lightly is no part of the package's environment. It needs little of what it asks for, and is found wherever it was put:
``pip install --no-deps --target DIR lightly lightly-utils``, then ``PYTHONPATH=DIR``.

Run: ``OMP_NUM_THREADS=1 python benchmarks/dino_step.py``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from _runs import prepared, simulate, told
from torch import Tensor, nn

from skysense.demo import DEMO
from skysense.geo import RegionTable
from skysense.model.assembly import SkySense
from skysense.observation import Batch
from skysense.pretrain import objective as objective_module
from skysense.pretrain import terms
from skysense.pretrain.augment import augment
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import ObjectiveConfig, PretrainConfig
from skysense.pretrain.heads import DinoHead
from skysense.pretrain.objective import FUSED
from skysense.pretrain.run import Run
from skysense.pretrain.views import Look
from skysense.train.optimiser import adamw

CLOSE = 1e-5


class Pooled(nn.Module):
    """Image encoder of a model, and the mean of what it sees."""

    def __init__(self, model: SkySense) -> None:
        super().__init__()
        self.encoder = model.hr

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images ``(N, 3, H, W)`` to ``(N, D)``."""
        return self.encoder(image)[-1].mean((2, 3))


class Peer:
    """The step of lightly's tutorial."""

    def __init__(self, run: Run) -> None:
        from lightly.loss import DINOLoss
        from lightly.models.modules import DINOProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        self.config, self.entry = run.config, run.student.model.entry_hr
        ours = run.student.heads["hr"]
        assert isinstance(ours, DinoHead)
        prototypes, bottleneck = ours.last_layer.shape
        linear = next(layer for layer in ours.mlp if isinstance(layer, nn.Linear))
        sizes = (linear.in_features, linear.out_features, bottleneck, prototypes)
        self.student_backbone = Pooled(copy.deepcopy(run.student.model))
        self.student_head = DINOProjectionHead(*sizes, freeze_last_layer=0)
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.teacher_head = DINOProjectionHead(*sizes)
        deactivate_requires_grad(self.teacher_backbone)
        deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=prototypes, warmup_teacher_temp_epochs=5)
        numbers = run.config.optimiser
        self.optimiser = adamw(
            (self.student_backbone, self.student_head), weight_decay=numbers.weight_decay, betas=numbers.betas
        )
        for group in self.optimiser.param_groups:
            group["lr"] = numbers.learning_rate

    def views(self, views: ViewBatch) -> list[Tensor]:
        """Global views, then crops, each of all places, coloured and normalised."""
        assert views.locals is not None
        crops = views.locals.size // views.places
        return [self._image(views.globals, views.looks[0], slice(view, None, 2)) for view in range(2)] + [
            self._image(views.locals, views.looks[1], slice(crop, None, crops)) for crop in range(crops)
        ]

    def _image(self, batch: Batch, looks: list[Look], rows: slice) -> Tensor:
        frames = batch.frames["hr"]
        return self.entry(augment(frames.values_BTCHW[rows, 0], looks[rows]), frames.valid_BTHW[rows, 0])

    def advance(self, views: ViewBatch) -> dict[str, float]:
        """One step."""
        from lightly.models.utils import update_momentum

        momentum = self.config.optimiser.teacher_momentum
        update_momentum(self.student_backbone, self.teacher_backbone, m=momentum)
        update_momentum(self.student_head, self.teacher_head, m=momentum)
        images = self.views(views)
        teacher_out = [self.teacher_head(self.teacher_backbone(image)) for image in images[:2]]
        student_out = [self.student_head(self.student_backbone(image)) for image in images]
        loss = self.criterion(teacher_out, student_out, epoch=10)
        loss.backward()
        self.student_head.cancel_last_layer_gradients(current_epoch=10)
        learned = [*self.student_backbone.parameters(), *self.student_head.parameters()]
        nn.utils.clip_grad_norm_(learned, self.config.optimiser.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return {"loss": float(loss)}


def pooled_images(backbone: Pooled, entry: nn.Module, batch: Batch) -> Tensor:
    """Pooled features of all images of a batch at once."""
    frames = batch.frames["hr"]
    return backbone(entry(frames.values_BTCHW[:, 0], frames.valid_BTHW[:, 0]))


@contextmanager
def image_alone() -> Iterator[None]:
    """No fusion, and no head of what it makes."""

    def nothing(
        self: SkySense, frames: object, size: int, grid: tuple[int, int], words_B: object
    ) -> tuple[Tensor, Tensor]:
        return torch.zeros(size, self.fusion.config.dim, *grid), torch.zeros(size, *grid, dtype=torch.bool)

    sources = objective_module.sources

    def without_fused(*args: Any) -> dict[str, Any]:
        return {name: source for name, source in sources(*args).items() if name != FUSED}

    with mock.patch.object(SkySense, "fuse", nothing), mock.patch.object(objective_module, "sources", without_fused):
        yield


def configuration(batch_size: int, crops: int) -> PretrainConfig:
    """The image term and nothing else."""
    return replace(
        DEMO,
        batch_size=batch_size,
        views=replace(DEMO.views, local_crops=crops),
        objective=ObjectiveConfig(pixel=0, object=0, beta=0, geo_context=False),
        watch_every=DEMO.steps,
    )


def check(run: Run, peer: Peer, views: ViewBatch) -> float:
    """Largest difference of the pooled features of the global views, as a share of the largest.

    Raises:
        SystemExit: it is more than `CLOSE`.
    """
    with torch.no_grad():
        seen = run.student.model(views.to("cpu").globals).frames["hr"]
        ours = terms.pool(seen.values_NDhw, seen.valid_Nhw)
        theirs = torch.stack([peer.student_backbone(image) for image in peer.views(views)[:2]], 1).flatten(0, 1)
    difference = float((ours - theirs).abs().max() / ours.abs().max())
    if not difference <= CLOSE:
        raise SystemExit(f"the two sides do not see the same: pooled features differ by {difference:.1e}")
    return difference


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=DEMO.batch_size, help="places")
    parser.add_argument("--crops", type=int, default=6, help="local crops; six are lightly's default")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        import lightly  # noqa: F401
    except ImportError:
        print("lightly is not installed: pip install --no-deps --target DIR lightly lightly-utils; PYTHONPATH=DIR")
        return
    config = configuration(args.batch_size, args.crops)
    samples, _ = simulate(args.batch_size, 2 * config.views.global_cells)
    views = prepared([sample.only(["hr"]) for sample in samples], config, 0)
    whole, alone = Run(config, RegionTable([])), Run(config, RegionTable([]))
    peer = Peer(whole)
    print(f"pooled features of the global views differ by {check(whole, peer, views):.1e}")

    def advance_alone(views: ViewBatch) -> dict[str, float]:
        with image_alone():
            return alone.advance(views)

    def backbone(views: ViewBatch) -> None:
        moved = views.to("cpu")
        with torch.no_grad():
            pooled_images(peer.teacher_backbone, peer.entry, moved.globals)
        assert moved.locals is not None
        for batch in (moved.globals, moved.locals):
            pooled_images(peer.student_backbone, peer.entry, batch).sum().backward()
        peer.optimiser.zero_grad()

    sides: dict[str, Callable[[ViewBatch], object]] = {
        "lightly": peer.advance,
        "the image alone": advance_alone,
        "with fusion": whole.advance,
        "the backbone, the ceiling": backbone,
    }
    rounds = []
    for number in range(args.rounds + 1):  # the first one warms up; who begins alternates
        seconds = {}
        for name in list(sides)[:: 1 if number % 2 else -1]:
            began = time.process_time()
            sides[name](views)
            seconds[name] = time.process_time() - began
        rounds.append(seconds)
    del rounds[0]
    pixels = [32 * cells for cells in (config.views.global_cells, config.views.local_cells)]
    print(
        f"{config.preset}, 1 thread, {args.batch_size} places, 2 views of {pixels[0]} px, {args.crops} crops of "
        f"{pixels[1]} px, float32; seconds a step: "
        + ", ".join(f"{name} {statistics.median(one[name] for one in rounds):.2f}" for name in sides)
    )
    for name in list(sides)[1:]:
        print(f"lightly / package, {name}: {told([one['lightly'] / one[name] for one in rounds])}")


if __name__ == "__main__":
    main()
