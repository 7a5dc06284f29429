"""A run of a deep Boltzmann machine: trained, stopped and gone on with, and every command on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import wakesleep as ws
from helpers import small_config, trained_in_stops
from wakesleep.app import site
from wakesleep.cli import deep, main, tables
from wakesleep.data import Dataset
from wakesleep.estimators.deep_classifier import DBMClassifier
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning.configs import CDConfig, DBMConfig, GreedyConfig
from wakesleep.models.dbm import DBM
from wakesleep.runs import checkpoint, deep_figures, grids, scores, tensor_files, training
from wakesleep.runs.checkpoint import load_deep
from wakesleep.runs.settings import read_config
from wakesleep.sources.arrays import as_probs

CPU = torch.device("cpu")
SETTINGS = {
    "model": "dbm",
    "hidden": (30, 30),
    "stages": ("pretrain", "dbm", "backprop"),
    "greedy": GreedyConfig(CDConfig(epochs=2, batch_size=20, centred=True)),
    "dbm": DBMConfig(epochs=12, batch_size=20, centred=True, learning_rate=0.05, gibbs_steps=1),
}


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("deep") / "run"
    config = small_config(**SETTINGS)
    list(
        training.train(training.new_run(folder, config, digits, CPU, "a test", data_path="digits"))
    )
    return folder


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    """What a command prints with --json."""
    capsys.readouterr()
    assert main([str(word) for word in words] + ["--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_stopped_after_every_epoch_it_ends_with_the_same_bits(
    tmp_path: Path, deep_run: Path, digits: Dataset
) -> None:
    folder = tmp_path / "run"
    job = training.new_run(
        folder, small_config(**SETTINGS), digits, CPU, "a test", data_path="digits"
    )
    assert trained_in_stops(job, digits) == 2 * 2 + 12 + 4
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (deep_run / name).read_bytes()


def test_the_command_line_pretrains_unless_the_stages_say_no(
    tmp_path: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """As DBMClassifier does by default."""
    data = tmp_path / "few.npz"
    few = digits.train
    np.savez(data, images=few.images[:60].numpy(), labels=few.labels[:60].numpy())
    short = ("--greedy.layer.epochs", 1, "--dbm.epochs", 1, "--backprop.epochs", 1)
    for name, stages in (("with", ()), ("without", ("--stages", "dbm", "backprop"))):
        words = ("train", "--model", "dbm", "--data", data, "--out", tmp_path / name, *stages)
        answer(capsys, *words, *short)
    usual = DBMClassifier()
    config = read_config(tmp_path / "with")
    assert config.stages == ("pretrain", "dbm", "backprop")
    assert config.greedy.layer.learning_rate == usual.pretrain_learning_rate
    assert config.dbm.learning_rate == usual.learning_rate
    lines = files.read_metrics(tmp_path / "with")
    assert [line["stage"] for line in lines] == ["layer 1", "layer 2", "dbm", "backprop"]
    assert [line["stage"] for line in files.read_metrics(tmp_path / "without")] == [
        "dbm",
        "backprop",
    ]
    assert read_config(tmp_path / "without").dbm.learning_rate > usual.learning_rate


def test_a_run_holds_machine_net_evaluation_and_figures(deep_run: Path) -> None:
    assert isinstance(ws.load(deep_run), DBM)
    rows = json.loads((deep_run / "evaluation.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["mean-field", "backprop"]
    assert rows[0]["test_error_percent"] < 70  # chance is 90
    assert rows[1]["test_error_percent"] < 50
    drawn = {path.stem for path in (deep_run / "figures").glob("*.png")}
    assert drawn >= set(deep_figures.NAMES) | {"reconstruction_error"}


def test_every_command_that_takes_one(
    tmp_path: Path, deep_run: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((deep_run / "evaluation.json").read_text())["rows"]
    for method, row in zip(("free-energy", "auto"), rows, strict=True):
        found = answer(capsys, "evaluate", deep_run, "--method", method)
        assert found["test_errors"] == row["test_errors"]
    dreams = answer(
        capsys, "dream", deep_run, "--label", 3, "--steps", 5, "--out", tmp_path / "dreams.png"
    )
    assert dreams["labels"] == ["3"] * 20
    tempered = answer(
        capsys, "dream", deep_run, "--steps", 4, "--tempering", 3, "--out", tmp_path / "free.png"
    )
    assert len(tempered["swap_rates"]) == 2
    found = answer(
        capsys,
        *("likelihood", deep_run, "--binarise", "sample", "--limit", 300, "--cases", 50),
        *("--reverse-steps", 0),
    )
    assert found["bound_at_3_standard_errors"] < found["bound"] < found["importance_weighted"]
    found = answer(
        capsys,
        *("mixing", deep_run, "--steps", 30, "--chains", 10, "--replicas"),
        *("--out", tmp_path / "mixing.png"),
    )
    assert len(found["autocorrelation_times"]) == 10
    assert len(found["swap_rates"]) >= 1
    assert (tmp_path / "mixing.png").exists()
    drawn = answer(capsys, "plot", deep_run, "--out", tmp_path / "figures")["paths"]
    assert [Path(path).stem for path in drawn] == list(deep_figures.NAMES)
    picture = deep_run.parent / "picture.png"
    grids.save_picture(picture, as_probs(digits.train.images[0]).reshape(8, 8).numpy(), 8)
    found = answer(capsys, "recognize", deep_run, picture)
    assert found["method"] == "backprop"
    assert sum(found["probabilities"].values()) == pytest.approx(1)


def test_it_is_fine_tuned_in_a_folder_of_its_own(
    deep_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine stays as it was, and the net begins at it."""
    folder = tmp_path / "tuned"
    answer(capsys, "finetune", deep_run, "--out", folder, "--backprop.epochs", 2)
    assert [line["stage"] for line in files.read_metrics(folder)] == ["backprop"] * 2
    before, after = load_deep(deep_run), load_deep(folder)
    for name, parameter in before.dbm.named_parameters():
        assert torch.equal(parameter, after.dbm.get_parameter(name))
    assert answer(capsys, "evaluate", folder)["method"] == "backprop"


def test_shards_are_learned_from_stage_by_stage(
    tmp_path: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files that stay on the disk, as from memory."""
    folder, data = tmp_path / "run", tmp_path / "shards"
    data.mkdir()
    for number in range(2):
        part = slice(number * 200, number * 200 + 200)
        pixels = (digits.train.images[part] * 255).round().to(torch.uint8)
        np.save(data / f"images-{number}.npy", pixels.numpy())
        np.save(data / f"labels-{number}.npy", digits.train.labels[part].numpy())
    words = ("train", "--model", "dbm", "--data", data, "--out", folder, "--hidden", 20, 20)
    short = ("--greedy.layer.epochs", 2, "--dbm.epochs", 1, "--backprop.epochs", 10)
    small = [f"--{name}.batch-size" for name in ("greedy.layer", "dbm", "backprop")]
    answer(capsys, *words, *short, *(word for name in small for word in (name, 20)), "--chunk", 30)
    lines = files.read_metrics(folder)
    stages = ["layer 1"] * 2 + ["layer 2"] * 2 + ["dbm"] + ["backprop"] * 10
    assert [line["stage"] for line in lines] == stages
    assert lines[1]["reconstruction_error"] < lines[0]["reconstruction_error"]
    assert lines[-1]["cross_entropy"] < lines[5]["cross_entropy"] / 2


def test_a_run_becomes_a_page_with_its_net(deep_run: Path, tmp_path: Path) -> None:
    """The net fine-tuned from the machine goes along: it is what tells labels."""
    assert main(["page", str(deep_run), "--out", str(tmp_path / "page")]) == 0
    written = load_deep(tmp_path / "page" / site.MODEL)
    own = load_deep(deep_run)
    assert written.net is not None
    cases = torch.rand(5, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        scores.log_probs(written.dbm, written.net, cases),
        scores.log_probs(own.dbm, own.net, cases),
        rtol=0,
        atol=0.05,
    )


def test_what_a_deep_machine_cannot_is_refused(
    tmp_path: Path, deep_run: Path, digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, reason in (
        (("finetune", deep_run, "--method", "updown"), "--method updown"),
        (("dream", deep_run, "--movie", tmp_path / "dreams.gif"), "--movie and --brain"),
        (("likelihood", deep_run, "--per-layer"), "--per-layer and --labels"),
        (("evaluate", deep_run, deep_run), "one by one"),
        (("train", "--resume", deep_run), "is finished"),
    ):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1, words
        assert reason in capsys.readouterr().err, words
    for changes, reason in (
        ({"stages": ("pretrain", "backprop")}, "expected pretrain dbm backprop"),
        ({"stages": ("backprop",)}, "wakesleep finetune RUN"),
        ({"hidden": (30,)}, "at least two hidden layers"),
        ({"shifted": True}, "pictures as they are"),
        ({"model": "dbn"}, "--model dbm"),
    ):
        config = small_config(**SETTINGS | changes)
        with pytest.raises(ConfigError, match=reason):
            training.new_run(tmp_path / "run", config, digits, CPU, "a test")


def test_what_kind_a_file_is_of_is_read_from_its_header(
    deep_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that commands read the tensors once."""
    ws.save(ws.DBN((4, 3), rng=ws.generator(0)), tmp_path / "dbn.safetensors")

    def refuse(*_: object) -> None:
        raise AssertionError("tensors were read")

    for module in (checkpoint, tensor_files):
        monkeypatch.setattr(module, "load_tensors", refuse)
    assert checkpoint.holds(deep_run, "DBM")
    assert not checkpoint.holds(tmp_path / "dbn.safetensors", "DBM")
    assert not checkpoint.holds(tmp_path / "absent.safetensors", "DBM")
    assert deep.load(tmp_path / "dbn.safetensors", "cpu") is None
    assert tables.load(tmp_path / "dbn.safetensors") is None
