"""The gate before scaling: sixteen places are learned by heart, and the features do not collapse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skysense.data.earth import simulate
from skysense.data.loader import sample_rng
from skysense.data.places import Places
from skysense.demo import DEMO
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.loading import load as load_model
from skysense.observation import collate
from skysense.pretrain.config import PretrainConfig, ViewConfig
from skysense.pretrain.loop import pretrain
from skysense.pretrain.objective import effective_rank
from skysense.pretrain.views import cut, draw_views

CONFIG = PretrainConfig(
    steps=320,
    batch_size=16,
    views=ViewConfig(global_cells=4, local_crops=1, s2_frames=4, s1_frames=2),
    objective=DEMO.objective,
    optimiser=DEMO.optimiser,
    checkpoint_every=50,
)


def looks(model: SkySense, places: Places, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Pooled features of random views of each place, which place it was, and the features of all cells."""
    pooled, names, cells = [], [], []
    model.eval()
    for draw in range(draws):
        views = []
        for index in range(len(places)):
            sample = places.read_sample(places[index])
            views.append(cut(sample, draw_views(sample_rng(seed, draw, index), sample, CONFIG.views)[0]))
        with torch.inference_mode():
            features = model(collate(views))
        pooled.append(features.fused_BDhw.mean((2, 3)))
        names.extend(range(len(places)))
        cells.append(features.fused_BDhw.permute(0, 2, 3, 1)[features.occupied_Bhw])
    return torch.cat(pooled).numpy(), np.array(names), torch.cat(cells)


def probe(model: SkySense, places: Places) -> tuple[float, float]:
    """Share of unseen views whose place a linear probe names, and the effective rank of the cells."""
    known, places_known, cells = looks(model, places, 8, seed=101)
    unseen, places_unseen, _ = looks(model, places, 4, seed=202)
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(known, places_known)
    return float(head.score(unseen, places_unseen)), effective_rank(cells)


@pytest.mark.long
def test_sixteen_places_are_overfit_without_collapse(tmp_path: Path) -> None:
    """Views show other ground of a place, on other dates; random weights do not know it again (0.75 was seen)."""
    simulate(tmp_path / "earth", regions=4, places_per_region=4, footprint_cells=8, split={"train": 1.0})
    places = Places(tmp_path / "earth")
    torch.manual_seed(0)
    before, _ = probe(SkySense(preset("tiny")), places)
    outcome = pretrain(CONFIG, places, tmp_path / "run", device="cpu")
    after, rank = probe(load_model(outcome.model), places)
    assert before < 0.85
    assert after >= 0.95
    assert rank >= preset("tiny").fusion.dim / 4
