"""What learns is in the mode of training, whatever mode the model came in."""

from __future__ import annotations

from typing import Any

import pytest

from skysense.tasks.adapted import build
from skysense.tasks.config import AdaptConfig
from skysense.tasks.module import TaskModule
from tests.tasks.labelled_samples import tiny


@pytest.mark.parametrize(("way", "learns"), [("linear", False), ("lora", True), ("full", True)])
@pytest.mark.parametrize("before", [False, True])
def test_drop_path_acts_where_the_encoder_learns(way: Any, learns: bool, before: bool) -> None:
    config = AdaptConfig(way=way)
    adapted = build(tiny().train(before), "classification", ("one", "two"), 32, config)
    module = TaskModule(adapted.encoder, adapted.head, "classification", ("one", "two"), config)
    assert module.head.training
    assert {one.training for one in module.encoder.modules()} == {learns}
