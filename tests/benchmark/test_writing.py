from __future__ import annotations

from skysense.benchmark.writing import Findings, as_markdown, verdicts
from skysense.probes.table import ALL_SEEDS, Difference, Row, Table


def _table(task: str, lo: float, hi: float) -> Table:
    middle = (lo + hi) / 2
    rows = [
        Row(task, method, ALL_SEEDS, metric, value, value - 0.1, value + 0.1, 12)
        for metric in ("accuracy", "macro F1")
        for method, value in (("ours", 0.7), ("theirs", 0.5))
    ]
    return Table(
        rows, [Difference(task, "ours", "theirs", metric, middle, lo, hi, 12) for metric in ("accuracy", "macro F1")]
    )


def test_verdicts_say_what_the_intervals_say() -> None:
    tables = [_table("a", 0.1, 0.2), _table("b", -0.3, -0.1), _table("c", -0.1, 0.1), _table("d", 0.0, 0.1)]
    assert verdicts(tables) == [
        "ours, compared with theirs: ahead on a; behind on b; no difference beyond chance on c, d."
    ]


def test_the_page_holds_every_table_and_the_commands() -> None:
    findings = Findings(_table("scene", 0.1, 0.3), _table("all crops", -0.1, 0.1), {}, {"seeds": "0, 1"})
    page = as_markdown(findings)
    assert page.startswith("# What pre-training is worth\n\n**Simulated data**")
    assert "skysense evidence --out runs/evidence\n" in page
    assert "- seeds: 0, 1" in page
    assert "### scene\n\n| method | accuracy (n = 12) | macro F1 (n = 12) |" in page
    assert "| ours | **70.0 [60.0, 80.0]** | **70.0 [60.0, 80.0]** |" in page
    assert "| scene | accuracy | ours minus theirs | +20.0 [+10.0, +30.0] | 12 | yes |" in page
    assert "| scene | macro F1 |" not in page  # differences are shown for the main metric
    assert "real pixels" not in page
    real = as_markdown(Findings(findings.simulated, findings.context, {"WorldCereal crop type": _table("x", 0, 1)}, {}))
    assert "not a ranking" in real
    assert "four quarters" in real
    assert "--kit_places" in real
