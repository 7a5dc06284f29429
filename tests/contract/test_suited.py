"""Settings follow from how many cases there are, and units that say nothing are told of while there
is time.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wakesleep import cli
from wakesleep.data import distort, load
from wakesleep.evaluation import monitor
from wakesleep.runs import report, stages, training
from wakesleep.runs.settings import preset, read_config, suited


def call(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_known_sets_have_the_settings_of_their_numbers_of_cases() -> None:
    assert preset("digits") == suited(1442, tested=True)
    assert preset("mnist").greedy == suited(60_000).greedy
    assert (preset("mnist").hidden, preset("mnist").validation) == ((500, 500, 2000), 10_000)


@pytest.mark.parametrize("cases", [1, 60, 300, 700, 1442, 5000, 9999, 10_000, 60_000, 10**6])
def test_every_set_has_enough_updates_and_no_set_too_many_passes(cases: int) -> None:
    config = suited(cases)
    layer = config.greedy.layer
    updates = layer.epochs * -(-cases // layer.batch_size)
    assert updates >= min(3000, 300 * -(-cases // 20))
    assert 30 <= layer.epochs <= 300
    assert config.backprop.epochs >= 20
    assert config.backprop.epochs == config.random.epochs, "the baseline has as many"


def test_of_a_small_set_with_test_cases_all_are_learned_from() -> None:
    assert suited(700, tested=True).validation == 0
    assert suited(700).validation == pytest.approx(1 / 6)
    assert suited(20_000, tested=True).validation == pytest.approx(1 / 6)


def test_a_set_of_ones_own_is_trained_with_settings_for_its_cases_and_they_are_said(
    tmp_path: Path, capsys, digits
) -> None:
    images, labels = digits.train.images[:60].numpy(), digits.train.labels[:60].numpy()
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    few = ["--greedy.layer.epochs", 1, "--greedy.memory.epochs", 1]
    assert (
        call(
            "train",
            "--data",
            tmp_path / "few.npz",
            "--out",
            tmp_path / "run",
            *few,
            "--stages",
            "pretrain",
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "64-200-200-500" in said
    assert "pretrain 20 cases, 0.1 to 0.01" in said


def test_dead_and_saturated_units_are_told_of_in_words() -> None:
    assert monitor.silent_units("layer 1", {"dead_units": 0.4, "saturated_units": 0.1}) is None
    assert monitor.silent_units("backprop", {"train_error_percent": 1.0}) is None
    said = monitor.silent_units("layer 1", {"dead_units": 0.74, "saturated_units": 0.05})
    assert said is not None
    assert said.startswith("layer 1: 74 % of its units are off and 5 % of its units are on")
    assert "--greedy.layer.learning-rate" in said
    assert "--greedy.memory.learning-rate" in str(
        monitor.silent_units("memory", {"dead_units": 0.0, "saturated_units": 0.9})
    )


def test_a_run_warns_of_them_after_the_first_passes(tmp_path: Path, capsys, digits) -> None:
    few = [
        "--greedy.layer.epochs",
        4,
        "--greedy.memory.epochs",
        1,
        "--hidden",
        200,
        20,
        "--stages",
        "pretrain",
    ]
    wild = ["--greedy.layer.learning-rate", 5, "--greedy.layer.final-learning-rate", 5]
    assert call("train", "--out", tmp_path / "run", *few, *wild) == 0
    lines = capsys.readouterr().out.splitlines()
    warned = next(
        number for number, line in enumerate(lines) if line.startswith("warning: layer 1:")
    )
    assert lines[warned + 1].startswith("layer 1 3/4")
    assert call("train", "--out", tmp_path / "calm", *few) == 0
    assert "warning: layer" not in capsys.readouterr().out


@pytest.mark.parametrize(("cases", "taken"), [(60, 14.3), (300, 18.1), (700, 14.6), (5000, 21.3)])
def test_the_time_that_is_announced_is_that_of_a_run_however_small(
    tmp_path: Path, cases: int, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # seconds that such runs took on the machine whose rate of products this is; their products
    # alone were 0.9 to 8 s
    monkeypatch.setattr(report, "product_rate", lambda device, dtype: 1.18e11)
    images, labels = np.zeros((cases, 28, 28), np.float32), np.arange(cases) % 10
    images[:, 3:9, 3:9] = 1
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    dataset = load(tmp_path / "own.npz")
    job = training.new_run(tmp_path / "run", suited(cases), dataset, torch.device("cpu"), "a test")
    announced = 60 * sum(report.minutes(job).values())
    assert taken / 1.5 < announced < taken * 1.5
    assert "then errors and figures (about" in "".join(report.announce(job))


def evaluation(part: str, cases: int, **errors: int) -> dict[str, Any]:
    rows = [
        {"method": method, f"n_{part}": cases, f"{part}_errors": count}
        for method, count in errors.items()
    ]
    return {"part": part, "rows": rows}


def test_a_pretrained_net_that_random_weights_clearly_beat_is_told_of() -> None:
    (said,) = report.random_is_better(evaluation("validation", 15, backprop=5, random=1))
    assert (
        "of 15 validation cases the pretrained net gets 5 wrong and the same net from "
        "random weights 1"
    ) in said
    assert "--size 16" in said
    assert report.random_is_better(evaluation("test", 1000, backprop=130, random=100))


@pytest.mark.parametrize(
    "found",
    [
        evaluation("validation", 50, backprop=7, random=4),  # as likely as not chance
        evaluation("test", 1000, backprop=110, random=100),
        evaluation("test", 1000, backprop=100, random=130),
        evaluation("train", 15, backprop=5, random=1),  # these were learned from
        evaluation("test", 15, backprop=5),
        {"rows": []},
    ],
)
def test_chance_is_not_told_of(found: dict[str, Any]) -> None:
    assert report.random_is_better(found) == []


@pytest.mark.parametrize(
    ("part", "errors", "guessing", "told"),
    [
        ("test", 39, 40, True),
        ("validation", 7, 9, True),
        ("test", 20, 40, False),
        ("train", 39, 40, False),  # these were learned from
        ("test", 2, 0, False),  # one class alone
    ],
)
def test_a_net_that_hardly_tells_classes_apart_is_told_of(
    part: str, errors: int, guessing: int, told: bool
) -> None:
    row = {"part": part, f"n_{part}": 60, f"{part}_errors": errors, "guessing_errors": guessing}
    said = report.hardly_better_than_guessing(row)
    assert len(said) == told
    assert not told or f"of 60 {part} cases {errors} are wrong" in said[0]
    del row["guessing_errors"]
    assert report.hardly_better_than_guessing(row) == []


def judged(errors: int, part: str = "validation") -> dict[str, Any]:
    row = {"method": "free-energy", f"{part}_errors": errors, f"n_{part}": 40}
    return {"part": part, "rows": [row]}


def test_recognition_that_contrastive_wake_sleep_spoilt_is_told_of() -> None:
    lines = [
        {"stage": "memory", "validation_errors": 9},
        {"stage": "memory", "validation_errors": 0},
        {"stage": "updown", "validation_errors": 5},
    ]
    (said,) = report.updown_is_worse(judged(5), lines)
    assert "of 40 validation cases they get 5 wrong, and 0 before it" in said
    for found, seen in (
        (judged(2), lines),  # as likely as not chance
        (judged(5, "test"), lines),  # others than those counted before
        (judged(5), lines[:2]),
        (judged(5), [*lines, {"stage": "hybrid"}]),
        (judged(5), lines[2:]),
        ({"rows": []}, lines),
    ):
        assert report.updown_is_worse(found, seen) == []


def test_evaluate_repeats_it_beside_its_answer(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    few = [
        "--greedy.layer.epochs",
        0,
        "--greedy.memory.epochs",
        0,
        "--hidden",
        20,
        "--backprop.epochs",
        1,
        "--random.epochs",
        3,
    ]
    rates = ["--random.learning-rate", 0.2]
    assert (
        call("train", "--out", run, "--stages", "pretrain", "backprop", "random", *few, *rates) == 0
    )
    assert "warning: pretraining did not help" in capsys.readouterr().out
    assert call("evaluate", run) == 0
    assert "warning: pretraining did not help" in capsys.readouterr().err
    assert call("evaluate", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["method"] == "backprop"
    assert call("evaluate", run, "--method", "free-energy") == 0
    assert "pretraining did not help" not in capsys.readouterr().err
    (run / "evaluation.json").write_text("{")
    assert call("evaluate", run) == 0


def test_small_sets_heed_labels_in_contrastive_wake_sleep() -> None:
    assert suited(180, shape=(28, 28)).updown.label_weight > 0
    assert suited(1442, tested=True).updown.label_weight > 0


def test_few_validation_cases_do_not_pick_the_pass_of_contrastive_wake_sleep(
    tmp_path: Path, monkeypatch, digits
) -> None:
    np.savez(
        tmp_path / "few.npz",
        images=digits.train.images[:60].numpy(),
        labels=digits.train.labels[:60].numpy(),
    )
    few = [
        "--hidden",
        20,
        "--greedy.layer.epochs",
        1,
        "--greedy.memory.epochs",
        1,
        "--updown.epochs",
        3,
        "--updown.batch-size",
        50,
    ]

    def picked(name: str) -> object:
        run = tmp_path / name
        assert (
            call(
                "train",
                "--data",
                tmp_path / "few.npz",
                "--out",
                run,
                "--stages",
                "pretrain",
                "updown",
                *few,
            )
            == 0
        )
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert all("validation_errors" in line for line in lines if line["stage"] == "updown"), (
            "they are shown all the same"
        )
        return json.loads((run / "provenance.json").read_text()).get("updown_pass")

    assert picked("few") is None
    monkeypatch.setattr(stages, "PICKING", 1)
    assert picked("enough") is not None


@pytest.mark.parametrize("cases", [60, 300, 700, 1100])
def test_few_pictures_are_shown_in_nine_places_in_as_many_updates(cases: int) -> None:
    config = suited(cases, shape=(28, 21))
    assert config.shifted
    assert 1500 <= config.greedy.layer.epochs * 9 * cases / 20 <= 1.1 * 86_520 / 20
    assert config.backprop.epochs == config.random.epochs >= 5


def test_tables_tiny_pictures_many_cases_and_known_sets_are_shown_as_they_are() -> None:
    for config in (
        suited(300),
        suited(300, shape=(1, 784)),
        suited(300, shape=(8, 8)),
        suited(1200, shape=(28, 28)),
        preset("mnist"),
    ):
        assert not config.shifted


def test_shifted_pictures_are_moved_by_a_pixel_and_repeat_their_edge() -> None:
    picture = torch.arange(12, dtype=torch.uint8).reshape(1, 12)
    places = distort.shifted(picture, (3, 4)).reshape(9, 3, 4)
    assert places.dtype == torch.uint8
    assert torch.equal(places[0], picture.reshape(3, 4))
    assert len({tuple(place.flatten().tolist()) for place in places}) == 9
    down = [place for place in places if torch.equal(place[1:], places[0, :2])]
    assert len(down) == 1
    assert torch.equal(down[0][0], places[0, 0])


def test_a_run_on_few_pictures_shows_them_in_nine_places_and_says_so(
    tmp_path: Path, capsys
) -> None:
    images, labels = np.zeros((24, 16, 16), np.uint8), np.arange(24) % 2
    images[labels == 1, 5:9, 3:12] = 255
    images[labels == 0, 3:12, 5:9] = 255
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    few = [
        "--greedy.layer.epochs",
        1,
        "--greedy.memory.epochs",
        1,
        "--hidden",
        20,
        "--stages",
        "pretrain",
    ]
    assert call("train", "--data", tmp_path / "few.npz", "--out", tmp_path / "run", *few) == 0
    said = capsys.readouterr().out
    assert "20 training cases, 4 held out" in said
    assert "each is shown in nine places" in said
    assert read_config(tmp_path / "run").shifted
    assert (
        call(
            "train",
            "--data",
            tmp_path / "few.npz",
            "--out",
            tmp_path / "plain",
            *few,
            "--no-shifted",
        )
        == 0
    )
    assert "nine places" not in capsys.readouterr().out
