"""The benchmark runs end to end at smoke size, skips who is absent with the reason, and its bound
counts every product.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bench_measure as bench
from benchmarks import bench_quality, bench_worker
from benchmarks.bench import main
from benchmarks.bench_measure import Cell, Contestant
from benchmarks.bench_quality import Judged, QualityScore
from wakesleep.compute import cpu, cpu_kernels, ops, select
from wakesleep.evaluation import exact
from wakesleep.evaluation.ais import Estimate
from wakesleep.evaluation.likelihood import LogZ
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.sources.arrays import draw_binary
from wakesleep.sources.shards import Shards

REQUEST = {
    "threads": 1,
    "visible": 64,
    "hidden": 16,
    "sizes": (64, 16, 16, 32),
    "labels": 10,
    "steps": 3,
    "batch": 10,
    "cases": 30,
}


@pytest.mark.slow
def test_the_smoke_sized_bench_measures_everyone_and_tells_who_was_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "speed.json", tmp_path / "speed.png"
    words = [
        "--smoke",
        "--growth",
        "--quality",
        "--precision",
        "float32",
        "--peers",
        sys.executable,
        "--out",
        str(out),
        "--plot",
        str(plot),
        "--machine",
        "laptop-2",
        "--json",
    ]
    assert main(words) == 0
    output = json.loads(capsys.readouterr().out)
    assert [{**row, "table": f"{row['table']}-laptop-2"} for row in output["rows"]] == json.loads(
        out.read_text()
    )
    assert bench.of_machine(output["rows"], "") == output["rows"]
    assert plot.stat().st_size > 10_000
    assert (tmp_path / "speed-growth.png").stat().st_size > 10_000
    assert "skipped: PackageNotFoundError" in output["about"]["rbms"]
    assert {name for name, words in output["about"].items() if "skipped" in words} == {
        "rbms",
        "learnergy",
    }
    rows = {(row["table"], row["row"], row["metric"]): row for row in output["rows"]}
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
    assert (
        rows["bench", "pcd-batch-10-wakesleep-float32", "peak_memory_gb"]["value"] > 0.05
        or sys.platform != "linux"
    )
    for who in ("pcd-batch-100-scikit-learn", "pcd-batch-100-wakesleep", "cd1-batch-100-wakesleep"):
        for trained in ("", "-as-timed"):
            assert 0 < rows["bench", f"{who}-float32{trained}", "reconstruction_error"]["value"] < 1
            likelihood = rows["bench", f"{who}-float32{trained}", "log_likelihood"]
            assert likelihood["low"] <= likelihood["value"] <= likelihood["high"] < 0
            assert ("rate" in likelihood) == ("rates_tried" in likelihood) == (trained == "")
    assert (
        rows["speed", "against-sklearn", "log_likelihood_gain_nats"]["passes"]
        == bench.SMOKE.quality_epochs
    )
    assert ("speed", "against-sklearn-as-timed", "reconstruction_error_ratio") in rows
    assert rows["speed", "growth-cases", "largest_departure_from_linear_percent"]["value"] >= 0
    assert (
        rows["speed", "streaming-memory", "peak_memory_ratio_of_10x_cases"]["value"] > 0.5
        or sys.platform != "linux"
    )
    assert rows["growth", "streamed-1000", "peak_memory_gb"]["value"] > 0 or sys.platform != "linux"
    assert rows["growth", "cases", "dearest_over_cheapest_case"]["value"] >= 1
    assert {("growth", f"{name}-2", "seconds") for name in ("K", "layers")} <= set(rows)


def test_a_python_that_cannot_run_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a Python executable"):
        main(["--smoke", "--peers", str(tmp_path / "none")])
    with pytest.raises(ConfigError, match=r"\.png"):
        main(["--smoke", "--plot", "speed.gif"])
    with pytest.raises(ConfigError, match="expected small letters"):
        main(["--smoke", "--machine", "My laptop"])


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="no oneDNN")
@pytest.mark.parametrize("kind", ["up", "down", "learn"])
def test_both_libraries_make_the_same_products(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, out = bench_worker.product(torch.float32, kind, 20, 12, 7)
    made: list[torch.Tensor] = []

    def once(request: dict[str, Any], multiply: Callable[..., torch.Tensor]) -> None:
        made.append(multiply(left, right, out))

    monkeypatch.setattr(bench_worker, "_products_alone", once)
    bench_worker.bound(REQUEST)
    bench_worker.onednn(REQUEST)
    torch.testing.assert_close(*made)
    assert made[0].data_ptr() == out.data_ptr()


def test_onednn_takes_part_where_it_is_the_faster_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for faster in (True, False):
        monkeypatch.setattr(cpu, "onednn_pays", lambda faster=faster: faster)
        names = [(who.name, who.dtype) for who in bench.contestants(["float32", "bfloat16"], None)]
        assert names.count(("onednn", "float32")) == faster
        assert ("onednn", "bfloat16") not in names


def test_the_plain_way_takes_part_where_our_kernels_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for there in (True, False):
        monkeypatch.setattr(cpu_kernels, "are_built", lambda there=there: there)
        names = [(who.name, who.dtype) for who in bench.contestants(["float32", "bfloat16"], None)]
        assert [names.count(("plain", dtype)) for dtype in ("float32", "bfloat16")] == [there] * 2
    for default, expected in (
        ("float32", {"cd1-float32-by-hand"}),
        ("bfloat16", {"cd1-float32-by-hand", "cd1-by-hand", "updown-k3-by-hand"}),
    ):
        reported = {
            name: (slower, faster)
            for name, metric, slower, faster in bench.headlines(default)
            if metric == "speedup_over_plain"
        }
        assert set(reported) == expected
        for slower, faster in reported.values():
            assert (slower[:2], slower[3]) == (faster[:2], faster[3])
            assert (slower[2], faster[2]) == ("plain", "wakesleep")
    plain = bench.Contestant("plain", "float32", "python")
    assert [
        work
        for work in ("cd1", "cd10", "pcd", "updown-k3", "backprop", "dreaming", "ais", "streaming")
        if plain.can(work)
    ] == [*("cd1", "cd10", "pcd", "updown-k3")]
    with ops.backend("auto"):
        bench_worker.CONTESTANTS["plain"]({**REQUEST, "work": "cd1", "dtype": "float32"})
        assert select.backend() == "torch"


def add_product(total: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    """Count the fused product, by the shapes of what goes in, that torch's counter does not
    know.
    """
    return 2 * left[0] * left[1] * right[1]


@pytest.mark.parametrize("work", ["cd1", "cd10", "pcd", "updown-k3", "backprop", "dreaming", "ais"])
def test_the_bound_makes_the_products_that_the_work_makes(work: str) -> None:
    request = {**REQUEST, "work": work, "dtype": "float32"}
    aten = torch.ops.aten
    counted = []
    for make in (bench_worker.ours, bench_worker.bound):
        one_epoch = make(request).one_epoch
        with FlopCounterMode(display=False, custom_mapping={aten.addmm_: add_product}) as counter:
            one_epoch()
        counted.append(counter.get_total_flops())
    ours, bound = counted
    assert bound <= ours, "a bound that does more than the work is none"
    assert ours <= bound * 1.2, "the work may make small products for labels besides, no more"


def test_ratios_are_taken_round_by_round() -> None:
    def cell(name: str, *seconds: float) -> Cell:
        return Cell("pcd", 100, Contestant(name, "float32", ""), 1000, list(seconds), 0.1)

    cells = [
        cell("scikit-learn", 4.0, 40.0, 4.4),
        cell("wakesleep", 1.0, 10.0, 1.0),
        cell("bound", 0.9, 9.0, 0.8),
    ]
    rows = {
        (row["row"], row["metric"]): row for row in bench.rows(cells, {}, bench.SMOKE, "a test")
    }
    assert rows["against-sklearn-float32", "speedup"]["value"] == 4.0
    assert rows["pcd-batch-100-wakesleep-float32", "fraction_of_bound"]["value"] == 0.9
    assert rows["pcd-batch-100-wakesleep-float32", "cases_per_second"]["value"] == 1000.0


def test_growth_is_a_departure_from_a_line_and_a_ratio_of_memories() -> None:
    # rounds of a machine that becomes slower and slower
    cases = {10: [1.0, 2.0, 4.0], 100: [11.0, 20.0, 44.0], 1000: [90.0, 180.0, 360.0]}
    grown = {"cases": cases, "streamed": {100: [0.5], 1000: [0.75], 2000: [9.0], 10_000: [0.9]}}
    rows = {
        (row["table"], row["row"], row["metric"]): row
        for row in bench.growth_rows(grown, bench.SMOKE, "a test")
    }
    departure = rows["speed", "growth-cases", "largest_departure_from_linear_percent"]
    # a case costs 0.09 to 0.11: at most a tenth more or less than 0.1
    assert departure["value"] == departure["high"] == 10.0
    assert departure["low"] == pytest.approx(100 * 0.02 / 0.38, abs=1e-4)
    ratio = rows["speed", "streaming-memory", "peak_memory_ratio_of_10x_cases"]
    assert (ratio["low"], ratio["high"]) == (1.2, 1.5)
    assert ratio["chunk"] == bench.small_chunk(bench.SMOKE)
    assert rows["growth", "cases-100", "seconds"]["value"] == 20.0
    assert rows["growth", "cases", "dearest_over_cheapest_case"]["value"] == pytest.approx(
        0.11 / 0.09, abs=1e-4
    )


def test_sizes_take_turns_each_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[bench.Worker, int]] = []

    def ask(worker: bench.Worker, request: dict[str, int]) -> dict[str, float]:
        heard.append((worker, request["cases"]))
        return {"seconds": float(len(heard))}

    monkeypatch.setattr(bench.Worker, "ask", ask)
    actual = bench._in_turns(
        Contestant("bound", "float32", sys.executable), {n: {"cases": n} for n in (10, 100)}, 2
    )
    assert actual == {
        10: [{"seconds": 1.0}, {"seconds": 3.0}],
        100: [{"seconds": 2.0}, {"seconds": 4.0}],
    }
    assert len({worker for worker, _ in heard}) == len(set(heard)) == 2


def test_growth_makes_many_passes_of_little_work_and_streams_more_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, dict[int, dict[str, Any]]]] = []

    def in_turns(
        who: Contestant, requests: dict[int, dict[str, Any]], rounds: int
    ) -> dict[int, list[dict[str, float]]]:
        asked.append((rounds, requests))
        return {n: [{"seconds": 6.0, "peak_memory_gb": 0.5}] for n in requests}

    monkeypatch.setattr(bench, "_in_turns", in_turns)
    plan = bench.BenchPlan(threads=1, rounds=3)
    actual = bench.growth(plan, "float32", lambda _: None)
    assert [rounds for rounds, _ in asked] == [5, 5, 5, 5, 1]
    cases, units, steps, _, streamed = [requests for _, requests in asked]
    assert {n: one["passes"] * one["cases"] for n, one in cases.items()} == dict.fromkeys(
        (1_000, 10_000, 100_000), 100_000
    ) | {10**6: 10**6}
    assert all(one["passes"] * one["hidden"] == 4096 for one in units.values())
    assert all(one["passes"] * one["steps"] == 20 for one in steps.values())
    assert actual["cases"][1_000] == [0.06]
    assert actual["streamed"] == {n: [0.5] for n in (10_000, 100_000, 10**6)}
    assert all(2 * 8 * one["chunk"] < n for n, one in streamed.items())


def test_a_streamed_request_names_its_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {**REQUEST, "work": "streaming", "dtype": "float32", "folder": str(tmp_path)}
    made: list[Shards] = []
    monkeypatch.setattr(greedy, "epochs", lambda _, shards, **__: made.append(shards) or iter(()))
    for asked in ({**request, "chunk": 7}, request):
        bench_worker.streaming(asked)
    assert [len(shards.places) for shards in made] == [5, 1]


def small_machine(path: Path, scale: float = 1.0) -> RBM:
    """Write weights of a 6-4 machine, drawn with standard deviation `scale`, and return it."""
    rbm = RBM(6, 4, rng=generator(0))
    for parameter in rbm.parameters():
        parameter.normal_(0, scale, generator=generator(1))
    np.savez(path, **{name: parameter.numpy() for name, parameter in rbm.named_parameters()})
    return rbm


def test_machines_are_judged_by_reconstruction_and_likelihood_from_both_sides(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.npz"
    rbm = small_machine(path)
    seen, held_out = bench_quality.split(None, 50, 6, 30)
    assert set(held_out.unique().tolist()) == {0.0, 1.0}
    error, (low, middle, high), differ = bench_quality.judge(path, seen, held_out, 2000)
    probs = rbm.visible_probs(rbm.hidden_probs(held_out))
    assert error == pytest.approx(float((probs - held_out).square().mean()))
    assert low <= float((-rbm.free_energy(held_out)).mean()) - exact.log_partition(rbm) <= high
    assert low < middle < high < low + 0.7
    assert abs(differ) < 0.3
    np.savez(
        path, **{name: parameter.numpy() * np.nan for name, parameter in rbm.named_parameters()}
    )
    with pytest.raises(DataError, match="NaN"):
        bench_quality.judge(path, seen, held_out, 2000)


@pytest.mark.parametrize("backward", [108.0, 92.0])
def test_the_interval_spans_both_directions_and_three_standard_errors_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backward: float
) -> None:
    def known(*_: object, limit: int, reverse_steps: int, **__: object) -> LogZ:
        assert limit == reverse_steps == 7
        ways = (
            Estimate(100.0, -math.inf, math.inf, 50.0, 101, 7),
            Estimate(backward, -math.inf, math.inf, 20.0, 101, 7),
        )
        assert [way.standard_error for way in ways] == pytest.approx([0.100995, 0.201246], abs=1e-6)
        return LogZ(*ways)

    monkeypatch.setattr(bench_quality.likelihood, "log_partition", known)
    rbm = small_machine(tmp_path / "weights.npz")
    seen, held_out = bench_quality.split(None, 50, 6, 30)
    _, interval, differ = bench_quality.judge(tmp_path / "weights.npz", seen, held_out, 7)
    score = -float(rbm.free_energy(held_out).mean())
    ends = (
        (108 + 3 * 0.201246, 104, 100 - 3 * 0.100995)
        if backward > 100
        else (100 + 3 * 0.100995, 96, 92 - 3 * 0.201246)
    )
    assert interval == pytest.approx([score - end for end in ends], abs=1e-4)
    assert differ == backward - 100


def test_a_rate_is_sought_uphill_until_both_neighbours_are_worse() -> None:
    rates = bench_quality.RATES
    assert list(rates) == sorted(rates, reverse=True)
    for peak in rates:
        asked = []

        def score(rate: float, peak: float = peak, asked: list[float] = asked) -> float:
            asked.append(rate)
            return -abs(math.log(rate / peak))

        best, scores = bench_quality.climb(score)
        near = rates[max(0, rates.index(peak) - 1) : rates.index(peak) + 2]
        assert best == peak
        assert len(set(asked)) == len(asked), "no machine is trained twice"
        assert set(near) <= set(scores) == set(asked)
    assert len(bench_quality.climb(lambda rate: -abs(math.log(rate / 0.1)))[1]) == 3
    best, scores = bench_quality.climb(lambda rate: -rate if rate < 0.02 else -math.inf)
    assert best == min(rates), "where machines come to nothing, lower rates are tried"
    assert max(scores) == 0.3


def test_the_machine_that_is_judged_is_that_of_the_best_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        small_machine(Path(request["hand_over"]), request.get("rate", 9.0))
        return {"error": "diverged"} if request.get("rate") == 0.3 else {}

    def judge(weights: Path, seen: Tensor, cases: Tensor, limit: int) -> QualityScore:
        with np.load(weights) as actual:
            size = float(np.abs(actual["weight"]).max())
        judged.append((round(size, 6), cases, limit))
        return QualityScore(0.1, (-size, size, 2 * size), 0.0)

    judged: list[tuple[float, Tensor, int]] = []
    monkeypatch.setattr(bench_quality, "judge", judge)
    np.save(
        tmp_path / "pixels.npy", np.random.default_rng(0).integers(0, 256, (70, 6), dtype=np.uint8)
    )
    request = {
        "work": "cd1",
        "data": str(tmp_path / "pixels.npy"),
        "cases": 50,
        "visible": 6,
        "batch": 10,
    }
    output: list[str] = []
    size: dict[str, Any] = {
        "held_out": 30,
        "limits": (7, 70),
        "folder": tmp_path,
        "tell": output.append,
    }
    searched, timed = bench_quality.measure([("rbms", "float32", answer)], request, **size)
    _, others = bench_quality.split(tmp_path / "pixels.npy", 50, 6, 30)
    assert isinstance(searched, Judged)
    assert isinstance(timed, Judged)
    assert searched[:4] == ("cd1", "rbms", "float32", "searched")
    assert timed[:4] == ("cd1", "rbms", "float32", "as timed")
    assert [one.get("rate") for one in asked] == [0.3, 0.1, 0.03, 0.01, 0.003, None]
    assert all((one["cases"], one["dtype"]) == (40, "float32") for one in asked)
    assert all(one["momentum"] == one["weight_decay"] == 0 for one in asked[:-1])
    assert not {"momentum", "weight_decay"} & set(asked[-1])
    assert [limit for *_, limit in judged] == [7, 7, 7, 7, 70, 70]
    assert all(
        torch.equal(cases, others[:15] if limit == 7 else others[15:]) for _, cases, limit in judged
    )
    assert judged[-2][0] == judged[-3][0] == min(one[0] for one in judged), (
        "the machine of 0.003 is the one that was chosen"
    )
    assert searched.notes["rate"] == 0.003
    assert searched.notes["rate_ends_the_grid"] is True
    assert searched.notes["rates_tried"]["0.3"] is None
    assert searched.notes["rates_tried"]["0.1"] == round(-judged[0][0], 2)
    assert timed.notes == {}
    assert output == [
        "quality of cd1: rbms float32, searched",
        "quality of cd1: rbms float32, as timed",
    ]
    alone, _ = bench_quality.measure(
        [
            (
                "rbms",
                "float32",
                lambda one: answer(one) if one.get("rate") == 0.1 else {"error": "diverged"},
            )
        ],
        request,
        **size,
    )
    assert isinstance(alone, Judged)
    assert alone.notes == {
        "rate": 0.1,
        "rate_ends_the_grid": False,
        "rates_tried": {"0.03": None, "0.1": ANY, "0.3": None},
    }


def test_a_contestant_that_trains_nothing_is_told_apart_with_the_reason(tmp_path: Path) -> None:
    request = {"work": "cd1", "data": "", "cases": 50, "visible": 6, "batch": 10}
    size: dict[str, Any] = {"held_out": 30, "limits": (7, 70), "folder": tmp_path, "tell": str}
    searched, timed = bench_quality.measure(
        [("rbms", "float32", lambda _: {"error": "no such thing"})], request, **size
    )
    assert searched[:2] == ("rbms", "searched")
    assert searched[2] == (
        "no rate of 0.3, 0.1, 0.03, 0.01, 0.003 made a machine that can be judged: no such thing"
    )
    assert timed == ("rbms", "as timed", "no such thing")


def test_nobody_has_seen_the_cases_that_judge(tmp_path: Path) -> None:
    cases = np.arange(100, dtype=np.uint8)[:, None] * np.ones((1, 4), np.uint8)
    np.save(tmp_path / "pixels.npy", cases)
    seen, held_out = bench_quality.split(tmp_path / "pixels.npy", 1000, 4, 30)
    assert seen[:, 0].tolist() == list(range(70))
    assert torch.equal(held_out, draw_binary(torch.from_numpy(cases[70:]), generator(0)))
    with pytest.raises(DataError, match="twice as many"):
        bench_quality.split(tmp_path / "pixels.npy", 1000, 4, 51)


def test_contestants_hand_over_what_so_many_passes_at_that_rate_made(tmp_path: Path) -> None:
    request = {
        **REQUEST,
        "work": "pcd",
        "dtype": "float32",
        "passes": 2,
        **bench_quality.PLAIN,
        "rate": 0.05,
        "hand_over": str(tmp_path / "weights.npz"),
    }
    bench_worker.hand_over("scikit-learn", request)
    with np.load(request["hand_over"]) as actual:
        theirs = BernoulliRBM(16, learning_rate=0.05, batch_size=10, n_iter=2, random_state=0).fit(
            bench_worker.probabilities(request)
        )
        np.testing.assert_array_equal(actual["weight"], theirs.components_.T)
        np.testing.assert_array_equal(actual["hidden_bias"], theirs.intercept_hidden_)
    bench_worker.hand_over("wakesleep", request)
    plain = CDConfig(
        epochs=9,
        batch_size=10,
        learning_rate=0.05,
        final_learning_rate=0.05,
        momentum=0,
        initial_momentum=0,
        weight_decay=0,
        persistent=True,
    )
    rng = generator(0)
    rbm = RBM(64, 16, rng=rng)
    records = cd.epochs(rbm, torch.from_numpy(bench_worker.pixels(request)), config=plain, rng=rng)
    for _ in range(2):
        next(records)
    with np.load(request["hand_over"]) as actual:
        np.testing.assert_array_equal(actual["weight"], rbm.weight.numpy())
        np.testing.assert_array_equal(actual["visible_bias"], rbm.visible_bias.numpy())


def test_rivals_are_compared_on_the_same_work_and_like_with_like() -> None:
    judged = [
        Judged(
            "pcd",
            name,
            dtype,
            trained,
            QualityScore(error, (nats - 1.0, nats, nats + 2.0), differ),
            {"rate": rate} if rate else {},
        )
        for name, dtype, trained, error, nats, differ, rate in (
            ("wakesleep", "float32", "searched", 0.9, -90.0, 0.0, 0.1),
            ("wakesleep", "bfloat16", "searched", 0.1, -100.0, 0.5, 0.03),
            ("wakesleep", "bfloat16", "as timed", 0.7, -70.0, 0.0, None),
            ("scikit-learn", "float32", "searched", 0.2, -110.0, 8.004, 0.01),
            ("scikit-learn", "float32", "as timed", 0.5, -50.0, 0.0, None),
        )
    ]
    rows = {
        (row["table"], row["row"], row["metric"]): row
        for row in bench_quality.rows(judged, "bfloat16", {"seeds": [0]})
    }
    gain = rows["speed", "against-sklearn", "log_likelihood_gain_nats"]
    assert (gain["low"], gain["value"], gain["high"]) == (7.0, 10.0, 13.0)
    assert gain["rates"] == [0.03, 0.01]
    assert gain["directions_differ_nats"] == [0.5, 8.0]
    assert gain["trained"] == "searched"
    assert rows["speed", "against-sklearn", "reconstruction_error_ratio"]["value"] == 0.5
    assert rows["speed", "against-sklearn-as-timed", "log_likelihood_gain_nats"]["value"] == -20.0
    assert rows["speed", "against-sklearn-as-timed", "reconstruction_error_ratio"]["value"] == 1.4
    theirs = rows["bench", "pcd-batch-100-scikit-learn-float32", "log_likelihood"]
    assert (
        theirs["value"],
        theirs["rate"],
        theirs["directions_differ_nats"],
        theirs["trained"],
    ) == (-110.0, 0.01, 8.0, "searched")
    assert (
        rows["bench", "pcd-batch-100-scikit-learn-float32-as-timed", "log_likelihood"]["value"]
        == -50.0
    )
    assert len(rows) == 14
    cells = [
        Cell("pcd", batch, Contestant("scikit-learn", "float32", ""), 1000, [1.0], 0.1)
        for batch in (10, 100)
    ]
    lines = bench.table(cells, judged)
    assert [line.split()[-2:] for line in lines if " 100 " in line] == [["0.2000", "-110.0"]]
    assert not any("-110" in line for line in lines if " 10 " in line)


@pytest.mark.parametrize(("work", "momentum"), [("cd1", CDConfig().momentum), ("pcd", 0.0)])
def test_our_pcd_is_timed_as_plainly_as_its_rival(
    work: str, momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CDConfig] = []
    monkeypatch.setattr(cd, "epochs", lambda *_, config, **__: made.append(config))
    bench_worker.ours({**REQUEST, "work": work, "dtype": "float32"})
    bench_worker.ours(
        {
            **REQUEST,
            "work": work,
            "dtype": "float32",
            "rate": 0.5,
            "momentum": 0.4,
            "weight_decay": 0.3,
        }
    )
    assert [config.momentum for config in made] == [momentum, 0.4]
    assert [config.weight_decay for config in made] == [
        0.0 if work == "pcd" else CDConfig().weight_decay,
        0.3,
    ]
    assert [config.learning_rate for config in made] == [
        0.03 if work == "pcd" else CDConfig().learning_rate,
        0.5,
    ]


def test_our_version_is_told_without_being_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bench_worker.importlib.metadata, "version", absent)
    assert bench_worker.version("wakesleep") == (
        f"wakesleep (not installed), torch {torch.__version__}"
    )
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        bench_worker.version("rbms")
