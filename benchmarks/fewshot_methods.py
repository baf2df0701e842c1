"""Which few-shot classifier is right more often, and how well it knows: ridge, logistic, and scikit-learn's logistic.

In every region of a simulated Earth some cells per class of land cover are labelled, and all other cells of the region
are classified. Printed per number of labels: accuracy of the classes, each counting the same; log-loss of the
probabilities; accuracy that leaving one label out foretold; processor time of a fit. All see the same 64 principal
components of the features of a model, standardised by one number.

Run: ``OMP_NUM_THREADS=1 python benchmarks/fewshot_methods.py --places DIR --model FILE`` with places of
``skysense simulate`` (``make demo`` leaves both).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skysense.data.places import Places
from skysense.maps.fewshot import FewShot
from skysense.maps.fit import principal_axes
from skysense.model.loading import load
from skysense.probes.features import extract
from skysense.probes.targets import read_targets, tasks_of

SHOTS = (1, 2, 3, 5, 10, 30)
COMPONENTS = 64
FEWEST = 60  # cells of a class in a region, for it to take part


def cells(places: Places, model: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Components ``(N, 64)``, land cover and region of every cell."""
    features = extract(load(model), places)
    task = next(task for task in tasks_of(places) if task.label == "land_cover")
    targets = read_targets(places, task).cells_hw
    assert targets is not None
    values_ND = np.concatenate([one.reshape(len(one), -1).T for one in features.cells_Dhw])
    label_N = np.concatenate([one.reshape(-1) for one in targets])
    names = [place.name.split("-")[0] for place in places]
    region_N = np.repeat(np.unique(names, return_inverse=True)[1], [one.size for one in targets])
    mean_D, axes_DK, _ = principal_axes(values_ND, min(COMPONENTS, values_ND.shape[1]))
    return ((values_ND - mean_D) @ axes_DK).astype(float), label_N, region_N


def judge(share_NC: NDArray, truth_N: NDArray) -> tuple[float, float]:
    """Accuracy and log-loss, classes counting the same."""
    classes = range(share_NC.shape[1])
    right = [(share_NC[truth_N == one].argmax(axis=1) == one).mean() for one in classes]
    loss = [-np.log(share_NC[truth_N == one, one].clip(1e-6)).mean() for one in classes]
    return float(np.mean(right)), float(np.mean(loss))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--places", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2, help="of labels, in each region")
    args = parser.parse_args()
    values_NK, label_N, region_N = cells(Places(args.places), args.model)
    for shots in SHOTS:
        found: dict[str, list[tuple[float, ...]]] = {"ridge": [], "logistic": [], "scikit-learn": []}
        for region in range(region_N.max() + 1):
            here = np.flatnonzero(region_N == region)
            classes = [one for one in range(label_N.max() + 1) if (label_N[here] == one).sum() >= FEWEST]
            here = here[np.isin(label_N[here], classes)]
            truth_N, known_NK = np.searchsorted(classes, label_N[here]), values_NK[here]
            for draw in range(args.draws):
                rng = np.random.default_rng([region, draw])
                each = [rng.choice(np.flatnonzero(truth_N == one), shots, replace=False) for one in range(len(classes))]
                chosen, asked = np.concatenate(each), np.ones(len(here), bool)
                asked[chosen] = False
                block_KHW = known_NK[asked].T[:, None].astype(np.float32)
                for method in ("ridge", "logistic"):
                    began = time.process_time()
                    fitted = FewShot.fit(known_NK[chosen], truth_N[chosen], method=method)
                    took = time.process_time() - began
                    foretold = float((fitted.left_out_NC.argmax(axis=1) == truth_N[chosen]).mean())
                    judged = judge(fitted.probability(block_KHW)[:, 0].T, truth_N[asked])
                    found[method].append((*judged, foretold, took))
                spread = known_NK[chosen].std()
                began = time.process_time()
                peer = LogisticRegression(max_iter=1000).fit(known_NK[chosen] / spread, truth_N[chosen])
                took = time.process_time() - began
                judged = judge(peer.predict_proba(known_NK[asked] / spread), truth_N[asked])
                found["scikit-learn"].append((*judged, float("nan"), took))
        for name, each_run in found.items():
            right, loss, foretold, took = np.mean(each_run, axis=0)
            print(
                f"{shots:3} labels a class, {name:12}: {100 * right:.1f} % right, log-loss {loss:.3f}, "
                f"foretold {100 * foretold:.1f} %, fit {1000 * took:.0f} ms"
            )


if __name__ == "__main__":
    main()
