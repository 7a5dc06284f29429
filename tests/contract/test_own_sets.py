"""A run beside a second set or a second run, and sets of one's own, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import small_config
from wakesleep import checkpoint, recipe
from wakesleep.cli import main
from wakesleep.data import Dataset, load
from wakesleep.learning.backprop import BackpropConfig

CPU = torch.device("cpu")


def call(*words: object) -> int:
    return main([str(word) for word in words])


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert call(*words) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert call(*words) == 1
    return capsys.readouterr().err


def saved(path: Path, images: torch.Tensor, labels: torch.Tensor, **more: object) -> Path:
    np.savez(path, images=images.numpy(), labels=labels.numpy(), **more)
    return path


@pytest.fixture(scope="session")
def threes(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """Test digits of the classes 3, 7 and 9 alone, named in another order than the run's."""
    assert digits.test is not None
    assert digits.test.labels is not None
    names = ("9", "3", "7")
    chosen = torch.isin(digits.test.labels, torch.tensor([3, 7, 9]))
    labels = torch.tensor([names.index(str(label)) for label in digits.test.labels[chosen].tolist()])
    return saved(tmp_path_factory.mktemp("threes") / "threes.npz", digits.test.images[chosen], labels, classes=np.array(names))


def test_another_set_is_judged_by_the_names_of_its_classes(run_folder: Path, threes: Path, tmp_path: Path, digits, capsys) -> None:
    found = answer(capsys, "evaluate", run_folder, "--data", threes, "--json")
    assert found["part"] == "test"
    assert found["n_test"] == len(load(threes).train)
    assert found["test_error_percent"] < 40  # by number instead of by name: 100
    later = saved(tmp_path / "later.npz", digits.test.images, digits.test.labels + 1)
    assert "cases of the classes 10; the run knows 0, 1" in refusal(capsys, "evaluate", run_folder, "--data", later)
    named = saved(tmp_path / "named.npz", digits.test.images, digits.test.labels + 1, classes=np.array(["none", *"0123456789"]))
    whole = answer(capsys, "evaluate", run_folder, "--data", named, "--json")
    assert whole["test_errors"] == answer(capsys, "evaluate", run_folder, "--json")["test_errors"]


def test_every_command_matches_classes_or_refuses(run_folder: Path, threes: Path, tmp_path: Path, digits, capsys) -> None:
    tuned = answer(
        capsys, "finetune", run_folder, "--data", threes, "--validation", 0, "--backprop.passes", 1, "--out", tmp_path / "t", "--json"
    )
    assert checkpoint.load_model(tmp_path / "t").header["classes"] == list("0123456789")
    assert tuned["rows"][0]["train_error_percent"] < 40
    cats = saved(tmp_path / "cats.npz", digits.test.images, digits.test.labels % 2, classes=np.array(["cat", "dog"]))
    for words in (["finetune", "--out", tmp_path / "no"], ["likelihood", "--binarise", "round"], ["plot", "--what", "confused"], ["evaluate"]):
        assert "classes cat, dog" in refusal(capsys, words[0], run_folder, *words[1:], "--data", cats)
    assert not (tmp_path / "no").exists()


def test_runs_with_other_classes_are_put_in_order_or_refused(run_folder: Path, tmp_path: Path, digits: Dataset, capsys) -> None:
    config = small_config(stages=("pretrain",))
    backwards = replace(digits, classes=digits.classes[::-1], train=replace(digits.train, labels=9 - digits.train.labels), test=None)
    list(recipe.train(recipe.start(tmp_path / "back", config, backwards, CPU, "a test")))
    alone = answer(capsys, "evaluate", tmp_path / "back", "--data", "digits", "--json")
    assert alone["test_error_percent"] < 60  # chance is 90
    twice = answer(capsys, "evaluate", run_folder, tmp_path / "back", "--method", "free-energy", "--json")
    assert twice["test_error_percent"] < 40
    fewer = replace(digits, classes=(*digits.classes[:9], "ten"))
    list(recipe.train(recipe.start(tmp_path / "other", config, fewer, CPU, "a test")))
    assert "must know the same" in refusal(capsys, "evaluate", run_folder, tmp_path / "other")


def test_a_run_goes_on_with_the_same_names_alone(tmp_path: Path, digits: Dataset) -> None:
    job = recipe.start(tmp_path / "run", small_config(stages=("pretrain",)), digits, CPU, "a test")
    next(recipe.train(job))
    with pytest.raises(checkpoint.CheckpointError, match="name them as they were"):
        recipe.resume(tmp_path / "run", replace(digits, classes=(*digits.classes[:9], "ten")), CPU)
    assert recipe.resume(tmp_path / "run", digits, CPU).lines == 1


@pytest.mark.parametrize("validation", [50, 0])
def test_figures_of_a_set_without_test_cases_are_called_what_they_are(tmp_path: Path, digits: Dataset, validation: int, capsys) -> None:
    place = torch.argsort(digits.train.labels[:300], stable=True)
    own = load(saved(tmp_path / "mnist.npz", digits.train.images[:300][place], digits.train.labels[:300][place]))  # sorted by class
    assert not own.published
    config = small_config(stages=("pretrain", "backprop"), validation=validation, backprop=BackpropConfig(passes=15, batch_size=20))
    job = recipe.start(tmp_path / "run", config, own, CPU, "a test")
    if validation:  # a name is no identity: the last ones would be nines alone
        assert job.validation.labels.bincount(minlength=10).min() >= 3
    list(recipe.train(job))
    part = "validation" if validation else "train"
    found = answer(capsys, "evaluate", tmp_path / "run", "--json")
    assert found in checkpoint.read_json(tmp_path / "run/evaluation.json")["rows"]
    assert found["part"] == part
    assert found[f"n_{part}"] == (validation or 300)
    assert found[f"{part}_error_percent"] < 50
    assert not any("test" in name for name in found)
    assert call("evaluate", tmp_path / "run") == 0
    assert f"{validation or 300} {'validation' if validation else 'training'} " in capsys.readouterr().out
    assert "n_test" in answer(capsys, "evaluate", tmp_path / "run", "--data", "digits", "--json")
