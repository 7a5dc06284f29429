"""Stopped and gone on with: the same numbers as if nothing had happened, and never a file that
cannot be read.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import SMALL_ARGUMENTS, small_config, trained_in_stops
from wakesleep.data import load
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError, DivergedError
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.runs import checkpoint, report, tensor_files, training

CPU = torch.device("cpu")


def without_times(folder: Path) -> list[dict]:
    """The metrics of a run, less what a clock wrote."""
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "cases_per_second")}
        for line in files.read_metrics(folder)
    ]


def test_a_run_stopped_after_every_pass_equals_one_that_was_not(
    tmp_path: Path, run_folder: Path, digits
) -> None:
    folder = tmp_path / "run"
    job = training.new_run(folder, small_config(), digits, CPU, "a test")
    assert trained_in_stops(job, digits) == 20
    assert (folder / "model.safetensors").read_bytes() == (
        run_folder / "model.safetensors"
    ).read_bytes()
    assert without_times(folder) == without_times(run_folder)
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(
        (run_folder / "evaluation.json").read_text()
    )
    about, expected = (
        json.loads((place / "provenance.json").read_text()) for place in (folder, run_folder)
    )
    assert {"backprop_pass", "random_pass"} <= about.keys()
    assert [about[name] for name in expected if name.endswith("_pass")] == [
        expected[name] for name in expected if name.endswith("_pass")
    ]


def test_persistent_chains_and_sparsity_resume_too(tmp_path: Path, digits) -> None:
    layer = CDConfig(epochs=3, batch_size=50, persistent=True, sparsity_cost=0.1, gibbs_steps=2)
    config = small_config(hidden=(20, 30), stages=("pretrain",), greedy=GreedyConfig(layer, layer))
    whole = training.new_run(tmp_path / "whole", config, digits, CPU, "a test")
    list(training.train(whole))
    parts = training.new_run(tmp_path / "parts", config, digits, CPU, "a test")
    for _ in range(4):
        records = training.train(parts)
        next(records)
        records.close()
        parts = training.resume_run(tmp_path / "parts", digits, CPU)
    list(training.train(parts))
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_contrastive_wake_sleep_and_the_hybrid_resume_too_and_stay_untied(
    tmp_path: Path, digits
) -> None:
    updown = UpDownConfig(epochs=3, batch_size=20, gibbs_steps=(1, 2), persistent=0.5)
    config = small_config(
        stages=("pretrain", "updown", "hybrid"),
        updown=updown,
        hybrid=HybridConfig(updown),
        precision="bfloat16",
    )
    whole = training.new_run(tmp_path / "whole", config, digits, CPU, "a test")
    list(training.train(whole))
    parts = training.new_run(tmp_path / "parts", config, digits, CPU, "a test")
    for done in range(18):
        records = training.train(parts)
        next(records)
        records.close()
        parts = training.resume_run(tmp_path / "parts", digits, CPU)
        assert sum(report.epochs_done(parts).values()) == done + 1
        assert sum(line.startswith("epochs: ") for line in report.announce(parts)) == 1
    list(training.train(parts))
    same = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert same[0] == same[1]
    model = checkpoint.load(tmp_path / "whole")
    assert not model.tied
    about = json.loads((tmp_path / "whole" / "provenance.json").read_text())
    lines = files.read_metrics(tmp_path / "whole")
    errors = [line["validation_errors"] for line in lines if line["stage"] == "hybrid"]
    assert errors[about["hybrid_pass"] - 1] == min(errors)
    # a hundred validation cases pick no epoch of contrastive wake-sleep
    assert "updown_pass" not in about


@pytest.mark.slow
def test_conjugate_gradient_resumes_too(tmp_path: Path, digits) -> None:
    tune = replace(
        small_config().backprop, method="cg", epochs=3, cg_top_epochs=1, cg_batch_size=400
    )
    config = small_config(stages=("pretrain", "backprop"), backprop=tune)
    list(training.train(training.new_run(tmp_path / "whole", config, digits, CPU, "a test")))
    records = training.train(training.new_run(tmp_path / "parts", config, digits, CPU, "a test"))
    while next(records).stage != "backprop":
        pass
    records.close()
    list(training.train(training.resume_run(tmp_path / "parts", digits, CPU)))
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()
    errors = [
        line["train_error_percent"]
        for line in files.read_metrics(tmp_path / "whole")
        if line["stage"] == "backprop"
    ]
    assert errors[-1] < errors[0]


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path, digits) -> None:
    more = ["--greedy.layer.epochs", "150", "--greedy.memory.epochs", "20"]
    train = [sys.executable, "-m", "wakesleep", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reference = [
        *train,
        "--out",
        str(tmp_path / "whole"),
        "--threads",
        "1",
        *SMALL_ARGUMENTS,
        *more,
    ]
    subprocess.run(reference, check=True, capture_output=True, env=environment)
    folder = tmp_path / "killed"
    words, settled = [*train, "--out", str(folder), "--threads", "1", *SMALL_ARGUMENTS, *more], 0
    metrics, kills, moments = folder / "metrics.jsonl", 0, random.Random()
    for _ in range(3):
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        while process.poll() is None and not (
            metrics.exists() and len(metrics.read_text().splitlines()) > settled
        ):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        process.communicate()
        kills += process.returncode == -9
        settled = len(metrics.read_text().splitlines())
        tensors, _ = tensor_files.load_tensors(folder / "checkpoint.safetensors", "checkpoint")
        assert tensors
        words = [*train, "--resume", str(folder), "--threads", "1"]
    assert kills >= 2
    subprocess.run(words, check=True, capture_output=True, env=environment)
    assert (folder / "model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()
    assert without_times(folder) == without_times(tmp_path / "whole")


def _half_done(folder: Path, digits) -> Path:
    records = training.train(training.new_run(folder, small_config(), digits, CPU, "a test"))
    next(records)
    records.close()
    return folder / "checkpoint.safetensors"


@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "garbage", "header", "shape", "missing", "newer", "gone"]
)
def test_a_damaged_checkpoint_is_refused_in_words(damage: str, tmp_path: Path, digits) -> None:
    path = _half_done(tmp_path / "run", digits)
    content = path.read_bytes()
    tensors = load_file(path)
    _, header = tensor_files.load_tensors(path, "checkpoint")

    def rewrite(tensors: dict[str, torch.Tensor], **changes: object) -> None:
        save_file(tensors, path, metadata={"wakesleep": json.dumps({**header, **changes})})

    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(os.urandom(5000))
        case "header":
            rewrite(tensors, models={"dbn": {"class": "DBN", "sizes": [3, 3]}})
        case "shape":
            rewrite({**tensors, "dbn/memory.weight": torch.zeros(2, 2)})
        case "missing":
            rewrite(
                {name: tensor for name, tensor in tensors.items() if name != "dbn/memory.weight"}
            )
        case "newer":
            rewrite(tensors, format=99)
        case "gone":
            path.unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint|wakesleep"):
        training.resume_run(tmp_path / "run", digits, CPU)
    with pytest.raises(CheckpointError):
        checkpoint.load_model(tmp_path / "run")


def test_other_data_or_damaged_settings_are_refused(tmp_path: Path, digits) -> None:
    _half_done(tmp_path / "run", digits)
    with pytest.raises(CheckpointError, match="other data"):
        training.resume_run(tmp_path / "run", replace(digits, checksum="0" * 64), CPU)
    settings = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps({**settings, "hidden": "many"}))
    with pytest.raises((CheckpointError, ConfigError)):
        training.resume_run(tmp_path / "run", digits, CPU)
    (tmp_path / "run/config.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(CheckpointError, match="newer"):
        training.resume_run(tmp_path / "run", digits, CPU)


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _half_done(tmp_path / "run", digits)
    before = path.read_bytes()
    job = training.resume_run(tmp_path / "run", digits, CPU)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="space"):
        list(training.train(job))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert not [name for name in path.parent.iterdir() if name.suffix == ".tmp"]
    list(training.train(training.resume_run(tmp_path / "run", digits, CPU)))


def test_a_diverging_run_stops_with_advice_and_keeps_its_last_pass(tmp_path: Path, digits) -> None:
    wild = CDConfig(epochs=2, batch_size=20, learning_rate=1e30, final_learning_rate=1e30)
    job = training.new_run(
        tmp_path / "run", small_config(greedy=GreedyConfig(wild, wild)), digits, CPU, "a test"
    )
    with pytest.raises(DivergedError, match="learning rate"):
        list(training.train(job))
    assert all(
        bool(tensor.isfinite().all())
        for tensor in checkpoint.load(tmp_path / "run").state_dict().values()
    )


def test_tied_and_untied_models_come_back_as_they_were(tmp_path: Path, run_folder: Path) -> None:
    model = checkpoint.load_model(run_folder)
    assert model.dbn.tied
    model.dbn.untie()
    checkpoint.save_models(tmp_path / "untied.safetensors", {"dbn": model.dbn}, {})
    again = checkpoint.load(tmp_path / "untied.safetensors")
    assert not again.tied
    for name, tensor in model.dbn.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_the_label_memory_can_be_left_out(tmp_path: Path) -> None:
    config = small_config(label_memory=False, stages=("pretrain", "backprop"))
    list(training.train(training.new_run(tmp_path / "run", config, load("digits"), CPU, "a test")))
    rows = json.loads((tmp_path / "run/evaluation.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["backprop"]
    assert rows[0]["test_error_percent"] < 35
