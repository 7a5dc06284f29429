"""The command line as a person and as a program meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import SMALL_ARGUMENTS, heeds_ctrl_c
from wakesleep.cli import main
from wakesleep.data import Dataset
from wakesleep.evaluation import ensemble
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop
from wakesleep.runs import checkpoint, figures

COMMANDS = (
    "train",
    "finetune",
    "evaluate",
    "dream",
    "recognize",
    "likelihood",
    "plot",
    "advise",
    "reproduce",
    "serve",
    "data",
)


def call(*words: object) -> int:
    return main([str(word) for word in words])


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    assert call(*words) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help-all"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    options = re.split(r"\n[│ ]+(?=--?[a-z])", text)[1:]
    assert len(options) >= 4
    for option in options:
        explanation = re.sub(r"\(default:.*|[│-]", "", option, flags=re.DOTALL)
        assert len(explanation.split()) >= 5, f"{command} does not explain {option}"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("train", "a folder of IDX files, one of pictures with a folder a class,"),
        ("train", "in a straight line: a falling rate averages the noise of sampling away."),
        ("dream", "1000 as in the 2006 paper, for the memory mixes slowly, and 300 in a movie"),
    ],
)
def test_help_breaks_no_line_before_it_is_full(
    command: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1500")
    with pytest.raises(SystemExit):
        main([command, "--help-all"])
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_a_long_help_explains_the_usual_options_and_names_the_rest(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for asked in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as stop:
            main([command, asked])
        assert stop.value.code == 0
        shown[asked] = capsys.readouterr()
        assert not shown[asked].err
    flags = set(re.findall(r"\n[│ ]+--([a-z][a-z.-]*)", shown["--help-all"].out)) - {"help"}
    assert len(flags) > 40
    explained, _, named = shown["--help"].out.partition("Further options")
    assert len(shown["--help"].out.splitlines()) < 100 < len(shown["--help-all"].out.splitlines())
    groups = {"": re.sub(r"\n  --[a-z.]+\(name\).*", "", named, flags=re.DOTALL)}
    alike = r"\n  ((?:--[a-z.]+\(name\) )+)(.*?)(?=\n  --|\Z)"
    for found in re.finditer(alike, named, re.DOTALL):
        groups |= dict.fromkeys(re.findall(r"--([a-z.]+)\(name\)", found[1]), found[2])
    for flag in flags:
        prefix, dot, word = flag.rpartition(".")
        assert (
            f"--{flag} " in f"{explained} "
            or f"--{flag}," in explained
            or word in re.findall("[a-z-]+", groups[prefix + dot].replace("--", ""))
        )
    assert ("--hidden" in explained) == (command == "train")


def test_train_writes_a_whole_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, "train", "--out", tmp_path / "run", *SMALL_ARGUMENTS, "--json")
    assert [row["method"] for row in result["rows"]] == ["free-energy", "backprop", "random"]
    # of ten classes, after six epochs a layer and two of contrastive wake-sleep
    most = {"free-energy": 45, "backprop": 15, "random": 15}
    assert all(row["test_error_percent"] < most[row["method"]] for row in result["rows"])
    found = {
        path.relative_to(tmp_path / "run").as_posix()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }
    figures = {
        f"figures/{name}.png"
        for name in (
            "receptive_fields",
            "reconstructions",
            "dreams",
            "errors",
            "reconstruction_error",
        )
    }
    assert (
        found
        == {
            "model.safetensors",
            "config.json",
            "provenance.json",
            "metrics.jsonl",
            "evaluation.json",
        }
        | figures
    )
    about = json.loads((tmp_path / "run/provenance.json").read_text())
    assert {
        "versions",
        "seed",
        "device",
        "command",
        "data_checksum",
        "minutes",
        "peak_memory_gb",
    } <= set(about)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["layer 1"] * 6 + ["memory"] * 6 + [
        "updown"
    ] * 2 + ["backprop"] * 4 + ["random"] * 4
    assert all(line["cases_per_second"] > 0 for line in lines)


def test_train_prints_plain_lines_and_a_table_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "--out", tmp_path / "run", *SMALL_ARGUMENTS) == 0
    text = capsys.readouterr().out
    assert "layer 1 6/6" in text
    assert "cases/s" in text
    assert "\r" not in text
    assert "label free energies" in text
    assert "random weights" in text
    assert "dreams.png" in text


def test_a_run_folder_that_exists_is_refused_and_left_alone(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    assert call("train", "--out", run_folder, *SMALL_ARGUMENTS) == 1
    assert "exists" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}


def test_evaluate_answers_with_the_promised_keys(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, "evaluate", run_folder, "--json")
    assert {"dataset", "n_test", "test_errors", "test_error_percent", "method"} <= set(result)
    assert (result["dataset"], result["n_test"], result["method"]) == ("digits", 355, "backprop")
    recorded = json.loads((run_folder / "evaluation.json").read_text())["rows"]
    assert result in recorded
    assert answer(capsys, "evaluate", run_folder, "--method", "free-energy", "--json") in recorded


def test_dream_clamps_a_label_and_never_overwrites(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dreams.png"
    result = answer(
        capsys,
        "dream",
        run_folder,
        "--label",
        7,
        "--count",
        20,
        "--steps",
        50,
        "--out",
        out,
        "--json",
    )
    assert result["labels"] == ["7"] * 20
    first = out.read_bytes()
    with Image.open(out) as picture:
        # each ten times enlarged, its label below
        assert picture.size == (10 * (80 + 6) + 6, 2 * (80 + 6 + 18) + 6)
    assert call("dream", run_folder, "--out", out, "--steps", 5) == 1
    assert out.read_bytes() == first
    free = answer(
        capsys,
        "dream",
        run_folder,
        "--out",
        out,
        "--count",
        40,
        "--steps",
        50,
        "--overwrite",
        "--json",
    )
    assert len(set(free["labels"])) > 1
    assert out.read_bytes() != first


def test_a_movie_shows_all_labels_settle_and_brain_shows_every_layer(
    run_folder: Path, tmp_path: Path, capsys
) -> None:
    result = answer(
        capsys,
        "dream",
        run_folder,
        "--movie",
        tmp_path / "m.gif",
        "--steps",
        30,
        "--every",
        5,
        "--json",
    )
    assert result["labels"] == [str(label) for label in range(10)]
    with Image.open(tmp_path / "m.gif") as film:
        assert film.n_frames == 6
        plain = film.size
    words = ("dream", run_folder, "--brain", "--label", 3, "--count", 2, "--steps", 4)
    assert call(*words, "--out", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size[1] > 96
    assert call(*words, "--movie", tmp_path / "b.gif") == 0
    with Image.open(tmp_path / "b.gif") as film:
        assert film.size != plain
    assert call("dream", run_folder, "--movie", tmp_path / "m.png", "--steps", 4) == 1


@pytest.mark.parametrize("invert", [False, True])
def test_recognize_reads_an_ordinary_picture_of_either_polarity(
    run_folder: Path, tmp_path: Path, digits, invert: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    right = 0
    for number in range(10):
        pixels = np.kron(digits.test.images[number].reshape(8, 8).numpy(), np.ones((16, 16)))
        framed = np.pad(pixels, 48) * 255
        path = tmp_path / f"{invert}{number}.png"
        Image.fromarray((255 - framed if invert else framed).astype(np.uint8)).save(path)
        result = answer(capsys, "recognize", run_folder, path, "--json")
        assert abs(sum(result["probabilities"].values()) - 1) < 1e-5
        assert result["label"] == max(result["probabilities"], key=result["probabilities"].get)
        right += result["label"] == digits.classes[digits.test.labels[number]]
    assert right >= 5  # centring moves an 8 x 8 digit by up to half a pixel; chance is one
    assert call("recognize", run_folder, path, "--imagine", tmp_path / f"{invert}.png") == 0
    assert (tmp_path / f"{invert}.png").exists()


def _folder_of_digits(folder: Path, digits: Dataset, *, each: int = 3) -> Path:
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
        for number, picture in enumerate(digits.test.images[digits.test.labels == label][:each]):
            Image.fromarray((picture.reshape(8, 8).numpy() * 255).astype(np.uint8)).save(
                folder / str(label) / f"{number}.png"
            )
    return folder


def test_recognize_takes_files_and_folders_a_line_each(
    run_folder: Path, tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _folder_of_digits(tmp_path / "digits", digits)
    some = [folder / "3" / "0.png", folder / "7" / "1.png"]
    singly = [answer(capsys, "recognize", run_folder, path, "--json") for path in some]
    together = answer(capsys, "recognize", run_folder, *some, "--json")
    assert [row["path"] for row in together["pictures"]] == [str(path) for path in some]
    assert "right" not in together
    for row, alone in zip(together["pictures"], singly, strict=True):
        assert row["label"] == alone["label"]
        assert row["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
    whole = answer(capsys, "recognize", run_folder, folder, "--json")
    right = sum(row["label"] == Path(row["path"]).parent.name for row in whole["pictures"])
    assert (whole["n"], whole["right"], whole["right_percent"]) == (
        30,
        right,
        round(100 * right / 30, 4),
    )
    assert right > 15
    assert call("recognize", run_folder, folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 31
    assert lines[-1] == f"{right} of 30 right, {100 * right / 30:.2f} %"
    assert sum("wrong: " in line for line in lines) == 30 - right


def test_a_picture_that_cannot_be_read_stops_no_others(
    run_folder: Path, tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _folder_of_digits(tmp_path / "digits", digits, each=1)
    (folder / "0" / "torn.png").write_bytes(b"this is no picture")
    (folder / "0" / "._0.png").write_bytes(b"left by another system")
    (folder / "horse").mkdir()
    (folder / "1" / "0.png").rename(folder / "horse" / "0.png")
    assert call("recognize", run_folder, folder) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 11
    assert " of 9 right" in said.out.splitlines()[-1]
    assert f"{folder / '0' / 'torn.png'} cannot be read as a picture" in said.err
    assert "pictures in horse are not counted" in said.err
    assert call("recognize", run_folder, folder, tmp_path / "missing.png", "--json") == 1
    rows = json.loads(capsys.readouterr().out)["pictures"]
    assert sum("error" in row for row in rows) == 2
    (tmp_path / "empty").mkdir()
    for words, reason in (
        [[], "no picture came"],
        [[tmp_path / "empty"], "holds no pictures"],
        [[folder, "--imagine", "x.png"], "one picture"],
    ):
        assert call("recognize", run_folder, *words) == 1
        assert reason in capsys.readouterr().err


def test_finetune_starts_from_a_run_and_leaves_it_alone(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = (run_folder / "model.safetensors").read_bytes()
    result = answer(
        capsys, "finetune", run_folder, "--out", tmp_path / "fine", "--backprop.epochs", 2, "--json"
    )
    assert [row["method"] for row in result["rows"]] == ["free-energy", "backprop"]
    recorded = json.loads((run_folder / "evaluation.json").read_text())["rows"]
    assert result["rows"][0] == recorded[0]
    assert (run_folder / "model.safetensors").read_bytes() == model


def test_several_runs_and_stochastic_up_passes_are_averaged(
    run_folder: Path, tmp_path: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert digits.test is not None
    assert digits.test.labels is not None
    answer(
        capsys,
        "finetune",
        run_folder,
        "--out",
        tmp_path / "other",
        "--backprop.epochs",
        1,
        "--seed",
        5,
        "--json",
    )
    models = [checkpoint.load_model(folder) for folder in (run_folder, tmp_path / "other")]
    for how in ("probs", "log-probs"):
        found = answer(
            capsys, "evaluate", run_folder, tmp_path / "other", "--average", how, "--json"
        )
        predictions = [
            backprop.log_probs(model.net, digits.test.images)
            for model in models
            if model.net is not None
        ]
        loss = float(
            torch.nn.functional.nll_loss(ensemble.average(predictions, how), digits.test.labels)
        )
        assert found["cross_entropy_nats"] == pytest.approx(loss, rel=1e-5)
        assert found["method"] == f"backprop, mean of 2 ({how})"
    found = answer(capsys, "evaluate", run_folder, "--up-passes", 3, "--seed", 4, "--json")
    epochs = ensemble.up_passes(models[0].dbn, digits.test.images, count=3, rng=generator(4))
    assert found["cross_entropy_nats"] == pytest.approx(
        float(torch.nn.functional.nll_loss(epochs, digits.test.labels)), rel=1e-5
    )
    assert call("evaluate", run_folder, "--method", "backprop", "--up-passes", 3) == 1
    assert "--method free-energy" in capsys.readouterr().err


def test_a_run_is_not_gone_on_with_by_data_of_another_kind(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(
        tmp_path / "wide.npz", images=np.zeros((300, 5, 5), np.uint8), labels=np.arange(300) % 10
    )
    for method in ("updown", "hybrid", "backprop"):
        assert (
            call(
                "finetune",
                run_folder,
                "--method",
                method,
                "--data",
                tmp_path / "wide.npz",
                "--out",
                tmp_path / "new",
            )
            == 1
        )
        assert "give it data of the same kind" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_finetune_by_the_hybrid(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--hybrid.updown.epochs",
        2,
        "--hybrid.updown.gibbs-steps",
        1,
        "--hybrid.updown.batch-size",
        20,
        "--hybrid.weight",
        5,
    )
    answer(
        capsys,
        "finetune",
        run_folder,
        "--method",
        "hybrid",
        "--out",
        tmp_path / "both",
        *words,
        "--json",
    )
    lines = files.read_metrics(tmp_path / "both")
    assert [(line["stage"], line["epoch"]) for line in lines] == [("hybrid", 1), ("hybrid", 2)]
    assert {"cross_entropy", "train_error_percent", "validation_errors"} <= set(lines[0])
    assert not checkpoint.load(tmp_path / "both").tied
    assert (
        call(
            "train",
            "--no-label-memory",
            "--stages",
            "pretrain",
            "hybrid",
            "--out",
            tmp_path / "none",
        )
        == 1
    )
    assert "labels of its memory" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_finetune_by_contrastive_wake_sleep_unties_the_net(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "finetune",
        run_folder,
        "--method",
        "updown",
        "--out",
        tmp_path / "up",
        "--updown.epochs",
        2,
        "--updown.gibbs-steps",
        1,
    )
    assert [row["method"] for row in answer(capsys, *words, "--json")["rows"]] == ["free-energy"]
    assert call("dream", tmp_path / "up", "--steps", 3, "--out", tmp_path / "d.png") == 0
    assert (
        call("finetune", tmp_path / "up", "--out", tmp_path / "tuned", "--backprop.epochs", 1) == 0
    )
    with pytest.raises(SystemExit):
        call(
            "finetune",
            run_folder,
            "--method",
            "updown",
            "--out",
            tmp_path / "k",
            "--updown.gibbs-steps",
            0,
        )
    assert "K >= 1" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


def test_data_describes_a_set(capsys: pytest.CaptureFixture[str]) -> None:
    about = answer(capsys, "data", "digits", "--json")
    assert (about["n_train"], about["n_test"], about["shape"]) == (1442, 355, [8, 8])


def test_own_unlabelled_pictures_are_learned_without_a_label_memory(
    tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "own.npy", digits.train.images[:200].numpy())
    words = (
        "train",
        "--data",
        tmp_path / "own.npy",
        "--out",
        tmp_path / "run",
        "--hidden",
        16,
        "--greedy.memory.epochs",
        2,
        "--validation",
        0,
    )
    assert call(*words) == 1
    assert "no labels" in capsys.readouterr().err
    assert call(*words, "--no-label-memory", "--stages", "pretrain") == 0
    assert (
        call("dream", tmp_path / "run", "--count", 4, "--steps", 5, "--out", tmp_path / "d.png")
        == 0
    )
    assert call("dream", tmp_path / "run", "--label", 3, "--out", tmp_path / "e.png") == 1


def test_own_pictures_sorted_by_class_are_held_out_by_class(
    tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in range(3):
        (tmp_path / "own" / f"class {label}").mkdir(parents=True)
        for number, picture in enumerate(digits.train.images[digits.train.labels == label][:30]):
            pixels = (picture.reshape(8, 8).numpy() * 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / f"class {label}" / f"{number}.png")
    small = [
        "--hidden",
        24,
        32,
        "--greedy.layer.epochs",
        3,
        "--greedy.memory.epochs",
        3,
        "--backprop.epochs",
        30,
        "--random.epochs",
        1,
    ]
    batches = [
        "--greedy.layer.batch-size",
        10,
        "--greedy.memory.batch-size",
        10,
        "--backprop.batch-size",
        10,
    ]
    result = answer(
        capsys,
        "train",
        "--data",
        tmp_path / "own",
        "--out",
        tmp_path / "run",
        *small,
        *batches,
        "--json",
    )
    assert result["part"] == "validation"
    tuned = next(row for row in result["rows"] if row["method"] == "backprop")
    assert tuned["n_validation"] == 15
    assert "n_test" not in tuned
    assert tuned["validation_error_percent"] <= 20
    assert (
        call(
            "dream",
            tmp_path / "run",
            "--label",
            "class 1",
            "--count",
            2,
            "--steps",
            3,
            "--out",
            tmp_path / "d.png",
        )
        == 0
    )


def _refusals(tmp_path: Path, run_folder: Path) -> dict[str, tuple[list[object], str]]:
    (tmp_path / "no.png").write_bytes(b"this is no picture")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}              ")
    np.savez(
        tmp_path / "nan.npz",
        images=np.full((4, 9), np.nan, np.float32),
        labels=np.zeros(4, np.int64),
    )
    train = ["train", "--out", tmp_path / "new"]
    return {
        "unknown data": ([*train, "--data", "nosuch"], "no data set"),
        "NaN pixels": ([*train, "--data", tmp_path / "nan.npz"], "NaN"),
        "no network": (["data", "mnist", "--offline", "--data-folder", tmp_path], "WAKESLEEP_DATA"),
        "no run": (["evaluate", tmp_path / "nowhere"], "does not exist"),
        "foreign model": (
            ["dream", tmp_path / "foreign", "--out", tmp_path / "d.png"],
            "not written by wakesleep",
        ),
        "no picture": (["recognize", run_folder, tmp_path / "no.png"], "picture"),
        "unknown label": (
            ["dream", run_folder, "--label", "x", "--out", tmp_path / "d.png"],
            "this model knows",
        ),
        "no dreams": (
            ["dream", run_folder, "--count", 0, "--out", tmp_path / "d.png"],
            "at least 1",
        ),
        "no steps": (
            ["dream", run_folder, "--steps", 0, "--out", tmp_path / "d.png"],
            "at least 1",
        ),
        "no picture format": (
            ["dream", run_folder, "--steps", 1, "--out", tmp_path / "d.xyz"],
            "picture format",
        ),
        "unknown device": ([*train, "--device", "abacus"], "device"),
        "threads": ([*train, "--threads", -1], "--threads"),
        "too many held out": ([*train, "--validation", 2000], "2000"),
        "resume nothing": (["train", "--resume", tmp_path / "nowhere"], "run folder"),
        "resume a finished run": (["train", "--resume", run_folder], "finished"),
        "other data": (["evaluate", run_folder, "--data", tmp_path / "wide.npz"], "pixels"),
        "diverges": (
            [*train, *SMALL_ARGUMENTS, "--greedy.layer.learning-rate", "1e30"],
            "learning rate",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "unknown data",
        "NaN pixels",
        "no network",
        "no run",
        "foreign model",
        "no picture",
        "unknown label",
        "no dreams",
        "no steps",
        "no picture format",
        "unknown device",
        "threads",
        "too many held out",
        "resume nothing",
        "resume a finished run",
        "other data",
        "diverges",
    ],
)
def test_refusals_are_sentences(
    case: str,
    tmp_path: Path,
    run_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAKESLEEP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez(
        tmp_path / "wide.npz", images=np.zeros((4, 100), np.float32), labels=np.array([0, 1, 0, 1])
    )
    words, expected = _refusals(tmp_path, run_folder)[case]
    assert call(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("wakesleep: ")
    assert expected in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("dream RUN --tempering -3", "--tempering -3: expected 2 temperatures or more"),
        ("dream RUN --tempering 1", "--tempering 1: expected 2 temperatures or more"),
        ("dream RUN --count 100000000", "expected 1 to 10,000 dreams"),
        ("dream RUN --every 0 --movie m.gif", "--every 0"),
        ("dream RUN --movie m.png", "ends in .gif"),
        ("dream RUN --out d.txt --steps 100000000", "names no picture format"),
        ("recognize RUN digit.png --imagine d.txt", "names no picture format"),
        ("advise --out d.xyz", "names no picture format"),
        ("plot RUN --what", "--what: expected one or more of"),
        (
            "plot RUN --what fields --out digit.png",
            "cannot be made (File exists); choose another folder",
        ),
        ("plot RUN --what map --seed -1", "--seed -1: expected a whole number from 0"),
        ("dream RUN --seed 99999999999999999999999", "expected a whole number from 0"),
        ("train --seed 4294967296", "expected a whole number from 0"),
        ("reproduce --smoke --seeds 1 -2", "--seeds -2: expected a whole number from 0"),
        ("evaluate OTHER-VERSION --data digits --up-passes 2", ""),
        ("finetune OTHER-VERSION", "another version of wakesleep has written it, or it is damaged"),
    ],
)
def test_numbers_and_places_that_cannot_be_are_refused_before_the_work(
    command: str,
    said: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 30).save("digit.png")
    if "OTHER-VERSION" in command:
        shutil.copytree(run_folder, "OTHER-VERSION")
        settings = json.loads(Path("OTHER-VERSION/config.json").read_text())
        Path("OTHER-VERSION/config.json").write_text(json.dumps({**settings, "colour": 3}))
    before = sorted(tmp_path.rglob("*"))
    code = call(*(run_folder if word == "RUN" else word for word in command.split()))
    error = capsys.readouterr().err
    assert code == bool(said)
    assert said in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def _strict(text: str) -> object:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "command",
    [
        "data digits",
        "evaluate RUN",
        "evaluate RUN RUN --up-passes 1",
        "recognize RUN digit.png",
        "recognize RUN digit.png digit.png torn.png",
        "dream RUN --steps 2 --count 2",
        "dream RUN --steps 2 --count 2 --tempering 2",
        "likelihood RUN --binarise round --cases 3 --chains 2 --limit 5 --reverse-steps 1",
        "plot RUN --what fields --out figures",
        "finetune RUN --out fine --backprop.epochs 1",
        "train --stages pretrain --hidden 4 --greedy.memory.epochs 1",
        "advise --minutes 0.001 --cases 100 --repeats 1 --shapes 4 5",
    ],
)
def test_every_json_answer_is_json_and_nothing_else(
    command: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "run")  # likelihood writes into it
    picture = Image.new("L", (20, 20), 0)
    picture.paste(255, (8, 3, 12, 17))
    picture.save("digit.png")
    Path("torn.png").write_bytes(b"this is no picture")
    monkeypatch.setattr(figures, "DREAM_STEPS", 2)
    assert call(*("run" if word == "RUN" else word for word in command.split()), "--json") == (
        "torn.png" in command
    )
    assert isinstance(_strict(capsys.readouterr().out), dict)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--greedy.layer.gibbs-steps", "0"],
        ["train", "--backprop.learning-rate", "-1"],
        ["fly"],
        [],
    ],
)
def test_wrong_calls_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def _training(folder: Path, *more: str) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-m",
        "wakesleep",
        "train",
        "--out",
        str(folder),
        *SMALL_ARGUMENTS,
        "--greedy.layer.epochs",
        "400",
        *more,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heeds_ctrl_c,
    )


def _wait_for(condition, process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_ctrl_c_leaves_a_usable_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = _training(tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    _wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in error
    assert "Traceback" not in error
    assert answer(capsys, "evaluate", tmp_path / "run", "--json")["method"] == "free-energy"
    assert call("dream", tmp_path / "run", "--steps", 3, "--out", tmp_path / "d.png") == 0


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, wakesleep; print(sorted(m for m in ('torch', 'matplotlib', 'sklearn', "
        "'scipy', 'pooch') if m in sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "[]"


def test_threads_are_those_asked_for_or_as_many_as_before_when_a_run_goes_on(monkeypatch):
    from wakesleep.cli import machine

    now = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        machine.setup(0, "cpu")
        assert torch.get_num_threads() == 3
        machine.setup(0, "cpu", "cpu: 2 threads")
        assert torch.get_num_threads() == 2
        machine.setup(3, "cpu", "cpu: 2 threads")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(now)


def test_the_file_of_an_estimator_is_a_model(
    tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    import wakesleep as ws

    images, labels = digits.train.images[:100].numpy(), digits.train.labels[:100].numpy()
    quick = {"random_state": 0, "n_iter": 1}
    fitted = {
        "classifier": ws.DBNClassifier((12,), **quick).fit(
            images, np.array(["even", "odd"])[labels % 2]
        ),
        "transformer": ws.DBNTransformer((12,), **quick).fit(images),
        "regressor": ws.DBNRegressor((12,), **quick).fit(images, labels / 9),
        "rbm": ws.BernoulliRBM(12, **quick).fit(images),
    }
    Image.fromarray((digits.test.images[0].reshape(8, 8).numpy() * 255).astype(np.uint8)).resize(
        (80, 80)
    ).save(tmp_path / "digit.png")
    for name, estimator in fitted.items():
        path = tmp_path / f"{name}.safetensors"
        estimator.save(path)
        for more in ([], ["--brain"]):
            assert (
                call(
                    "dream",
                    path,
                    "--steps",
                    2,
                    "--count",
                    3,
                    "--overwrite",
                    "--out",
                    tmp_path / "d.png",
                    *more,
                )
                == 0
            )
        assert call(
            "plot", path, "--data", "digits", "--what", "fields", "dreams", "--out", tmp_path / name
        ) == (name == "classifier")
        assert call("recognize", path, tmp_path / "digit.png") == (name != "classifier")
        assert call("evaluate", path) == 1
        assert "--data" in capsys.readouterr().err
    answered = answer(
        capsys,
        "dream",
        tmp_path / "classifier.safetensors",
        "--label",
        "odd",
        "--steps",
        2,
        "--out",
        tmp_path / "o.png",
        "--json",
    )
    assert set(answered["labels"]) == {"odd"}
    fitted["classifier"].fit(images * 3, labels).save(tmp_path / "scaled.safetensors")
    assert call("recognize", tmp_path / "scaled.safetensors", tmp_path / "digit.png") == 1
    assert "scales its columns" in capsys.readouterr().err
