"""Two ranks on gloo learn what one process learns, write one run folder, and go on after one of
them dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import ranks
from helpers import SMALL_ARGUMENTS
from wakesleep.cli import main
from wakesleep.compute import distributed, shared_memory
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.runs import tensor_files

TOLERANCE = 2e-5
"""Largest difference of a weight, as a part of the largest weight or of 1: float32 sums in another
order leave about half of it.
"""
COARSE = 1e-2
"""The same where products are in bfloat16, whose eight bits round the statistics of each rank
before they are averaged.
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
PARTS = ("greedy.layer", "greedy.memory", "updown")
LEARNED = {
    "greedy",
    "centred",
    "gaussian",
    "ordinal",
    "mixed",
    "sgd",
    "cg",
    "updown",
    "hybrid",
    "chains",
    "deep",
    "coarse-greedy",
    "coarse-updown",
    "coarse-sgd",
}
# few updates: on a busy machine ranks wait long for each other
LARGE = [word for part in PARTS for word in (f"--{part}.batch-size", "100")]
TRAIN = [
    "-m",
    "wakesleep",
    "train",
    "--threads",
    "1",
    *SMALL_ARGUMENTS,
    *LARGE,
    "--greedy.memory.persistent",
]
TRAIN += ["--stages", "pretrain", "updown", "backprop"]


def call(*words: object) -> None:
    done = subprocess.run(
        [str(word) for word in words], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_ranks_learn_what_one_process_learns(tmp_path: Path) -> None:
    script = Path(__file__).with_name("in_ranks.py")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    call(sys.executable, script, tmp_path / "one")
    call(*TORCHRUN, script, tmp_path / "two")
    alone = load_file(tmp_path / "one/rank-0.safetensors")
    first, second = (load_file(tmp_path / f"two/rank-{rank}.safetensors") for rank in range(2))
    assert {name.partition(".")[0] for name in alone} == LEARNED
    differences = {}
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name]), f"the ranks went apart: {name}"
        far = float((first[name] - weight).abs().max() / weight.abs().max().clamp(min=1.0))
        differences[name] = far
        assert far < (COARSE if name.startswith("coarse") else TOLERANCE), (
            f"{name}: {far} from what one process learned"
        )
    for name in ("coarse-greedy", "coarse-updown", "coarse-sgd"):
        assert max(far for key, far in differences.items() if key.startswith(name)) > TOLERANCE, (
            f"{name}: products were not coarse"
        )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is shared by way of /proc")
@pytest.mark.parametrize(
    ("ranks", "plan"),
    [(2, "shared"), (3, "shared"), (2, "refused"), (2, "full"), (5, "shared"), (3, "dies")],
)
def test_ranks_of_one_machine_average_in_memory_they_share_and_by_gloo_where_they_cannot(
    ranks: int, plan: str, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("in_ranks_shared.py")
    words = [*TORCHRUN[:-1], str(ranks), script, plan, tmp_path]
    subprocess.run(
        [str(word) for word in words],
        env=ENVIRONMENT,
        capture_output=True,
        check=plan != "dies",
        timeout=200,
    )
    told = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    shares = ranks <= shared_memory.MOST_RANKS and plan in ("shared", "dies")
    assert [found["shares"] for found in told] == [shares] * (ranks - (plan == "dies"))
    assert not any(found["wrong"] for found in told)
    # a pipe each way with every other rank, and the memory's
    ends = 2 * (ranks - 1) + 1 if shares else 0
    assert [found["handles"] for found in told] == [ends] * len(told)
    assert all(
        ("torchrun --max-restarts" in found.get("error", "")) == (plan == "dies") for found in told
    )


@pytest.mark.slow
def test_chains_and_running_means_of_ranks_are_saved_and_go_on_to_the_same_bits(
    tmp_path: Path,
) -> None:
    call(*TORCHRUN, Path(__file__).with_name("in_ranks_resumed.py"), tmp_path)
    assert (tmp_path / "parts/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()
    tensors, header = tensor_files.load_tensors(tmp_path / "stopped.safetensors", "checkpoint")
    assert header["ranks"] == 2
    chains = tensors["state/chains"]
    assert chains.shape == (2, 50, 64)  # half of a rank's 100 cases, two of each
    assert not torch.equal(chains, tensors["rank-1/state/chains"]), (
        "ranks dream dreams of their own"
    )
    assert not torch.equal(tensors["rng"], tensors["rank-1/rng"])
    means = [name for name in tensors if "/mean/mean/" in name]
    assert means
    assert not any(name.startswith("rank-1/") for name in means), (
        "means of the weights are the same in all ranks"
    )
    errors = [
        [line.get("reconstruction_error") for line in files.read_metrics(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    assert errors[0] == errors[1]


@pytest.mark.slow
def test_ranks_train_a_deep_boltzmann_machine(tmp_path: Path) -> None:
    """Pairs of layers begin at random weights, which every rank must draw alike."""
    folder = tmp_path / "run"
    words = "-m wakesleep train --model dbm --hidden 16 12 --threads 1".split()
    for stage in ("greedy.layer", "dbm", "backprop"):
        words += f"--{stage}.epochs 2 --{stage}.batch-size 100".split()
    call(*TORCHRUN, *words, "--out", folder)
    lines = [(line["stage"], line["epoch"]) for line in files.read_metrics(folder)]
    stages = ("layer 1", "layer 2", "dbm", "backprop")
    assert lines == [(stage, epoch) for stage in stages for epoch in (1, 2)]
    assert json.loads((folder / "provenance.json").read_text())["ranks"] == 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two ranks."""
    folder = tmp_path_factory.mktemp("ranks") / "whole"
    call(*TORCHRUN, *TRAIN, "--out", folder)
    return folder


@pytest.mark.slow
def test_one_rank_writes_the_run_folder_and_it_is_as_good(whole: Path) -> None:
    about = json.loads((whole / "provenance.json").read_text())
    assert about["ranks"] == 2
    lines = files.read_metrics(whole)
    assert [(line["stage"], line["epoch"]) for line in lines[:6]] == [
        ("layer 1", pass_) for pass_ in range(1, 7)
    ]
    assert len(lines) == len({(line["stage"], line["epoch"]) for line in lines}) == 6 + 6 + 2 + 4
    rows = {
        row["method"]: row["test_error_percent"]
        for row in json.loads((whole / "evaluation.json").read_text())["rows"]
    }
    assert rows["backprop"] < 40  # chance is 90; so few updates learn little
    assert not (whole / "checkpoint.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of the ranks in /proc")
def test_a_rank_that_dies_is_started_again_and_the_run_ends_with_the_same_bits(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = [*TORCHRUN, "--max-restarts", "3", *TRAIN, "--out", str(folder)]
    agent = subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = folder / "metrics.jsonl"
    # in the memory, chains persist
    while agent.poll() is None and not (
        metrics.exists() and len(metrics.read_text().splitlines()) >= 9
    ):
        time.sleep(0.01)
    ranks = [
        int(word)
        for word in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    ]
    last = max(pid for pid in ranks if b"wakesleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(last, signal.SIGKILL)
    _, said = agent.communicate(timeout=250)
    assert agent.returncode == 0, said[-3000:]
    assert "exitcode: -9" in said, "no rank died"
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [line["reconstruction_error"] for line in files.read_metrics(folder)[:6]] == [
        line["reconstruction_error"] for line in files.read_metrics(whole)[:6]
    ]


def test_without_torchrun_nothing_happens() -> None:
    cases = torch.arange(6.0)
    assert distributed.setup(torch.device("cpu")) == torch.device("cpu")
    assert (distributed.ranks(), distributed.rank()) == (1, 0)
    for same in (distributed.share, distributed.all_reduce_mean, distributed.all_reduce_sum):
        assert same(cases) is cases
    assert distributed.part_of_batch(7) == 7
    assert distributed.broadcast_scalar(0.5) == 0.5


def test_ranks_share_cases_evenly_and_refuse_a_batch_they_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "ranks", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(torch.arange(10)).tolist())
    assert shares == [[0, 3, 6, 9], [1, 4, 7, 0], [2, 5, 8, 1]]
    with pytest.raises(ConfigError, match="multiple of 3"):
        distributed.part_of_batch(100)


def test_a_run_of_two_ranks_is_not_resumed_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits, capsys
) -> None:
    from helpers import small_config
    from wakesleep.runs import training

    records = training.train(
        training.new_run(tmp_path / "run", small_config(), digits, torch.device("cpu"), "a test")
    )
    next(records)
    records.close()
    tensors, header = tensor_files.load_tensors(
        tmp_path / "run/checkpoint.safetensors", "checkpoint"
    )
    tensor_files.save_tensors(
        tmp_path / "run/checkpoint.safetensors", tensors, {**header, "ranks": 2}, "checkpoint"
    )
    assert main(["train", "--resume", str(tmp_path / "run")]) == 1
    assert "left by 2 ranks" in capsys.readouterr().err


@pytest.mark.slow
def test_ranks_are_measured_against_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", ENVIRONMENT)
    ranks.main(
        "--batches 20 --cases 40 --epochs 2 --rounds 1 --hidden 8 --out "
        f"{tmp_path / 'ranks.json'}".split()
    )
    rows = {
        (row["row"], row["metric"]): row
        for row in json.loads((tmp_path / "ranks.json").read_text())
    }
    assert rows["gloo-2-ranks-batch-20", "ratio_to_one_process"]["value"] > 0
    assert rows["gloo-2-ranks-batch-20", "cases_per_second"]["threads"] == 2


@pytest.mark.parametrize(
    ("words", "status", "said"), [(["--version"], 0, "wakesleep "), (["nothing"], 1, "nothing")]
)
def test_a_rank_ends_at_once_with_its_status_and_all_that_it_said(
    words: list[str], status: int, said: str
) -> None:
    environment = {**ENVIRONMENT, "TORCHELASTIC_RUN_ID": "one"}
    code = (
        "import atexit, runpy; atexit.register(print, 'finalized'); runpy.run_module('wakesleep', "
        "run_name='__main__')"
    )
    for env, ends in ((environment, False), (ENVIRONMENT, True)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert said in done.stdout + done.stderr
        assert ("finalized" in done.stdout) == ends
