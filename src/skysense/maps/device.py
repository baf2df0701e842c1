"""Where a model computes: batches on their way there, and what it is called."""

from __future__ import annotations

from dataclasses import replace

import torch

from skysense.observation import Batch, Frames


def device_words(device: torch.device | str) -> str:
    """What a map says it was computed on: ``cpu``, or the name of a GPU. Others round differently."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch where its model is; through pinned memory to a GPU, so that nothing waits for the copy."""
    if device.type == "cuda":
        pinned = {key: [tensor.pin_memory() for tensor in vars(one).values()] for key, one in batch.frames.items()}
        batch = replace(batch, frames={key: Frames(*tensors) for key, tensors in pinned.items()})
    return batch.to(device)
