"""What adapting to a task costs beyond the model: in learning, on frozen features, in judging large images.

* step: a training step of `skysense.tasks.module.TaskModule` under the trainer that `adapt` sets up, against the bare
  loop: encoder, head, losses, backward, clipping, the same fused AdamW, its schedule. Batches lie ready for both. The
  two step in turns, from equal weights and random numbers, and their losses are compared at every step. Mark: 1.05.
* frozen: epochs on features that were computed once and lie in files, against epochs that run the frozen encoder
  every time on images that lie in memory; both under the trainer, with the same batches, whose losses are compared.
  Mark: 5 for a linear head on ``small``.
* windows: `Predictor` on a large image in windows, against the encoder alone on the same windows as ready batches.
  Beside it stands the encoder with its head, which shows what of the difference is the decoder's. Mark: 0.9.
* memory: what predicting one large image adds to the process, which is begun afresh for it.

Images are made up. Ratios are medians of alternating rounds, by processor time: the clock is noisy on a machine that
others use too.

Run: ``OMP_NUM_THREADS=1 python benchmarks/adapting.py`` (``--help`` lists sizes and presets).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from _labelled import data_set, image
from _runs import told
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, Dataset

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Example, Task
from skysense.model.assembly import SkySense
from skysense.model.config import PRESETS, preset
from skysense.tasks import fit as fit_module
from skysense.tasks.adapted import Adapted, build
from skysense.tasks.augment import AugmentConfig
from skysense.tasks.batches import LabelledBatch, batch_of
from skysense.tasks.config import AdaptConfig
from skysense.tasks.feeding import Drawn, views_batch
from skysense.tasks.module import TaskModule
from skysense.tasks.pieces import pieces_of

CLOSE, CHOSEN = 1e-4, 1e-2
"""Largest relative difference of two losses, and of two detectors: what rounds differently chooses other boxes."""
WIDTH = 64
"""Channels of decoders and detectors: as published they hide what the rest costs."""
CPU = torch.device("cpu")
STILL = AugmentConfig(brightness=0.0)
CLASSES = 10


def adapted_model(name: str, task: Task, per_cell: int, config: AdaptConfig) -> Adapted:
    """A model of random weights with a head."""
    torch.manual_seed(0)
    return build(SkySense(preset(name)), task, tuple(f"class {number}" for number in range(CLASSES)), per_cell, config)


def module_of(adapted: Adapted) -> TaskModule:
    """What the trainer runs."""
    return TaskModule(adapted.encoder, adapted.head, adapted.task, adapted.classes, adapted.config)


def compare(task: Task, losses: Sequence[float], others: Sequence[float]) -> None:
    """Refuse to go on with two sides that do not learn the same."""
    allowed = CHOSEN if task == "oriented-detection" else CLOSE
    for one, two in zip(losses, others, strict=True):
        if not abs(one - two) <= allowed * abs(two):
            raise SystemExit(f"{task}: the losses differ: {one} and {two}")


class Bare:
    """The loop that anyone would write.

    Args:
        module: whose weights it learns.
        steps: of the run, for the schedule.
    """

    def __init__(self, module: TaskModule, steps: int) -> None:
        self.module = module
        with mock.patch.object(module, "_trainer", mock.Mock(estimated_stepping_batches=steps)):
            made = module.configure_optimizers()
        self.optimiser, self.schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        self.parameters = [one for one in module.parameters() if one.requires_grad]
        module.train()

    def follow(self, other: TaskModule) -> None:
        """Bring everything to where the trainer is."""
        self.module.load_state_dict(other.state_dict())
        self.optimiser.load_state_dict(deepcopy(other.trainer.optimizers[0].state_dict()))
        self.schedule.load_state_dict(other.trainer.lr_scheduler_configs[0].scheduler.state_dict())

    def step(self, batch: LabelledBatch) -> Tensor:
        """One step; returns the loss."""
        losses = self.module.head.losses(self.module.encoder(batch.batch), batch)
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, fit_module._CLIP)
        self.optimiser.step()
        self.schedule.step()
        return total.detach()


@dataclass
class Turns:
    """Is called by the trainer after each of its steps, and then lets the bare loop make the same one."""

    module: TaskModule
    bare: Bare
    batch: LabelledBatch
    began: float = 0.0

    def __post_init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []
        self.losses: list[tuple[float, float]] = []

    def __call__(self, done: int, total: int, words: str) -> None:
        """Time both; what was drawn before the first step is not known, so that both begin after it."""
        now = time.process_time()
        if done == 1:
            self.bare.follow(self.module)
        else:
            torch.manual_seed(done)
            began = time.process_time()
            loss = self.bare.step(self.batch)
            self.seconds.append((now - self.began, time.process_time() - began))
            self.losses.append((float(self.module._losses[-1]), float(loss)))
        torch.manual_seed(done + 1)
        self.began = time.process_time()


def step(name: str, task: Task, decoder: Any, args: argparse.Namespace) -> None:
    """Print what the trainer adds to a step."""
    config = AdaptConfig(
        way="full", decoder=decoder, decoder_width=WIDTH, batch_size=args.batch_size, epochs=1, augment=STILL
    )
    data = data_set(task, args.batch_size, args.px, CLASSES)
    adapted = adapted_model(name, task, data.read(0).per_cell, config)
    module = module_of(adapted)
    bare = Bare(deepcopy(module), args.steps)
    batch = batch_of([data.read(index) for index in range(len(data))])
    turns = Turns(module, bare, batch)
    ready: DataLoader[Any] = DataLoader([batch] * args.steps, batch_size=None, collate_fn=fit_module._as_is)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(fit_module, "_live_loaders", return_value=(ready, None)),
    ):
        fit_module.fit(module, adapted, {"train": data}, Path(folder), model="", device=CPU, progress=turns)
    compare(task, *zip(*turns.losses, strict=True))
    found = turns.seconds[args.steps // 5 :]  # the first ones warm up
    ratios = [ours / plain for ours, plain in found]
    ours, plain = (statistics.median(pair[side] for pair in found) * 1e3 for side in (0, 1))
    head = config.decoder_for(task)
    print(
        f"step, {name}, {task} ({head}): {ours:.1f} ms, bare {plain:.1f} ms; package / bare {told(ratios)}", flush=True
    )


def epochs(
    adapted: Adapted, data: LabelledData, folder: Path, loaders: Callable[..., Any]
) -> tuple[float, list[float]]:
    """Seconds per epoch after the first one, and the loss of each."""
    marks = []

    def mark(done: int, total: int, words: str) -> None:
        if words.startswith("learning") and done % (total // adapted.config.epochs) == 0:
            marks.append(time.process_time())

    fresh = deepcopy(adapted)
    module = module_of(fresh)
    torch.manual_seed(0)
    with mock.patch.object(fit_module, "_frozen_loaders", loaders):
        fit_module.fit(module, fresh, {"train": data}, folder, model="", device=CPU, progress=mark)
    return (marks[-1] - marks[0]) / (len(marks) - 1), [row["loss"] for row in module.history]


class Whole(Dataset[Example]):
    """The images of a data set, each one window."""

    def __init__(self, data: LabelledData) -> None:
        self.data = data

    def __getitem__(self, drawn: Drawn) -> Example:
        return self.data.read(drawn[0])


def encoded_every_time(
    cached: Callable[..., Any], adapted: Adapted, train: LabelledData, *others: Any
) -> tuple[DataLoader[Any], None]:
    """The same batches with pixels in place of features."""
    learning, _ = cached(adapted, train, *others)
    return DataLoader(Whole(train), batch_sampler=learning.batch_sampler, collate_fn=views_batch), None


def frozen(name: str, task: Task, decoder: Any, args: argparse.Namespace) -> None:
    """Print what is won by frozen features."""
    config = AdaptConfig(
        way="head",
        decoder=decoder,
        decoder_width=WIDTH,
        batch_size=args.batch_size,
        epochs=args.epochs,
        augment=STILL,
    )
    data = data_set(task, args.images, args.px, CLASSES)
    adapted = adapted_model(name, task, data.read(0).per_cell, config)
    cached = fit_module._frozen_loaders
    sides = (cached, partial(encoded_every_time, cached))
    found = []
    for number in range(args.rounds):
        at = {}
        for side in (0, 1) if number % 2 else (1, 0):
            with tempfile.TemporaryDirectory() as folder:
                at[side] = epochs(adapted, data, Path(folder), sides[side])
        compare(task, at[0][1], at[1][1])
        found.append((at[0][0], at[1][0]))
    fast, slow = (statistics.median(pair[side] for pair in found) * 1e3 / args.images for side in (0, 1))
    head = config.decoder_for(task)
    ratios = told([pair[1] / pair[0] for pair in found])
    print(f"frozen, {name}, {task} ({head}): {fast:.2f} ms an image, encoded {slow:.2f} ms; encoded / frozen {ratios}")


def windows(name: str, task: Task, decoder: Any, args: argparse.Namespace) -> None:
    """Print what is left of the encoder's speed when a large image is judged."""
    config = AdaptConfig(decoder=decoder, decoder_width=WIDTH, batch_size=args.batch_size)
    example = image(task, 0, args.large, CLASSES)
    adapted = adapted_model(name, task, example.per_cell, config)
    encoder, head = adapted.encoder.eval(), adapted.head.eval()
    parts = [piece.of(example) for piece in pieces_of(0, example, task, config.window_cells)]
    batches = [batch_of(parts[at : at + args.batch_size]) for at in range(0, len(parts), args.batch_size)]

    def alone() -> None:
        for batch in batches:
            encoder(batch.batch)

    def with_head() -> None:
        for batch in batches:
            for _ in head.answers(encoder(batch.batch), batch.grid, batch.sizes):
                pass

    judge = adapted.predictor(flips=False)
    jobs: tuple[Callable[[], object], ...] = (alone, with_head, lambda: judge([example]))
    found = []
    for number in range(args.rounds + 1):  # the first one warms up
        at = {}
        for side in range(3) if number % 2 else reversed(range(3)):
            began = time.process_time()
            with torch.inference_mode():
                jobs[side]()
            at[side] = time.process_time() - began
        found.append(at)
    found = found[1:]
    times = [statistics.median(at[side] for at in found) * 1e3 / len(parts) for side in range(3)]
    print(
        f"windows, {name}, {task} ({config.decoder_for(task)}): {len(parts)} windows, encoder {times[0]:.1f} ms each, "
        f"with its head {times[1]:.1f}, predictor {times[2]:.1f}; "
        f"encoder / predictor {told([at[0] / at[2] for at in found])}, "
        f"with head / predictor {told([at[1] / at[2] for at in found])}",
        flush=True,
    )


def _peak(name: str, side: int, batch_size: int, threads: int, results: Any) -> None:
    """Megabytes of the process before it predicts, and at most."""
    torch.set_num_threads(threads)
    config = AdaptConfig(decoder="linear", batch_size=batch_size)
    example = image("segmentation", 0, side, CLASSES)
    adapted = adapted_model(name, "segmentation", example.per_cell, config)
    adapted.encoder.eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    adapted.predictor()([example])
    results.put((before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def memory(name: str, args: argparse.Namespace) -> None:
    """Print what a large image takes, and one of a single window."""
    context = multiprocessing.get_context("spawn")
    for side in (512, args.memory_px):
        results = context.SimpleQueue()
        process = context.Process(target=_peak, args=(name, side, args.batch_size, args.threads, results))
        process.start()
        before, most = results.get()
        process.join()
        size = f"{side} x {side} px, {CLASSES} classes, {args.batch_size} windows at once"
        print(f"memory, {name}: {size}: predicting adds {most - before:.0f} MB to {before:.0f}", flush=True)


CASES: dict[str, list[tuple[Task, str]]] = {
    "step": [("classification", "linear"), ("segmentation", "upernet"), ("oriented-detection", "oriented-rcnn")],
    "frozen": [
        ("classification", "linear"),
        ("segmentation", "linear"),
        ("segmentation", "light"),
        ("segmentation", "upernet"),
    ],
    "windows": [
        ("segmentation", "linear"),
        ("segmentation", "light"),
        ("segmentation", "upernet"),
    ],
}
JOBS = {"step": step, "frozen": frozen, "windows": windows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--what", nargs="+", choices=[*JOBS, "memory"], default=[*JOBS, "memory"])
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), help="by default those that say something")
    parser.add_argument("--tasks", nargs="+", default=sorted({task for some in CASES.values() for task, _ in some}))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--px", type=int, default=256, help="side of the images to learn from, a multiple of 128")
    parser.add_argument("--steps", type=int, default=30, help="of each side")
    parser.add_argument("--images", type=int, default=16, help="of a frozen epoch")
    parser.add_argument("--epochs", type=int, default=3, help="frozen ones, in each round")
    parser.add_argument("--large", type=int, default=1664, help="side of the image to judge in windows, pixels")
    parser.add_argument("--memory-px", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for what in args.what:
        for name in args.presets or (["tiny"] if what in ("step", "memory") else ["tiny", "small"]):
            if what == "memory":
                memory(name, args)
                continue
            for task, decoder in CASES[what]:
                if task in args.tasks:
                    JOBS[what](name, task, decoder, args)


if __name__ == "__main__":
    main()
