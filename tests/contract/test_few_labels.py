"""Runs on sets of which a few cases have a label: where labels come from, that a run goes on where
it was stopped, and what is refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import small_config
from wakesleep.cli import main
from wakesleep.data import DataError, Dataset, Split
from wakesleep.data.unlabelled import labels_from, set_aside, without_unlabelled
from wakesleep.estimators import DBNClassifier
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import semi_supervised, spreading
from wakesleep.learning.net_configs import SemiSupervisedConfig
from wakesleep.runs import training
from wakesleep.runs.settings import for_few_labels, from_json, preset, to_json
from wakesleep.sources.arrays import order

CPU = torch.device("cpu")
EPOCHS = (
    "--hidden 48 64 --greedy.layer.epochs 6 --greedy.memory.epochs 6 --backprop.epochs 3 "
    "--semisupervised.epochs 3"
).split()


def few_of(digits: Dataset, count: int = 60) -> torch.Tensor:
    """Return the labels of `count` digits, -1 elsewhere."""
    labels = digits.train.labels
    assert labels is not None
    chosen = order(labels, len(labels), generator(1))[:count]
    return torch.full_like(labels, -1).index_copy_(0, chosen, labels[chosen])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    path = tmp_path_factory.mktemp("few") / "labels.csv"
    path.write_text(
        "label\n"
        + "".join("\n" if label < 0 else f"{label}\n" for label in few_of(digits).tolist())
    )
    return path


def test_a_run_learns_from_a_file_of_few_labels(tmp_path: Path, few: Path, digits, capsys) -> None:
    out = tmp_path / "run"
    assert main(["train", "--labels-from", str(few), "--out", str(out), "--json", *EPOCHS]) == 0
    shown = capsys.readouterr()
    errors = {row["method"]: row["test_error_percent"] for row in json.loads(shown.out)["rows"]}
    assert set(errors) == {"free-energy", "backprop"}
    assert max(errors.values()) < 30  # chance is 90, and 60 labels alone have 40
    assert "semisupervised" in shown.err
    stages = [
        json.loads(line)["stage"] for line in (out / "metrics.jsonl").read_text().splitlines()
    ]
    assert stages == ["layer 1"] * 6 + ["memory"] * 6 + ["backprop"] * 3 + ["semisupervised"] * 3
    assert main(["evaluate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_error_percent"] == errors["backprop"]


@pytest.mark.slow
def test_a_run_on_few_labels_goes_on_where_it_was_stopped(
    tmp_path: Path, few: Path, digits, capsys
) -> None:
    small = small_config(
        stages=("pretrain", "backprop", "semisupervised"), validation=0, hidden=(20, 30)
    )
    config = replace(
        small, semisupervised=SemiSupervisedConfig(epochs=3, batch_size=20), precision="float32"
    )
    dataset = labels_from(digits, few)
    list(training.train(training.new_run(tmp_path / "whole", config, dataset, CPU, "a test")))
    job = training.new_run(tmp_path / "parts", config, dataset, CPU, "a test", labels_from=few)
    for left_after in (9, 5, 2):  # in the memory, in backpropagation, in what follows it
        records = training.train(job)
        for _ in range(left_after):
            next(records)
        records.close()
        job = training.resume_run(tmp_path / "parts", dataset, CPU)
    job.lock.close()
    assert main(["train", "--resume", str(tmp_path / "parts")]) == 0, (
        "the file of labels is found again"
    )
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()


def test_a_net_of_one_layer_learns_from_few_labels_too(
    tmp_path: Path, few: Path, digits: Dataset
) -> None:
    """Its codes are the pixels themselves."""
    small = small_config(
        stages=("pretrain", "backprop", "semisupervised"), validation=0, hidden=(30,)
    )
    config = replace(
        small, semisupervised=SemiSupervisedConfig(epochs=1, batch_size=20), precision="float32"
    )
    *_, last = training.train(
        training.new_run(tmp_path / "run", config, labels_from(digits, few), CPU, "a test")
    )
    assert last.stage == "semisupervised"


@pytest.mark.parametrize("agreement", [pytest.param(0.5, marks=pytest.mark.slow), 0.9])
def test_runs_and_estimators_ask_the_labels_how_much_smoothness_weighs(
    agreement: float, tmp_path: Path, few: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    real = semi_supervised.epochs

    def epochs(*given, config, **more):
        weights.append(config.smooth_weight)
        return real(*given, config=config, **more)

    monkeypatch.setattr(semi_supervised, "epochs", epochs)
    monkeypatch.setattr(spreading, "agreement", lambda graph, labels: agreement)
    small = small_config(
        stages=("pretrain", "backprop", "semisupervised"), validation=0, hidden=(10, 10)
    )
    for asked in (SemiSupervisedConfig(epochs=1), SemiSupervisedConfig(epochs=1, smooth_weight=2)):
        config, folder = replace(small, semisupervised=asked), tmp_path / str(asked.smooth_weight)
        job = training.new_run(folder, config, labels_from(digits, few), CPU, "a test")
        list(training.train(job))
    images, labels = digits.train.images.numpy(), few_of(digits).numpy()
    net = DBNClassifier((10, 10), n_iter=1, fine_tune_n_iter=1, unlabeled=-1)
    net.fit(images / 255, labels)
    suited = 1.0 if agreement == 0.9 else 0.1
    assert weights == [suited, 2, suited]


def test_a_class_called_unlabelled_is_none(digits: Dataset) -> None:
    labels = few_of(digits)
    given = replace(
        digits,
        train=Split(digits.train.images, labels + 1),
        classes=("Unlabelled", *digits.classes),
    )
    assert digits.test is not None
    assert digits.test.labels is not None
    given = replace(given, test=Split(digits.test.images, digits.test.labels + 1))
    actual = set_aside(given)
    assert actual.classes == digits.classes
    assert torch.equal(actual.train.labels, labels)
    assert torch.equal(actual.test.labels, digits.test.labels)
    assert len(without_unlabelled(given).train) == 60
    assert set_aside(digits) is digits


def test_data_and_advise_count_no_class_unlabelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("circle", "square", "unlabelled")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for picture in range(100 if name == "unlabelled" else 20):
            pixels = generator(3 * picture + number)
            noise = torch.randint(256, (6, 6), generator=pixels, dtype=torch.uint8).numpy()
            Image.fromarray(noise).save(tmp_path / "set" / name / f"{picture}.png")
    assert main(["data", str(tmp_path / "set"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["classes"], output["train_counts"]) == (["circle", "square"], [20, 20])
    assert (output["n_train"], output["n_unlabelled"]) == (140, 100)
    options = ["--minutes", "0.01", "--shapes", "5", "--repeats", "1", "--json"]
    picture = str(tmp_path / "advice.png")
    assert main(["advise", "--data", str(tmp_path / "set"), "--out", picture, *options]) == 0
    (one,) = json.loads(capsys.readouterr().out)["candidates"]
    # of 23 held out a handful have a label, and only those are counted
    wrong = [one["validation_error"] * labelled / 100 for labelled in range(5, 10)]
    assert any(abs(number - round(number)) < 1e-6 for number in wrong)


@pytest.mark.parametrize("kind", ["numbers", "floats", "words", "text"])
def test_labels_of_every_kind_of_file_are_read(kind: str, tmp_path: Path, digits: Dataset) -> None:
    labels, path = few_of(digits), tmp_path / ("few.txt" if kind == "text" else "few.npy")
    if kind == "text":  # as spreadsheets write it
        path.write_text("".join(f'"{label}"\n' for label in labels.tolist()), encoding="utf-8-sig")
    elif kind == "floats":
        np.save(path, np.where(labels < 0, np.nan, labels).astype(np.float64))
    else:
        np.save(
            path,
            labels.numpy()
            if kind == "numbers"
            else np.where(labels < 0, "", labels.numpy().astype(str)),
        )
    actual = labels_from(digits, path)
    assert torch.equal(actual.train.labels, labels)
    assert actual.checksum != digits.checksum
    bare = replace(digits, train=Split(digits.train.images), test=None, classes=())
    assert labels_from(bare, path).classes == digits.classes


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["1"] * 7, "7 labels for 1442 training cases"),
        (["1"] * 1441 + ["cat"], "labels cat; the classes of digits are 0, 1"),
        (["1"] * 1442, "labels of 1 class"),
        ([""] * 1442, "labels of 0 class"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    lines: list[str], reason: str, tmp_path: Path, digits: Dataset
) -> None:
    path = tmp_path / "few.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(DataError, match=reason):
        labels_from(digits, path)
    with pytest.raises(DataError, match="cannot be read"):
        labels_from(digits, tmp_path / "none.npy")


def test_few_labels_are_all_learned_from(tmp_path: Path, few: Path, digits: Dataset) -> None:
    dataset = labels_from(digits, few)
    with pytest.raises(ConfigError, match="--validation 0"):
        training.new_run(tmp_path / "a", small_config(), dataset, CPU, "a test")
    with pytest.raises(ConfigError, match="expected backprop before semisupervised"):
        small_config(stages=("pretrain", "semisupervised"))
    config = for_few_labels(preset("mnist"), 60_000)
    assert (config.validation, config.backprop.epochs, config.semisupervised.epochs) == (0, 3, 30)
    assert for_few_labels(preset("digits"), 1442).semisupervised.epochs == 42
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
