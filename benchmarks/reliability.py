"""SIGKILL at random moments: resumed runs end with the same bits, and a kill loses at most one
epoch.

    python -m benchmarks.reliability --kills 10

Each trial starts the same run, kills it at a moment drawn from its whole length, goes on with it,
and compares the final model file byte by byte with that of a run that was never stopped. Times and
moments differ from machine to machine; the bits must not.
"""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from wakesleep.foundation import files
from wakesleep.paper import results
from wakesleep.runs import tensor_files

RUN = (
    "--hidden 100 200 --validation 200 --greedy.layer.epochs 40 --greedy.memory.epochs 40 "
    "--backprop.epochs 20 --random.epochs 20 --threads 1"
).split()


@dataclass(frozen=True)
class ReliabilityMeasureOptions:
    """Kill a run of the digits at random moments and compare."""

    kills: int = 10
    """How many trials."""
    seed: int = 0
    """Seed of the moments."""
    out: Path | None = Path("results/reliability.json")
    """Where the row goes; None only prints."""


def _train(*words: str) -> list[str]:
    return [sys.executable, "-m", "wakesleep", "train", *words]


def trial(folder: Path, whole: Path, after: float) -> bool:
    """Return whether a run killed `after` seconds, then resumed, equals the run in `whole`; prints
    what happened.
    """
    process = subprocess.Popen(
        _train("--out", str(folder), *RUN), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # until then there is no run to go on with
    while process.poll() is None and not (folder / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    process.wait()
    shown = len(files.read_metrics(folder))
    if process.returncode == 0 or (folder / "model.safetensors").exists():
        saved = shown
    else:
        saved = tensor_files.load_tensors(folder / "checkpoint.safetensors", "checkpoint")[1][
            "lines"
        ]
        subprocess.run(
            _train("--resume", str(folder), "--threads", "1"), check=True, stdout=subprocess.DEVNULL
        )
    same = (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    print(
        f"killed after {after:5.2f} s, {shown} passes shown, {saved} saved: "
        f"{'identical' if same else 'DIFFERENT'}",
        flush=True,
    )
    return same and shown - saved <= 1


def main(argv: list[str]) -> None:
    """Run the trials and save the row."""
    options = tyro.cli(ReliabilityMeasureOptions, description=__doc__, args=argv)
    began, moments = time.perf_counter(), random.Random(options.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        subprocess.run(_train("--out", str(whole), *RUN), check=True, capture_output=True)
        length = sum(line["seconds"] for line in files.read_metrics(whole)) * 1.2
        same = sum(
            trial(Path(name) / f"trial-{number}", whole, moments.uniform(0, length))
            for number in range(options.kills)
        )
    command = shlex.join(["python", "-m", "benchmarks.reliability", *argv])
    minutes = round((time.perf_counter() - began) / 60, 2)
    row = results.row(
        "reliability",
        "sigkill-resume",
        f"identical_of_{options.kills}",
        [same],
        seeds=[options.seed],
        command=command,
        threads=1,
        minutes=minutes,
    )
    if options.out is not None:
        results.save(options.out, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
