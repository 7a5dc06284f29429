"""wakesleep train on a folder of shards: a run like any other, killed and gone on with, in ranks,
and judged on what was held out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import small_config
from wakesleep.cli import main
from wakesleep.compute import distributed
from wakesleep.data import load, on_disk
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.runs import checkpoint, report, training
from wakesleep.runs.settings import preset

CPU = torch.device("cpu")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = (
    "--hidden 32 48 --chunk 50 --threads 1 --precision float32 --greedy.layer.epochs 3 "
    "--greedy.memory.epochs 3 --backprop.epochs 3"
)
SMALL = (
    f"{SMALL} --greedy.layer.batch-size 20 --greedy.memory.batch-size 20 --backprop.batch-size 20 "
    "--greedy.memory.persistent"
).split()
STAGES = (
    [("layer 1", n) for n in (1, 2, 3)]
    + [("memory", n) for n in (1, 2, 3)]
    + [("backprop", n) for n in (1, 2, 3)]
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits in five files of 340 cases and one of 97; the last 299 are held out."""
    digits, folder = load("digits"), tmp_path_factory.mktemp("data") / "shards"
    folder.mkdir()
    images = torch.cat([digits.train.images, digits.test.images])
    labels = torch.cat([digits.train.labels, digits.test.labels])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for number, part in enumerate(torch.split(order, 340)):
        np.save(
            folder / f"images-{number}.npy", (images[part] * 255).round().to(torch.uint8).numpy()
        )
        np.save(folder / f"labels-{number}.npy", labels[part].numpy().astype(np.uint8))
    return folder


def call(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return done


def train(shards: Path, folder: Path) -> list[str]:
    return ["-m", "wakesleep", "train", "--data", str(shards), "--out", str(folder), *SMALL]


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("streamed") / "whole"
    said = call(*train(shards, folder)).stdout
    assert "shards: 1,498 training cases, 299 held out" in said
    assert "299 test cases" in said
    return folder


def test_a_streamed_run_is_a_run_like_any_other(
    whole: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = files.read_metrics(whole)
    assert [(line["stage"], line["epoch"]) for line in lines] == STAGES
    assert lines[2]["reconstruction_error"] < lines[0]["reconstruction_error"]
    assert lines[8]["cross_entropy"] < lines[6]["cross_entropy"]
    assert {"free_energy_gap", "pseudo_log_likelihood"} <= set(lines[0])
    assert lines[5]["validation_errors"] < 200  # of 299, 270 by chance
    assert not any("validation_errors" in line for line in lines[6:]), (
        "the cases that test the net pick no epoch of it"
    )
    written = json.loads((whole / "evaluation.json").read_text())
    assert written["part"] == "test"
    assert main(["evaluate", str(whole), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_test"] == 299
    assert (
        found["test_errors"]
        == {row["method"]: row for row in written["rows"]}["backprop"]["test_errors"]
    )
    assert found["test_error_percent"] < 50
    assert (
        main(
            [
                "dream",
                str(whole),
                "--label",
                "3",
                "--steps",
                "2",
                "--out",
                str(whole.parent / "dreams.png"),
                "--json",
            ]
        )
        == 0
    )
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 20
    words = [
        "likelihood",
        str(whole),
        "--binarise",
        "round",
        "--reverse-steps",
        "0",
        "--chains",
        "10",
        "--target-error",
        "5",
        "--json",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["part"], said["cases"]) == ("test", 299)
    assert main(["data", str(shards), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_train"] == 1498


def test_every_stage_sees_all_cases_and_not_only_those_in_memory(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk, "SAMPLE", 60)
    once = CDConfig(epochs=1, batch_size=100)
    tune = BackpropConfig(epochs=1, batch_size=100)
    config = small_config(
        validation=0,
        stages=("pretrain", "backprop", "random"),
        greedy=GreedyConfig(once, once),
        backprop=tune,
        random=tune,
    )
    job = training.new_run(tmp_path / "run", config, load(shards), CPU, "a test")
    assert len(job.train) == 50  # ten of each file, less the last one, all of which is held out
    # what a bar counts: five products a case
    assert report.work_per_epoch(job)["layer 1"] == 5 * 1498 * 64 * 48
    assert "1,498 training cases, 299 held out" in next(report.announce(job))
    assert [(record.stage, record.cases) for record in training.train(job)] == [
        (stage, 1498) for stage in ("layer 1", "memory", "backprop", "random")
    ]


@pytest.mark.slow
def test_a_streamed_run_that_is_killed_goes_on_to_the_same_bits(
    whole: Path, shards: Path, tmp_path: Path
) -> None:
    folder, words = tmp_path / "killed", train(shards, tmp_path / "killed")
    metrics = folder / "metrics.jsonl"
    for wanted in (2, 5, 7):  # in the first layer, in the memory whose chains persist, in the net
        process = subprocess.Popen(
            [sys.executable, *words],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not (
            metrics.exists() and len(metrics.read_text().splitlines()) >= wanted
        ):
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -9, "it was done before it could be killed"
        assert (folder / "checkpoint.safetensors").exists()
        words = ["-m", "wakesleep", "train", "--resume", str(folder), "--threads", "1"]
    call(*words)
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [(line["stage"], line["epoch"]) for line in files.read_metrics(folder)] == STAGES


@pytest.mark.slow
def test_ranks_stream_chunks_of_their_own_and_go_on_to_the_same_bits(
    shards: Path, tmp_path: Path
) -> None:
    call(*TORCHRUN, *train(shards, tmp_path / "whole"))
    assert [
        (line["stage"], line["epoch"]) for line in files.read_metrics(tmp_path / "whole")
    ] == STAGES
    about = json.loads((tmp_path / "whole/provenance.json").read_text())
    assert about["ranks"] == 2
    rows = {
        row["method"]: row
        for row in json.loads((tmp_path / "whole/evaluation.json").read_text())["rows"]
    }
    assert rows["backprop"]["test_error_percent"] < 60
    stopped, metrics = tmp_path / "stopped", tmp_path / "stopped/metrics.jsonl"
    words = [sys.executable, *TORCHRUN, *train(shards, stopped)]
    agent = subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while agent.poll() is None and not (
            metrics.exists() and len(metrics.read_text().splitlines()) >= 5
        ):
            time.sleep(0.005)
    finally:  # where the time is up too
        agent.terminate()  # torchrun ends its ranks
    assert agent.wait() != 0
    assert (stopped / "checkpoint.safetensors").exists()
    call(*TORCHRUN, "-m", "wakesleep", "train", "--resume", stopped, "--threads", "1")
    assert (stopped / "model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()


def test_what_does_not_stream_is_refused_in_words(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = (
        load(shards),
        small_config(validation=0, stages=("pretrain",), precision="float32"),
    )
    for changes, error, said in (
        (
            {"stages": ("pretrain", "updown")},
            ConfigError,
            "updown want all cases in memory: use --stages pretrain backprop",
        ),
        ({"validation": 100}, ConfigError, "holds out its last 299 cases by itself"),
        ({"chunk": 0}, ConfigError, "chunk = 0"),
    ):
        with pytest.raises(error, match=said):
            training.new_run(
                tmp_path / "run",
                small_config(**{"validation": 0, "stages": ("pretrain",), **changes}),
                data,
                CPU,
                "a test",
            )
    monkeypatch.setattr(distributed, "ranks", lambda: 5)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(
        DataError,
        match=r"0 whole chunks of 4096 cases in 6 files for 5 "
        r"ranks.*--chunk 68",
    ):
        training.new_run(tmp_path / "run", config, data, CPU, "a test")
    assert not (tmp_path / "run").exists()


def test_without_labels_it_learns_to_generate_and_other_data_are_not_gone_on_with(
    shards: Path, tmp_path: Path, capsys
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in shards.glob("images-*.npy"):
        np.save(own / path.name, np.load(path))
    words = ["train", "--data", str(own), "--out", str(tmp_path / "run"), *SMALL]
    assert main(words) == 1
    assert "use --stages pretrain --no-label-memory" in capsys.readouterr().err
    job = training.new_run(
        tmp_path / "stopped",
        small_config(validation=0, stages=("pretrain",), label_memory=False),
        load(own),
        CPU,
        "a test",
        data_path=str(own),
    )
    next(training.train(job))
    assert main([*words, "--stages", "pretrain", "--no-label-memory"]) == 0
    assert checkpoint.load(tmp_path / "run").labels == 0
    np.save(own / "images-5.npy", np.load(own / "images-4.npy"))
    with pytest.raises(CheckpointError, match="other data"):
        training.resume_run(tmp_path / "stopped", load(own), CPU)


def test_what_is_done_by_itself_with_shards_streams(shards: Path, tmp_path: Path) -> None:
    assert preset(str(shards)).stages == ("pretrain", "backprop")
    assert preset(str(shards)).validation == 0
    assert preset(str(tmp_path)).stages == ("pretrain", "updown", "backprop", "random")
