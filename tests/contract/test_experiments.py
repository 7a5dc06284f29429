"""The experiments run end to end at smoke size, and their rows say what was asked for."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import costs, docs_tables, dreams, judge, reliability, shown
from helpers import small_config
from wakesleep.data import Dataset
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.paper import mnist, results

FIELDS = (
    "table row metric value low high seeds reported command device threads minutes date commit"
).split()
SHORT = UpDownConfig(epochs=4, batch_size=20, gibbs_steps=(1, 2))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """All parts of the experiment, on the digits and small."""
    folder = tmp_path_factory.mktemp("figures")
    base = small_config(updown=SHORT, hybrid=HybridConfig(SHORT))
    options = mnist.MnistTablesOptions(folder=folder, data="digits")
    for part in mnist.PARTS:
        mnist.run(folder, 1, part, options, digits, "a test", base)
    return folder


@pytest.mark.slow
def test_every_part_of_the_mnist_experiment_runs_and_is_collected(figures: Path) -> None:
    rows = mnist.collect(figures, tuple(mnist.PARTS), (1,), "a test")
    names = {(row["row"], row["metric"]) for row in rows}
    assert {
        ("updown-60k", "test_error_percent"),
        ("hybrid", "test_error_percent"),
        ("backprop-50k", "validation_errors"),
    } <= names
    assert len(names) == len(rows) == sum(len(part.figures) for part in mnist.PARTS.values())
    for row in rows:
        assert list(row)[: len(FIELDS)] == FIELDS
        assert 0 <= row["value"] < 60, row
    config = json.loads((figures / "seed-1-updown-60k" / "config.json").read_text())
    assert (config["validation"], config["updown"]["epochs"], config["updown"]["gibbs_steps"]) == (
        0,
        4,
        [3],
    )
    short, long = (
        json.loads((figures / f"seed-1-{part}" / "config.json").read_text())["greedy"]
        for part in ("pretrain-50k", "long-50k")
    )
    assert [long[each]["epochs"] * 30 // mnist.LONG for each in ("layer", "memory")] == [
        short[each]["epochs"] for each in ("layer", "memory")
    ]
    before = json.loads((figures / "seed-1-updown-60k" / "provenance.json").read_text())
    mnist.main(
        [
            "--folder",
            str(figures),
            "--data",
            "digits",
            "--seeds",
            "1",
            "--out",
            str(figures / "out.json"),
        ]
    )
    assert len(json.loads((figures / "out.json").read_text())) == 7, (
        "finished parts are read, not run again"
    )
    assert json.loads((figures / "seed-1-updown-60k" / "provenance.json").read_text()) == before


@pytest.mark.slow
def test_nets_of_several_seeds_are_asked_together(figures: Path, digits: Dataset) -> None:
    base = small_config(updown=SHORT, hybrid=HybridConfig(SHORT))
    for part in ("pretrain-60k", "backprop-60k"):
        mnist.run(figures, 2, part, mnist.MnistTablesOptions(data="digits"), digits, "a test", base)
    (both,) = (mnist.combine(figures, "backprop-60k", (1, 2), digits, "a test"),)
    alone = [mnist.combine(figures, "backprop-60k", (seed,), digits, "a test") for seed in (1, 2)]
    expected = {row["value"]: row["log_probs_averaged"] for row in alone}
    assert all(probs == log_probs for probs, log_probs in expected.items()), (
        "one net has one prediction"
    )
    assert (both["row"], both["metric"], both["seeds"]) == (
        "combined-2",
        "test_error_percent",
        [1, 2],
    )
    assert both["value"] <= max(expected) + 1


def test_the_first_three_are_asked_together_and_all_where_there_are_more(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "run", lambda *given: None)
    monkeypatch.setattr(mnist, "collect", lambda *given: [])
    monkeypatch.setattr(mnist, "combine", lambda folder, part, seeds, *more: (part, seeds))

    def together(*seeds: int) -> list[object]:
        return mnist.measure(
            mnist.MnistTablesOptions(seeds, parts=("pretrain-60k", "backprop-60k")),
            digits,
            "a test",
        )

    assert together(4) == []
    assert together(4, 2) == [("backprop-60k", (4, 2))]
    assert together(1, 2, 3) == [("backprop-60k", (1, 2, 3))]
    assert together(1, 2, 3, 4, 5) == [
        ("backprop-60k", (1, 2, 3)),
        ("backprop-60k", (1, 2, 3, 4, 5)),
    ]


def test_a_row_of_nets_asked_together_says_where_they_learned(
    digits: Dataset, tmp_path: Path
) -> None:
    options = mnist.MnistTablesOptions(folder=tmp_path, data="digits")
    for part in ("pretrain-60k", "backprop-60k"):
        mnist.run(tmp_path, 1, part, options, digits, "a test", small_config())
    here = tmp_path / "seed-1-backprop-60k"
    assert mnist.combine(tmp_path, "backprop-60k", (1,), digits, "a test")["device"].startswith(
        "cpu: "
    )
    about = json.loads((here / "provenance.json").read_text())
    (here / "provenance.json").write_text(json.dumps({**about, "device": "cuda: a GPU"}))
    assert (
        mnist.combine(tmp_path, "backprop-60k", (1,), digits, "a test")["device"] == "cuda: a GPU"
    )
    (row,) = mnist.collect(tmp_path, ("backprop-60k",), (1,), "a test")
    assert row["device"] == "cuda: a GPU"


@pytest.mark.slow
def test_dreams_are_judged(figures: Path, tmp_path: Path) -> None:
    out = tmp_path / "dreams.json"
    words = (
        f"--count 5 --steps 20 --judge {tmp_path / 'judge.safetensors'} --judge-epochs "
        f"2 --out {out}"
    ).split()
    for _ in range(2):  # the judge is trained the first time and read the second
        dreams.main([str(figures / "seed-1-hybrid-60k"), *words])
    rows = {row["metric"]: row for row in json.loads(out.read_text())}
    assert set(rows) == {"agreement_percent", "spread_over_real_digits"}
    assert 0 <= rows["agreement_percent"]["value"] <= 100
    assert len(rows["agreement_percent"]["agreement_by_class"]) == 10
    assert rows["agreement_percent"]["judge_test_error_percent"] < 30


def test_the_judge_measures_what_it_says(digits: Dataset) -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(
        judge.spread(points, torch.tensor([0, 0, 1, 1])), torch.tensor([5.0, 0.0])
    )
    torch.testing.assert_close(
        judge.nearest(torch.tensor([[1.0, 2.0]]), points), torch.tensor([1.0])
    )
    net = judge.convolutional((8, 8), 10)
    assert digits.train.labels is not None
    assert list(
        judge.train(
            net, digits.train.images[:200], digits.train.labels[:200], epochs=1, rng=generator(0)
        )
    ) == [1]
    assert judge.says(net, digits.train.images[:7]).shape == (7,)


def test_a_model_without_labels_has_no_clamped_dreams(tmp_path: Path, digits: Dataset) -> None:
    from wakesleep.runs import training

    config = small_config(label_memory=False, stages=("pretrain",), hidden=(10, 10))
    list(
        training.train(
            training.new_run(tmp_path / "run", config, digits, torch.device("cpu"), "a test")
        )
    )
    with pytest.raises(ConfigError, match="no labels"):
        dreams.main([str(tmp_path / "run"), "--out", "None"])


def test_costs_are_read_from_runs(run_folder: Path, tmp_path: Path) -> None:
    costs.main(
        [
            "--digits",
            str(run_folder),
            "--no-growth",
            "--no-updown",
            "--out",
            str(tmp_path / "costs.json"),
        ]
    )
    tuned = [line for line in files.read_metrics(run_folder) if line["stage"] == "backprop"]
    rows = {row["metric"]: row for row in json.loads((tmp_path / "costs.json").read_text())}
    assert set(rows) == {"minutes", "peak_memory_gb", "test_error_percent", "validation_errors"}
    assert rows["peak_memory_gb"]["value"] > 0.05
    (tested,) = [
        row
        for row in json.loads((run_folder / "evaluation.json").read_text())["rows"]
        if row["method"] == "backprop"
    ]
    assert rows["test_error_percent"]["value"] == round(tested["test_error_percent"], 4)
    assert rows["validation_errors"]["value"] == min(line["validation_errors"] for line in tuned)
    assert costs.seconds_a_case(200, 1) > 0
    assert len(costs.updown_seconds(100, 2, "float32")) == 2


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = (
        "--greedy.layer.epochs 4 --greedy.memory.epochs 4 --updown.epochs 3 --backprop.epochs 2 "
        "--random.epochs 2"
    )
    monkeypatch.setattr(
        reliability, "RUN", f"--hidden 20 30 --validation 100 {epochs} --threads 1".split()
    )
    reliability.main(["--kills", "1", "--out", str(tmp_path / "kills.json")])
    (row,) = json.loads((tmp_path / "kills.json").read_text())
    assert (row["row"], row["metric"], row["value"]) == ("sigkill-resume", "identical_of_1", 1)


@pytest.mark.parametrize(
    ("part", "count"),
    [("speed", 8), ("overhead", 1), ("digits", 4), ("few", 5), ("tables", 20), ("few-mnist", 5)],
)
@pytest.mark.filterwarnings(
    "ignore:Bins whose width are too small", "ignore::sklearn.exceptions.ConvergenceWarning"
)
def test_every_part_of_the_estimators_experiment_runs(
    part: str, count: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    estimators = importlib.import_module("benchmarks.estimators")
    if part == "few-mnist":
        request.getfixturevalue("real_mnist")
    words = (
        f"--parts {part} --quick --cases 300 --epochs 1 --repeats 1 --splits 1 --out "
        f"{tmp_path / 'rows.json'}"
    )
    estimators.main(words.split())
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == count
    for row in rows:
        assert row["table"] == "sklearn"
        assert list(row)[: len(FIELDS)] == FIELDS
        assert "--quick" in row["command"], "no figure, and it says so"
    values = [row["value"] for row in rows if row["metric"] == "accuracy_percent"]
    assert all(0 <= value <= 100 for value in values)
    assert part in ("speed", "overhead") or values


def test_rows_are_replaced_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    results.save(
        path,
        [
            results.row("t", "a", "m", [1.0, 3.0, 2.0], seeds=[1, 2, 3]),
            results.row("t", "b", "m", [5.0], seeds=[1]),
        ],
    )
    results.save(path, [results.row("t", "a", "m", [7.0], seeds=[4])])
    rows = {row["row"]: row for row in json.loads(path.read_text())}
    assert (rows["a"]["value"], rows["b"]["value"], rows["a"]["seeds"]) == (7.0, 5.0, [4])


@pytest.mark.slow
def test_rows_of_a_gpu_say_so(figures: Path, tmp_path: Path) -> None:
    here = tmp_path / "seed-1-pretrain-50k"
    shutil.copytree(figures / here.name, here)
    about = files.read_json(here / "provenance.json")
    files.write_json(here / "provenance.json", {**about, "device": "cuda: a GPU"})
    assert {
        row["device"] for row in mnist.collect(tmp_path, ("pretrain-50k",), (1,), "a test")
    } == {"cuda: a GPU"}
    assert all(
        row["device"].startswith("cpu: ")
        for row in mnist.collect(figures, ("pretrain-50k",), (1,), "a test")
    )


def test_tables_show_ranges_and_large_numbers_apart(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    names = {(name, metric) for _, name, metric, _ in shown.TABLES["gpu"][1]}
    rows = [
        results.row("speed", name, metric, [1234567.4, 99.5, 1.0], seeds=[1])
        for name, metric in names
    ]
    results.save(tmp_path / "results" / "speed.json", rows)
    assert "| **99.5** | 1 to 1,234,567 | 1 |" in docs_tables.render("gpu", tmp_path)
    results.save(
        tmp_path / "results" / "speed.json", [{**row, "low": 99.5, "high": 99.5} for row in rows]
    )
    assert "| **99.5** |  | 1 |" in docs_tables.render("gpu", tmp_path)
