"""Batches on their way to a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from skysense.observation import Batch, Frames


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch where its model is; through pinned memory to a GPU, so that nothing waits for the copy."""
    if device.type == "cuda":
        pinned = {key: [tensor.pin_memory() for tensor in vars(one).values()] for key, one in batch.frames.items()}
        batch = replace(batch, frames={key: Frames(*tensors) for key, tensors in pinned.items()})
    return batch.to(device)
