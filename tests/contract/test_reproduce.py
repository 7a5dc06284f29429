"""The paper's tables at toy size: every one runs, is read when it is there, and never lets a test
case choose.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import tables_figures as figures
from wakesleep.cli import main
from wakesleep.cli.reproduce import NAMES
from wakesleep.compute.machine import describe, processor_name
from wakesleep.compute.select import pick_device
from wakesleep.data import Dataset, Split
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop
from wakesleep.paper import costs, pretraining, runs
from wakesleep.paper.runs import Done, TableSetup, learn, toy
from wakesleep.paper.tables import TABLES
from wakesleep.runs.settings import preset

EXPECTED = {
    "strategies": {
        "strategy-evolution",
        "strategy-denial-hand-made",
        "strategy-generation",
        "strategy-procrastination-k-means",
    },
    "pretraining": {"backprop-50k", "backprop-random", "conjugate-50k", "dropout"},
    "generative": {"greedy", "updown-60k", "hybrid"},
    "depth": {"depth-1", "depth-4", "depth-4-random"},
    "few-labels": {"labels-100", "labels-1000-memory", "labels-300-supervised"},
    "geometry": {"translated", "distorted", "distorted-random"},
    "another": {"backprop-50k", "conjugate-50k", "labels-100"},
    "costs": {"cost-pretrain-50k", "cost-distorted"},
    "descendants": {"digits-ladder-100", "digits-vae-m1-m2-100", "digits-diffusion-probe"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduce")


def bench(folder: Path, dataset: Dataset) -> TableSetup:
    return TableSetup(
        dataset,
        folder,
        (1,),
        replace(toy(preset("digits")), precision="float32"),
        torch.device("cpu"),
        "a test",
        smoke=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("table", NAMES)
def test_every_table_runs(table: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(TABLES) == NAMES
    assert main(["reproduce", table, "--smoke", "--json", "--folder", str(folder)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out[out.index("[\n") :])
    assert EXPECTED[table] <= {row["row"] for row in rows}
    for row in rows:
        assert row["smoke"] is True
        assert row["command"].startswith(f"wakesleep reproduce {table} --smoke")
        assert "week" not in row["reported"] or (row["row"], row["metric"]) == (
            "cost-updown-50k",
            "minutes",
        )
        assert row["metric"].split("_")[-1] in (
            "bound",
            "reverse",
            "percent",
            "errors",
            "minutes",
            "passes",
            "second",
            "multiplications",
            "weights",
        ), row


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to run the tables on")
@pytest.mark.parametrize("table", NAMES)
def test_every_table_runs_on_a_gpu(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            ["reproduce", table, "--smoke", "--json", "--device", "cuda", "--folder", str(tmp_path)]
        )
        == 0
    )
    out = capsys.readouterr().out
    rows = json.loads(out[out.index("[\n") :])
    assert {
        row["device"].startswith("cuda: ") for row in rows if row["row"].startswith("depth-")
    } <= {True}


def test_a_table_ends_with_where_and_by_which_command_it_was_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time nothing is told of runs
        assert main(["reproduce", "geometry", "--smoke", "--folder", str(folder)]) == 0
    title, *rows, where = capsys.readouterr().out.strip().splitlines()[-6:]
    assert title == "geometry"
    assert [row.split()[0] for row in rows] == [
        "translated",
        "translated-random",
        "distorted",
        "distorted-random",
    ]
    device = describe(pick_device("auto")) if torch.cuda.is_available() else processor_name()
    assert where == f"  {device}; wakesleep reproduce geometry --smoke --folder {folder}"


def test_rows_say_where_they_were_made(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "describe", lambda device: f"{device}: a GPU")
    done = [Done(torch.nn.Sequential(), "", [], 1.0, 1.0, {"test_error_percent": 1.0})]
    here = bench(tmp_path, digits)
    there = replace(here, device=torch.device("cuda"))
    (row,) = runs.collect(there, "a", done)
    assert row["device"] == costs._row(there, "a", "minutes", 1.0, 1)["device"] == "cuda: a GPU"
    (row,) = runs.collect(here, "a", done)
    assert row["device"].startswith("cpu: ")


def test_what_is_there_is_read_and_not_run_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["reproduce", "geometry", "--smoke", "--folder", str(folder)])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    main(["reproduce", "geometry", "--smoke", "--folder", str(folder)])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert "robust 1/2" not in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pretraining_keeps_to_the_precision_of_the_table(
    precision: str, tmp_path: Path, digits: Dataset
) -> None:
    one = bench(tmp_path, digits)
    pretraining.pretrained(
        replace(one, config=replace(one.config, precision=precision)), 1, "pretrain-50k"
    )
    config = json.loads((tmp_path / "digits" / "seed-1-pretrain-50k" / "config.json").read_text())
    assert config["precision"] == precision


def plain(
    bench: TableSetup, epochs: int = 4, validation: Split | None = None, stop_at: int = 0
) -> runs.Done:
    """A small net on the digits, stopped by an error after `stop_at` epochs."""
    images, labels = bench.dataset.train.images, bench.dataset.train.labels
    config = replace(bench.config.backprop, epochs=epochs)

    def loop(net, rng, state):  # type: ignore[no-untyped-def]
        for record in backprop.epochs(net, images, labels, config=config, rng=rng, state=state):
            if stop_at and record.epoch > stop_at:
                raise KeyboardInterrupt
            yield record

    make = lambda rng: backprop.random_classifier((64, 20, 10), rng=rng)  # noqa: E731
    return learn(
        bench,
        "plain",
        1,
        config,
        make=make,
        loop=loop,
        log_probs=backprop.log_probs,
        validation=validation,
    )


def test_the_robust_net_is_wider_and_lies_apart(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TableSetup] = []

    def done(bench: TableSetup, *given: object, **more: object) -> Done:
        seen.append(bench)
        return Done(torch.nn.Sequential(), "", [], 1.0, 1.0, {"test_error_percent": 1.0})

    monkeypatch.setattr(pretraining, "robust_net", done)
    one = replace(bench(tmp_path, digits), smoke=False, seeds=(1, 2))
    (row,) = pretraining.robust_rows(one)
    assert (row["row"], row["seeds"], row["hidden"]) == ("dropout", [1, 2], pretraining.WIDE)
    assert {(each.config.hidden, each.folder) for each in seen} == {
        (pretraining.WIDE, tmp_path / "wide")
    }
    assert one.config.hidden != pretraining.WIDE


def test_a_stopped_run_loses_a_pass_at_most_and_ends_the_same(
    tmp_path: Path, digits: Dataset
) -> None:
    held_out = Split(digits.train.images[:100], digits.train.labels[:100])
    whole = plain(bench(tmp_path / "whole", digits), validation=held_out)
    with pytest.raises(KeyboardInterrupt):
        plain(bench(tmp_path / "stopped", digits), validation=held_out, stop_at=2)
    (checkpoint,) = (tmp_path / "stopped").glob("*/checkpoint.safetensors")
    again = plain(bench(tmp_path / "stopped", digits), validation=held_out)
    assert not checkpoint.exists()
    assert [line["cross_entropy"] for line in again.epochs] == [
        line["cross_entropy"] for line in whole.epochs
    ]
    assert all(
        torch.equal(one, other)
        for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True)
    )
    assert again.errors == whole.errors


def test_the_pass_with_the_fewest_validation_errors_is_kept(
    tmp_path: Path, digits: Dataset
) -> None:
    held_out = Split(digits.train.images[:100], digits.train.labels[:100])
    done = plain(bench(tmp_path, digits), epochs=8, validation=held_out)
    assert done.errors["validation_errors"] == min(
        line["validation_errors"] for line in done.epochs
    )
    found = backprop.log_probs(done.net, held_out.images).argmax(1)
    assert int((found != held_out.labels).sum()) == done.errors["validation_errors"]


def test_other_settings_are_another_run_and_test_labels_change_no_weight(
    tmp_path: Path, digits: Dataset
) -> None:
    assert digits.test is not None
    assert digits.test.labels is not None
    done = plain(bench(tmp_path, digits))
    other = plain(bench(tmp_path, digits), epochs=3)
    assert done.digest != other.digest
    shuffled = replace(digits, test=Split(digits.test.images, digits.test.labels.flip(0)))
    blind = plain(bench(tmp_path / "blind", shuffled))
    assert all(
        torch.equal(one, another)
        for one, another in zip(done.net.parameters(), blind.net.parameters(), strict=True)
    )
    assert blind.errors["test_error_percent"] != done.errors["test_error_percent"]


def test_choices_of_labels_are_balanced_and_differ(digits: Dataset) -> None:
    from wakesleep.sources.arrays import order

    labels = digits.train.labels
    assert labels is not None
    chosen = [set(order(labels, len(labels), generator(seed))[:100].tolist()) for seed in (1, 2)]
    assert chosen[0] != chosen[1]
    for one in chosen:
        counts = torch.bincount(labels[list(one)], minlength=10)
        assert counts.min() >= 8
        assert counts.max() <= 12


def test_plots_show_what_is_measured(tmp_path: Path) -> None:
    curve = [(1, 0.1, 900), (2, 0.2, 300)]
    rows = [
        {"row": "strategy-evolution", "metric": "validation_errors", "value": 300, "curve": curve},
        {"row": "strategy-evolution", "metric": "test_error_percent", "value": 3.0, "curve": curve},
        {"row": "labels-100", "metric": "test_accuracy_percent", "value": 95.0},
        {"row": "labels-1000", "metric": "test_accuracy_percent", "value": 97.0},
        {"row": "labels-100-supervised", "metric": "test_accuracy_percent", "value": 76.0},
    ]
    assert figures.strategies(rows, 1) == {"evolution": ([0.1, 0.2], [900, 300])}
    assert figures.few_labels(rows) == {
        "supervised": ([100.0], [76.0]),
        "semi-supervised": ([100.0, 1000.0], [95.0, 97.0]),
    }
    (tmp_path / "mnist.json").write_text(json.dumps(rows))
    assert {path.name for path in figures.draw(tmp_path, tmp_path / "out")} == {
        "mnist-strategies.png",
        "mnist-few-labels.png",
    }
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "out").iterdir())
