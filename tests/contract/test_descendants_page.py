"""The page on what came later: its figures are those of results/, and its verdict follows them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import descendants, descendants_page
from wakesleep.cli import main, reproduce
from wakesleep.data import load
from wakesleep.evaluation import likelihood
from wakesleep.paper import another, results
from wakesleep.paper.descendants import belief_nets, fourteen_methods
from wakesleep.paper.runs import TableSetup, toy
from wakesleep.runs.settings import preset

ROOT = Path(__file__).parents[2]


def measured(**values: float) -> descendants_page.Figures:
    """Return rows of MNIST with 100 labels."""

    def row(value: float) -> dict[str, Any]:
        return {"value": value, "low": value, "high": value, "minutes": 1.5, "reported": ""}

    return {
        (f"mnist-{name.replace('_', '-')}-100", "test_accuracy_percent"): row(value)
        for name, value in values.items()
    }


def test_the_page_says_what_results_say(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "does-generating-first-still-help.md").read_text())
    figures = descendants_page.read(ROOT / "results" / "descendants.json")
    assert not descendants_page.update(page, figures), "python -m benchmarks.descendants_page"


def test_how_many_cells_are_measured_is_what_the_row_says() -> None:
    figures = descendants_page.read(ROOT / "results" / "descendants.json")
    counted = figures["all", "cells_measured_of_56"]["value"]
    assert counted == descendants_page.cells_measured(figures)
    assert descendants_page.cells_measured(measured(supervised=75.0, ladder=96.0)) == 2


def test_the_page_says_what_is_missing() -> None:
    text = descendants_page.standing(measured(supervised=75.0, ladder=96.0))
    assert text.startswith("2 of 56 cells are measured.")
    assert "MNIST, 60,000 labels: all." in text
    assert "ladder net" not in text
    assert "forward-forward" in text


def test_the_verdict_follows_the_figures() -> None:
    alone = descendants_page.verdict(measured(supervised=75.0, dbn_memory=93.0, vae_m1=90.0))
    assert "(belief net, label memory) 93.00 %, +18.00 points" in alone
    assert "what came later is not measured yet. So far, with cells missing: yes" in alone
    most = descendants_page.verdict(measured(supervised=75.0, dbn_memory=93.0, ladder=92.0))
    assert "nothing measured here helps more" in most
    more = descendants_page.verdict(measured(supervised=75.0, dbn_memory=93.0, ladder=96.0))
    assert "(ladder net) 96.00 %" in more
    assert "not always what helps most" in more
    harms = descendants_page.verdict(measured(supervised=75.0, dbn_memory=70.0))
    assert "missing: no" in harms
    assert descendants_page.verdict({}) == "Too little is measured for a verdict.\n"
    assert descendants_page.conclusion(1, 2, [True, True], whole=True).endswith(
        "beats it in 2 of 2. So: it depends on how many labels there are."
    )


def test_the_best_of_a_cell_is_marked_and_curves_need_two_counts(tmp_path: Path) -> None:
    figures = measured(supervised=75.0, dbn_memory=93.0)
    assert "| labels alone | 75.00 |" in descendants_page.table(figures)
    assert "| belief net, label memory | **93.00** |" in descendants_page.table(figures)
    assert descendants_page.draw(figures, tmp_path) is None
    assert descendants_page.curves(figures).startswith("No curves yet")
    figures["mnist-supervised-1000", "test_accuracy_percent"] = {"value": 90.0}
    drawn = descendants_page.draw(figures, tmp_path)
    assert drawn is not None
    assert drawn.stat().st_size > 5000


class Sure(torch.nn.Module):
    """A judge that sees in a picture the label of its brightest pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 100 * images


def test_the_judge_scores_sure_and_varied_pictures_high() -> None:
    labels = torch.arange(10).repeat(5)
    pictures = torch.eye(10)[labels]
    net = torch.nn.Sequential(Sure())
    assert descendants.judged(net, pictures, labels) == {
        "judge_score": 10.0,
        "agreement_percent": 100.0,
    }
    assert descendants.judged(net, pictures[:1].expand(50, 10), None) == {"judge_score": 1.0}
    unsure = torch.full((50, 10), 0.1)
    assert descendants.judged(net, unsure, None) == {"judge_score": 1.0}


@pytest.fixture
def setup(tmp_path: Path) -> TableSetup:
    """Return tables at toy size."""
    config = replace(toy(preset("digits")), precision="float32")
    return TableSetup(load("digits"), tmp_path, (1,), config, torch.device("cpu"), "", smoke=True)


def test_every_generator_makes_pictures_and_bounds(setup: TableSetup) -> None:
    judge = torch.nn.Sequential(torch.nn.Linear(64, 10))
    labels = torch.arange(10).repeat(2)
    job = fourteen_methods.job(setup, 100, 1)
    bounded = set()
    for name, model in descendants.GENERATORS.items():
        pictures, about, _ = descendants.judge_model(model, job, judge, labels, 3, 20)
        assert pictures.shape == (20, 64), name
        assert 0 <= pictures.min() <= pictures.max() <= 1, name
        assert 1 <= about["judge_score"] <= 10, name
        assert ("agreement_percent" in about) == model.labelled, name
        if "test_bound" in about:
            assert about["test_bound"] < 0
            bounded.add(name)
    assert bounded == {"dbn-greedy", "dbn-updown", "vae-m1"}
    _, about, _ = descendants.judge_model(
        descendants.GENERATORS["vae-m1"], job, judge, labels, 3, 0
    )
    assert "test_bound" not in about


def test_a_bound_whose_log_z_is_doubtful_is_no_figure(
    setup: TableSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = fourteen_methods.job(setup, 100, 1)
    net = belief_nets.unlabelled_net(setup).net
    assert isinstance(descendants.bound(net, job, 20), float)
    monkeypatch.setattr(likelihood.LogZ, "disagreement", "the directions are 217 nats apart")
    assert descendants.bound(net, job, 20) is None


def test_rows_that_are_there_are_left_out(setup: TableSetup) -> None:
    count = min(100, len(setup.dataset.train))
    names = [f"digits-{method}-{count}" for method in fourteen_methods.METHODS]
    names += [f"digits-{method}-probe" for method in fourteen_methods.FEATURES]
    known = {(fourteen_methods.TABLE, name): (1,) for name in names[1:]}
    (row,) = fourteen_methods.rows(replace(setup, measured=known))
    assert row["row"] == names[0]
    assert replace(setup, measured=known).wants(fourteen_methods.TABLE, names[1], (1, 2))
    (row,) = fourteen_methods.rows(replace(setup, only=(names[0],)))
    assert row["row"] == names[0]


def test_of_another_set_the_rows_asked_for_are_measured_alone(setup: TableSetup) -> None:
    name = "labels-100-supervised"
    (row,) = another.rows(replace(setup, only=(name,)))
    assert row["row"] == name


def test_only_says_where_it_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "costs", "--smoke", "--only", "labels-100"]) == 0
    assert "--only has no effect on costs" in capsys.readouterr().err


def test_what_is_there_is_read_from_all_results() -> None:
    measured = reproduce._measured(ROOT / "results")
    assert len(measured["mnist", "labels-100-memory"]) == 10
    assert all(isinstance(seeds, tuple) for seeds in measured.values())


def test_missing_needs_a_place_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "descendants", "--missing"]) == 1
    assert "--out" in capsys.readouterr().err


def test_a_partial_row_replaces_none_of_more_seeds(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"

    def seen(values: list[float], **notes: Any) -> list[int]:
        seeds = list(range(1, len(values) + 1))
        results.save(path, [results.row("table", "row", "metric", values, seeds=seeds, **notes)])
        (row,) = json.loads(path.read_text())
        return list(row["seeds"])

    assert seen([1.0], partial=True) == [1]
    assert seen([1.0, 2.0], partial=True) == [1, 2]
    assert seen([1.0], partial=True) == [1, 2]
    assert seen([1.0]) == [1]
