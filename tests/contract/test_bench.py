"""The benchmark runs end to end at smoke size, skips who is absent with the reason, and its bound counts every product."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from wakesleep.cli import main
from wakesleep.experiments import bench, bench_worker
from wakesleep.experiments.bench import Cell, Contestant

REQUEST = {"threads": 1, "visible": 64, "hidden": 16, "sizes": (64, 16, 16, 32), "labels": 10, "steps": 3, "batch": 10, "cases": 30}


def test_the_smoke_sized_bench_measures_everyone_and_tells_who_was_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "speed.json", tmp_path / "speed.png"
    words = [
        "bench",
        "--smoke",
        "--growth",
        "--precision",
        "float32",
        "--peers",
        sys.executable,
        "--out",
        str(out),
        "--plot",
        str(plot),
        "--json",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == json.loads(out.read_text())
    assert plot.stat().st_size > 10_000
    assert "skipped: PackageNotFoundError" in said["about"]["rbms"]
    assert {name for name, words in said["about"].items() if "skipped" in words} == {"rbms", "learnergy"}
    rows = {(row["table"], row["row"], row["metric"]): row for row in said["rows"]}
    for name, metric in (
        ("cd1-float32", "fraction_of_bound"),
        ("against-sklearn-float32", "speedup"),
        ("updown-k3", "fraction_of_bound"),
        ("streaming", "cost_ratio_to_resident"),
    ):
        assert 0 < rows["speed", name, metric]["low"] <= rows["speed", name, metric]["value"]
    for work in (
        "cd1-batch-10",
        "cd10-batch-100",
        "pcd-batch-10",
        "updown-k3-batch-100",
        "backprop-batch-100",
        "dreaming-batch-100",
        "ais-batch-100",
    ):
        for who in ("wakesleep", "bound"):
            assert rows["bench", f"{work}-{who}-float32", "cases_per_second"]["value"] > 0
    assert rows["bench", "pcd-batch-10-scikit-learn-float32", "cases_per_second"]["value"] > 0
    assert rows["bench", "pcd-batch-10-wakesleep-float32", "peak_memory_gb"]["value"] > 0.05 or sys.platform != "linux"
    assert rows["growth", "streamed-40", "peak_memory_gb"]["value"] > 0 or sys.platform != "linux"
    assert rows["growth", "cases", "dearest_over_cheapest_case"]["value"] >= 1
    assert {("growth", f"{name}-2", "seconds") for name in ("K", "layers")} <= set(rows)


def test_a_python_that_cannot_run_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--smoke", "--peers", str(tmp_path / "none")]) == 1
    assert "expected a Python executable" in capsys.readouterr().err
    assert main(["bench", "--smoke", "--plot", "speed.gif"]) == 1
    assert ".png" in capsys.readouterr().err


def add_product(total: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    """Count the fused product, by the shapes of what goes in, that torch's counter does not know."""
    return 2 * left[0] * left[1] * right[1]


@pytest.mark.parametrize("work", ["cd1", "cd10", "pcd", "updown-k3", "backprop", "dreaming", "ais"])
def test_the_bound_makes_the_products_that_the_work_makes(work: str) -> None:
    request = {**REQUEST, "work": work, "dtype": "float32"}
    aten = torch.ops.aten
    counted = []
    for make in (bench_worker.ours, bench_worker.bound):
        one_pass = make(request)
        with FlopCounterMode(display=False, custom_mapping={aten.addmm_: add_product}) as counter:
            one_pass()
        counted.append(counter.get_total_flops())
    ours, bound = counted
    assert bound <= ours, "a bound that does more than the work is none"
    assert ours <= bound * 1.2, "the work may make small products for labels besides, no more"


def test_ratios_are_taken_round_by_round() -> None:
    def cell(name: str, *seconds: float) -> Cell:
        return Cell("pcd", 100, Contestant(name, "float32", ""), 1000, list(seconds), 0.1)

    cells = [cell("scikit-learn", 4.0, 40.0, 4.4), cell("wakesleep", 1.0, 10.0, 1.0), cell("bound", 0.9, 9.0, 0.8)]
    rows = {(row["row"], row["metric"]): row for row in bench.rows(cells, {}, bench.SMOKE, "a test")}
    assert rows["against-sklearn-float32", "speedup"]["value"] == 4.0
    assert rows["pcd-batch-100-wakesleep-float32", "fraction_of_bound"]["value"] == 0.9
    assert rows["pcd-batch-100-wakesleep-float32", "cases_per_second"]["value"] == 1000.0
