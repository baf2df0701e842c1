"""What the published pre-training must have cost, for two sizes of views, against the hours that were published.

Prints the table of docs/plan.md. Nothing is run: the numbers are those of ``skysense plan``.

Run: ``python benchmarks/published_cost.py``
"""

from __future__ import annotations

from dataclasses import replace

from skysense.geo import CELL_HR_PX
from skysense.pretrain.config import ParallelConfig, ViewConfig
from skysense.pretrain.plan.budget import Machine, Plan, plan
from skysense.pretrain.plan.gpus import gpu
from skysense.pretrain.recipes import recipe

GPU_HOURS = 24_600  # of A100 80 GB, on 80 of them
GPUS = 80
PUBLISHED = replace(recipe("huge"), parallel=ParallelConfig(strategy="fsdp"))
VIEWS = (ViewConfig(global_cells=16, local_cells=8), ViewConfig(global_cells=64, local_cells=16))


def plans() -> list[Plan]:
    """One of each size of views, weights divided among the GPUs."""
    machine = Machine(gpu("a100"), gpus=GPUS)
    return [plan(replace(PUBLISHED, views=views), machine) for views in VIEWS]


def in_full(made: Plan) -> Plan:
    """The same with every block computed again."""
    parallel = replace(made.config.parallel, checkpointing="full")
    return plan(replace(made.config, parallel=parallel), made.machine)


def share_of_peak(made: Plan) -> float:
    """Of the GPUs' peak in bfloat16 that the published hours would mean."""
    return made.flops_of_run / (GPU_HOURS * 3600 * made.rate)


def table(found: list[Plan]) -> str:
    """In Markdown, a column for each."""
    sides = [(made.config.views.global_cells, made.config.views.local_cells) for made in found]
    full = [in_full(made) for made in found]
    rows = [
        ["views", *(f"{cells * CELL_HR_PX:,} px, {cells} × {cells} cells" for cells, _ in sides)],
        ["crops, two of a place", *(f"{local * CELL_HR_PX:,} px" for _, local in sides)],
        ["FLOPs of a step", *(f"{made.flops / 1e15:.1f} PFLOP" for made in found)],
        ["of them fusion", *(f"{made.passes['fusion'].total / made.flops:.0%}" for made in found)],
        ["FLOPs of the run", *(f"{made.flops_of_run / 1e21:.1f} · 10²¹" for made in found)],
        ["PFLOP/s-days", *(f"{made.flops_of_run / 86400e15:,.0f}" for made in found)],
        [f"share of the peak that {GPU_HOURS:,} GPU-hours mean", *(f"**{share_of_peak(made):.0%}**" for made in found)],
        [
            f"GPU-hours at {found[0].machine.share_of_peak:.0%} of the peak",
            *(f"{round(made.gpu_hours, -2):,.0f}" for made in found),
        ],
        ["GiB on a GPU, nothing computed again", *(f"{made.bytes_used / 2**30:,.0f}" for made in found)],
        ["GiB on a GPU, every block computed again", *(f"{made.bytes_used / 2**30:,.0f}" for made in full)],
        ["pixels that the views of a step show", *(f"{sum(made.shown.values()) / 1e9:.2f} GB" for made in found)],
    ]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table(plans()))
