"""A run beside a second set or a second run, and sets of one's own, from the command line."""

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
from wakesleep.data import DataError, Dataset, from_header, load, match_classes
from wakesleep.evaluation import monitor
from wakesleep.foundation import files
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.runs import checkpoint, figures, training

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


def sorted_by_class(path: Path, digits: Dataset) -> Path:
    order = torch.argsort(digits.train.labels[:300], stable=True)
    return saved(path, digits.train.images[:300][order], digits.train.labels[:300][order])


@pytest.fixture(scope="session")
def threes(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """Test digits of the classes 3, 7 and 9 alone, named in another order than the run's."""
    assert digits.test is not None
    assert digits.test.labels is not None
    names = ("9", "3", "7")
    chosen = torch.isin(digits.test.labels, torch.tensor([3, 7, 9]))
    labels = torch.tensor(
        [names.index(str(label)) for label in digits.test.labels[chosen].tolist()]
    )
    return saved(
        tmp_path_factory.mktemp("threes") / "threes.npz",
        digits.test.images[chosen],
        labels,
        classes=np.array(names),
    )


def test_another_set_is_judged_by_the_names_of_its_classes(
    run_folder: Path, threes: Path, tmp_path: Path, digits, capsys
) -> None:
    found = answer(capsys, "evaluate", run_folder, "--data", threes, "--json")
    assert found["part"] == "test"
    assert found["n_test"] == len(load(threes).train)
    assert found["test_error_percent"] < 40  # by number instead of by name: 100
    later = saved(tmp_path / "later.npz", digits.test.images, digits.test.labels + 1)
    assert ("cases of the classes 10; the run knows 0, 1") in refusal(
        capsys, "evaluate", run_folder, "--data", later
    )
    named = saved(
        tmp_path / "named.npz",
        digits.test.images,
        digits.test.labels + 1,
        classes=np.array(["none", *"0123456789"]),
    )
    whole = answer(capsys, "evaluate", run_folder, "--data", named, "--json")
    assert whole["test_errors"] == answer(capsys, "evaluate", run_folder, "--json")["test_errors"]


def test_every_command_matches_classes_or_refuses(
    run_folder: Path, threes: Path, tmp_path: Path, digits, capsys
) -> None:
    tuned = answer(
        capsys,
        "finetune",
        run_folder,
        "--data",
        threes,
        "--validation",
        0,
        "--backprop.epochs",
        1,
        "--out",
        tmp_path / "t",
        "--json",
    )
    assert checkpoint.load_model(tmp_path / "t").header["classes"] == list("0123456789")
    assert tuned["rows"][0]["train_error_percent"] < 40
    cats = saved(
        tmp_path / "cats.npz",
        digits.test.images,
        digits.test.labels % 2,
        classes=np.array(["cat", "dog"]),
    )
    for words in (
        ["finetune", "--out", tmp_path / "no"],
        ["likelihood", "--binarise", "round"],
        ["plot", "--what", "confused"],
        ["evaluate"],
    ):
        assert "classes cat, dog" in refusal(
            capsys, words[0], run_folder, *words[1:], "--data", cats
        )
    assert not (tmp_path / "no").exists()


def test_runs_with_other_classes_are_put_in_order_or_refused(
    run_folder: Path, tmp_path: Path, digits: Dataset, capsys
) -> None:
    config = small_config(stages=("pretrain",))
    backwards = replace(
        digits,
        classes=digits.classes[::-1],
        train=replace(digits.train, labels=9 - digits.train.labels),
        test=None,
    )
    list(training.train(training.new_run(tmp_path / "back", config, backwards, CPU, "a test")))
    alone = answer(capsys, "evaluate", tmp_path / "back", "--data", "digits", "--json")
    assert alone["test_error_percent"] < 60  # chance is 90
    twice = answer(
        capsys, "evaluate", run_folder, tmp_path / "back", "--method", "free-energy", "--json"
    )
    assert twice["test_error_percent"] < 40
    fewer = replace(digits, classes=(*digits.classes[:9], "ten"))
    list(training.train(training.new_run(tmp_path / "other", config, fewer, CPU, "a test")))
    assert "must know the same" in refusal(capsys, "evaluate", run_folder, tmp_path / "other")


def test_a_run_goes_on_with_the_same_names_alone(tmp_path: Path, digits: Dataset) -> None:
    job = training.new_run(
        tmp_path / "run", small_config(stages=("pretrain",)), digits, CPU, "a test"
    )
    next(training.train(job))
    with pytest.raises(DataError, match=r"cases of the classes ten; .*run knows 0, 1"):
        training.resume_run(
            tmp_path / "run", replace(digits, classes=(*digits.classes[:9], "ten")), CPU
        )
    assert training.resume_run(tmp_path / "run", digits, CPU).lines == 1


@pytest.mark.parametrize("validation", [50, 0])
def test_figures_of_a_set_without_test_cases_are_called_what_they_are(
    tmp_path: Path, digits: Dataset, validation: int, capsys, monkeypatch
) -> None:
    own = load(sorted_by_class(tmp_path / "mnist.npz", digits))
    assert not own.published
    config = small_config(
        stages=("pretrain", "backprop"),
        validation=validation,
        backprop=BackpropConfig(epochs=15, batch_size=20),
    )
    job = training.new_run(tmp_path / "run", config, own, CPU, "a test")
    if validation:  # a name is no identity: the last ones would be nines alone
        assert job.validation.labels.bincount(minlength=10).min() >= 3
    list(training.train(job))
    part = "validation" if validation else "train"
    found = answer(capsys, "evaluate", tmp_path / "run", "--json")
    assert found in files.read_json(tmp_path / "run/evaluation.json")["rows"]
    assert found["part"] == part
    assert found[f"n_{part}"] == (validation or 300)
    assert found[f"{part}_error_percent"] < 50
    assert not any("test" in name for name in found)
    assert call("evaluate", tmp_path / "run") == 0
    assert (
        f"{validation or 300} {'validation' if validation else 'training'} "
    ) in capsys.readouterr().out
    assert "n_test" in answer(capsys, "evaluate", tmp_path / "run", "--data", "digits", "--json")
    quick = [
        "--binarise",
        "round",
        "--chains",
        10,
        "--limit",
        200,
        "--target-error",
        50,
        "--reverse-steps",
        0,
        "--json",
    ]
    scored = answer(capsys, "likelihood", tmp_path / "run", *quick)
    assert (scored["part"], scored["cases"]) == (
        "validation" if validation else "training",
        validation or 300,
    )
    drawn = []
    real = figures.draw_confused
    monkeypatch.setattr(
        figures,
        "draw_confused",
        lambda *args, **words: drawn.append(len(args[2])) or real(*args, **words),
    )
    assert call("plot", tmp_path / "run", "--what", "confused") == 0
    assert drawn == [validation or 300]


SHAPES = [
    "--hidden",
    40,
    "--greedy.memory.epochs",
    30,
    "--greedy.memory.batch-size",
    10,
    "--stages",
    "pretrain",
    "--validation",
    0,
]


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """Digits 0, 1 and 4 as files, dark ink on white paper, a folder a class."""
    folder = tmp_path_factory.mktemp("pages")
    for label in (0, 1, 4):
        (folder / str(label)).mkdir()
        for number, image in enumerate(digits.train.images[digits.train.labels == label][:25]):
            grey = Image.fromarray((image.reshape(8, 8).numpy() * 255).astype(np.uint8)).resize(
                (14, 14), Image.Resampling.BICUBIC
            )
            Image.fromarray(255 - np.asarray(grey)).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--polarity", "keep"], marks=pytest.mark.slow),
        pytest.param(["--centre", "--size", 12], marks=pytest.mark.slow),
    ],
)
def test_a_picture_is_recognised_as_it_was_learned(
    pages: Path, tmp_path: Path, options: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "--data", pages, "--out", tmp_path / "run", *SHAPES, *options) == 0
    said = capsys.readouterr().out
    assert ("dark on light: kept" if "keep" in options else "dark on light: turned round") in said
    files = sorted(pages.rglob("*.png"))
    scored = answer(capsys, "evaluate", tmp_path / "run", "--json")
    # chance is 67: what matters here is that both ways in agree
    assert scored["train_error_percent"] < 40
    wrong = 0
    for file in files:
        found = answer(capsys, "recognize", tmp_path / "run", file, "--json")
        wrong += found["label"] != file.parent.name
    assert wrong == scored["train_errors"]
    whole = answer(capsys, "evaluate", tmp_path / "run", "--data", pages, "--json")
    assert whole["train_errors"] == wrong
    two = answer(capsys, "evaluate", tmp_path / "run", tmp_path / "run", "--json")
    assert two["train_errors"] == wrong


@pytest.mark.slow
def test_runs_that_prepare_pictures_otherwise_are_averaged_each_with_its_own(
    pages: Path, tmp_path: Path, capsys
) -> None:
    assert call("train", "--data", pages, "--out", tmp_path / "turned", *SHAPES) == 0
    assert (
        call(
            "train",
            "--data",
            pages,
            "--out",
            tmp_path / "kept",
            *SHAPES,
            "--polarity",
            "keep",
            "--size",
            10,
        )
        == 0
    )
    capsys.readouterr()
    both = answer(capsys, "evaluate", tmp_path / "turned", tmp_path / "kept", "--json")
    assert both["train_error_percent"] < 40


def test_a_stopped_run_and_a_finetuned_one_prepare_pictures_as_the_first(
    pages: Path, tmp_path: Path, capsys
) -> None:
    own = load(pages)
    job = training.new_run(
        tmp_path / "run", small_config(stages=("pretrain",), validation=0), own, CPU, "a test"
    )
    next(training.train(job))
    assert call("train", "--resume", tmp_path / "run") == 0
    assert (
        call("finetune", tmp_path / "run", "--backprop.epochs", 1, "--out", tmp_path / "fine") == 0
    )
    records = [
        checkpoint.load_model(tmp_path / name).header["preparation"] for name in ("run", "fine")
    ]
    assert records[0] == records[1] == own.preparation.as_json()


def test_a_model_of_an_earlier_version_still_learns_and_reads_as_it_did(
    pages: Path, tmp_path: Path, capsys
) -> None:
    assert (
        call(
            "train",
            "--data",
            pages,
            "--out",
            tmp_path / "run",
            *SHAPES,
            "--polarity",
            "keep",
            "--size",
            0,
        )
        == 0
    )
    model = checkpoint.load_model(tmp_path / "run")
    for name in ("preparation", "data_checksum", "validation"):
        del model.header[name]
    header = {
        **{name: value for name, value in model.header.items() if name not in ("format", "kind")},
        "ink_field": 0.7,
    }
    checkpoint.save_models(
        tmp_path / "run/model.safetensors", {"dbn": model.dbn, "net": model.net}, header
    )
    capsys.readouterr()
    assert answer(capsys, "evaluate", tmp_path / "run", "--json")["train_error_percent"] <= 12
    assert call("recognize", tmp_path / "run", next(pages.rglob("*.png"))) == 0


def test_a_run_that_goes_on_keeps_its_preparation(
    pages: Path, tmp_path: Path, threes: Path, run_folder: Path, capsys
) -> None:
    job = training.new_run(
        tmp_path / "run",
        small_config(stages=("pretrain",), validation=0),
        load(pages),
        CPU,
        "a test",
    )
    next(training.train(job))
    assert "--polarity keep" in refusal(
        capsys, "train", "--resume", tmp_path / "run", "--polarity", "keep"
    )
    other = load(threes, how=from_header(checkpoint.load_model(run_folder).header))
    job = training.new_run(
        tmp_path / "fine",
        small_config(stages=("pretrain",), validation=0),
        match_classes(other, "0123456789"),
        CPU,
        "a test",
    )
    next(training.train(job))
    assert call("train", "--resume", tmp_path / "fine") == 0
    assert checkpoint.load_model(tmp_path / "fine").header["classes"] == list("0123456789")


def test_figures_and_monitors_of_a_set_sorted_by_class_show_all_classes(
    tmp_path: Path, digits: Dataset, monkeypatch, capsys
) -> None:
    own = load(sorted_by_class(tmp_path / "sorted.npz", digits))
    shown: dict[str, torch.Tensor] = {}
    for name in ("draw_reconstructions", "draw_activity", "draw_histograms", "draw_map"):
        monkeypatch.setattr(
            figures,
            name,
            lambda path, dbn, cases, *_, name=name, **__: shown.update({name: cases}) or path,
        )
    monkeypatch.setattr(
        monitor,
        "measure",
        lambda rbm, cases, *_, **__: shown.update({f"watched {rbm.visible.size}": cases}) or {},
    )
    job = training.new_run(
        tmp_path / "run", small_config(stages=("pretrain",), validation=0), own, CPU, "a test"
    )
    list(training.train(job))
    assert (
        call("plot", tmp_path / "run", "--what", "activity", "histograms", "map", "--cases", 50)
        == 0
    )
    first, watched = (shown.pop(f"watched {size}") for size in (64, 48 + 10))
    assert (watched[:, 48:].sum(0) > 0).all()  # the labels that the memory sees
    shown["watched"] = first
    for name, cases in shown.items():
        classes = {int(own.train.labels[(own.train.images == case).all(1)][0]) for case in cases}
        assert classes == set(range(10)), name


def test_a_set_is_described_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads holds no Python: no lists in brackets, no None."""
    images, labels = torch.rand(30, 6, 5), torch.arange(30) % 3
    path = saved(tmp_path / "own.npz", images, labels, classes=np.array(["ant", "bee", "cat"]))
    assert call("data", path) == 0
    said = capsys.readouterr().out
    assert "own: cases of 6 x 5, 30 to learn from, none to test" in said
    assert "3 classes: ant (10), bee (10), cat (10)" in said
    assert not {"[", "None"} & set(said.replace("(", " ").split())
    np.save(tmp_path / "own.npy", images.numpy())
    assert call("data", tmp_path / "own.npy") == 0
    assert "no labels" in capsys.readouterr().out
    assert call("data", "digits") == 0
    assert "0 (143 + 35)" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "advise"])
def test_a_set_named_without_its_option_is_told_the_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, command, "my letters", "--seed", "3")
    assert f"wakesleep {command} --data 'my letters' --seed 3" in told
