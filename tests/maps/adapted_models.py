"""Adapted models that have learned nothing, but say something else of every place."""

from __future__ import annotations

from dataclasses import replace

import torch

from skysense.data.labelled.example import Task
from skysense.tasks.adapted import Adapted, build
from skysense.tasks.config import AdaptConfig
from tests.tasks.labelled_samples import tiny

CLASSES = ("ground", "thing")
SMALL = AdaptConfig(modalities=("hr",), decoder_width=16, window_cells=4, batch_size=4)


def adapted(task: Task, config: AdaptConfig = SMALL, per_cell: int = 32) -> Adapted:
    """A model for a task."""
    torch.manual_seed(0)
    made = build(tiny(), task, CLASSES, per_cell, config)
    if "detection" not in task:  # detectors say much as they are
        for parameter in made.head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    if task == "oriented-detection":  # and these too much for a test
        detector = made.head.detector
        detector.rpn.config = replace(detector.rpn.config, proposals=60)
        detector.head.config = replace(detector.head.config, detections=40)
    made.encoder.eval()
    made.head.eval()
    return made
