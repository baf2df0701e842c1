"""What the objective costs: heads, the terms between teacher and student, alignment, and prototypes of regions.

Letters: R rows that are compared, d width of what comes in, H hidden width of a head, E of its bottleneck,
K its prototypes, M rows of a memory, S cells that two views have in common, B places, P prototypes of a region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from skysense.model.config import GeoContextConfig
from skysense.pretrain.config import ObjectiveConfig
from skysense.pretrain.plan.costs import FLOAT, Cost, How, product, together


@dataclass(frozen=True)
class HeadSizes:
    """Widths of the head of one source, see `skysense.pretrain.heads.DinoHead`."""

    dim: int
    hidden: int
    bottleneck: int
    prototypes: int

    @property
    def parameters(self) -> int:
        """Of the head."""
        return (
            (self.dim + 1) * self.hidden
            + (self.hidden + 1) * self.hidden
            + (self.hidden + 1) * self.bottleneck
            + 2 * self.dim
            + self.prototypes * self.bottleneck
        )

    def product(self, rows: float) -> float:
        """FLOPs of the perceptron on rows."""
        hidden = self.hidden
        return product(rows, self.dim, hidden) + product(rows, hidden, hidden) + product(rows, hidden, self.bottleneck)


@dataclass(frozen=True)
class SourceRows:
    """What of one source is compared.

    Attributes:
        frames: of the student's global views.
        pairs: of frames of two global views.
        local_frames, local_pairs: of local crops, each paired with both global views.
        hidden: cells of the masked term.
        cells: of a global view.
        local_cells: of a local crop.
        common: cells that two global views have in common.
    """

    frames: float
    pairs: float
    local_frames: float
    local_pairs: float
    hidden: float
    cells: int
    local_cells: int
    common: int

    def by_term(self, config: ObjectiveConfig) -> dict[str, float]:
        """Rows that go through the heads."""
        rows = {
            "pixel": self.pairs * min(config.pixel_cells, self.common) if config.pixel else 0.0,
            "object": self.pairs * min(config.object_clusters, self.common) if config.object else 0.0,
            "image": self.pairs + self.local_pairs if config.image else 0.0,
            "masked": self.hidden,
        }
        return {term: count for term, count in rows.items() if count}


def distillation(rows: float, sizes: HeadSizes, config: ObjectiveConfig) -> Cost:
    """One term of one source: the teacher's assignment of all rows, and the student's cross entropy under it."""
    assigned = rows + config.memory_rows
    ours, theirs, all_theirs = (product(count, sizes.bottleneck, sizes.prototypes) for count in (rows, rows, assigned))
    if assigned <= config.logit_rows:
        return Cost(ours + all_theirs, 2 * ours, kept=2 * rows * sizes.prototypes * FLOAT)
    # logits of the teacher are made anew for each alternation, and those of both in each piece of the cross entropy
    return Cost(
        forward=ours + theirs + config.sinkhorn_iterations * all_theirs,
        backward=2 * ours,
        again=ours + theirs,
        kept=sizes.prototypes * sizes.bottleneck * FLOAT,
    )


def head(rows: float, sizes: HeadSizes, how: How) -> Cost:
    """Both heads of a source on the rows of all its terms, the student's with what waits for the backward pass.

    The teacher's vectors wait with it: memories get them when the step counts.
    """
    one = sizes.product(rows)
    width = sizes.dim * (FLOAT + how.number) + 4 * sizes.hidden * how.number + 3 * sizes.bottleneck * FLOAT
    prototypes = sizes.prototypes * sizes.bottleneck
    return Cost(2 * one, 2 * one, kept=rows * width + prototypes * FLOAT)


def pooling(rows: SourceRows, dim: int, config: ObjectiveConfig) -> Cost:
    """Means over the cells of frames: the student's, the teacher's, those of local crops; centres of objects."""
    ours = product(rows.frames, rows.cells, dim)
    theirs, local = (ours, product(rows.local_frames, rows.local_cells, dim)) if config.image else (0.0, 0.0)
    learns = ours + local if config.image or config.beta else 0.0
    cost = Cost(ours + theirs + local, learns)
    if config.object:
        centres = product(rows.pairs * min(config.object_clusters, rows.common), rows.common, dim)
        cost += Cost(3 * centres, centres)  # similarities, centres of the teacher and of the student
    return cost


def source(rows: SourceRows, sizes: HeadSizes, config: ObjectiveConfig, how: How) -> Cost:
    """All terms of one source."""
    terms = rows.by_term(config)
    compared = sum(terms.values())
    parts = [pooling(rows, sizes.dim, config)]
    if compared:
        parts += [head(compared, sizes, how), *(distillation(count, sizes, config) for count in terms.values())]
    found = together(parts)
    return replace(found, up=found.kept + _looked_at(rows, sizes, config))


def _looked_at(rows: SourceRows, sizes: HeadSizes, config: ObjectiveConfig) -> float:
    """Bytes that are there while the terms of a source are made, and gone after: common cells, then logits."""
    cells = rows.pairs * rows.common * sizes.dim * FLOAT if config.pixel or config.object else 0.0
    most = max((count + config.memory_rows for count in rows.by_term(config).values()), default=0.0)
    logits = min(most, config.logit_rows) * sizes.prototypes * FLOAT
    return max(4 * cells, 2 * cells + 2 * logits)


def alignment(places: float, modalities: int, dim: int) -> Cost:
    """Projections of image-level features of both global views, and their similarities across places."""
    projections = modalities * product(2 * places, dim, dim)
    pairs = modalities * (modalities - 1) // 2
    logits = 2 * pairs * product(places, dim, places)
    return Cost(projections + logits, 2 * (projections + logits))


def prototypes(cells: float, config: GeoContextConfig, dim: int) -> Cost:
    """Similarities of fused features to the prototypes of their region, and the means that these move to."""
    return Cost(2 * product(cells, dim, config.prototypes))
