"""What tests share by name: a small configuration, small data, and where the real data are."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import wakesleep as ws
from wakesleep.data import Dataset
from wakesleep.data.sound import save_wav
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.runs import training
from wakesleep.runs.job import Job
from wakesleep.runs.settings import TrainConfig


def small_config(**changes: object) -> TrainConfig:
    """A net that learns the digits in about a second."""
    layer = CDConfig(epochs=6, batch_size=20)
    tune = BackpropConfig(epochs=4, batch_size=20, learning_rate=0.05, sample_pixels=False)
    settings = {
        "hidden": (48, 64),
        "validation": 100,
        "greedy": GreedyConfig(layer, layer),
        "backprop": tune,
        "random": tune,
        **changes,
    }
    return TrainConfig(**settings)  # type: ignore[arg-type]


SMALL_PASSES = (
    "--greedy.layer.epochs 6 --greedy.memory.epochs 6 --updown.epochs 2 --backprop.epochs 4 "
    "--random.epochs 4"
)
SMALL_ARGUMENTS = f"--hidden 48 64 --validation 100 {SMALL_PASSES}".split()
"""The same on the command line."""


def trained_in_stops(job: Job, dataset: Dataset) -> int:
    """Train a run that is stopped and resumed after every epoch; return the epochs."""
    epochs = 0
    while True:
        records = training.train(job)
        if next(records, None) is None:
            return epochs
        records.close()
        epochs += 1
        job = training.resume_run(job.folder, dataset, torch.device("cpu"))


def save_digits_and_words(folder: Path, tone: Callable[[int, int], np.ndarray]) -> list[str]:
    """Write 400 digits as digits.npz and six recordings of each, `tone(digit, number)`, into
    words/; return what names them as senses on the command line.
    """
    (folder / "words").mkdir()
    for digit in range(10):
        for number in range(6):
            save_wav(folder / f"words/{digit}_ann_{number}.wav", tone(digit, number))
    digits = ws.load_data("digits").train
    np.savez(folder / "digits.npz", images=digits.images[:400], labels=digits.labels[:400])
    return ["--sense", f"image={folder / 'digits.npz'}", "--sense", f"sound={folder / 'words'}"]


def shaken_in_half(
    net: torch.nn.Module, rng: torch.Generator, scale: float = 0.3
) -> torch.nn.Module:
    """Return the net with noise on all weights, which half precision then holds exactly."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=rng)
            parameter.copy_(parameter.half())
    return net


def heeds_ctrl_c() -> None:
    """Called in a child process before it begins: a parent in the background may ignore SIGINT, and
    children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def real_folder(name: str) -> Path:
    """The folder of real data, if it holds the set; skip if not, or fail where
    WAKESLEEP_REQUIRE_DATA says that the data are there.
    """
    folder = os.environ.get("WAKESLEEP_DATA", "")
    files = {"spoken-digits": "recordings.zip", "20news": "20news_w100.mat"}
    if (
        not folder
        or not (Path(folder) / name / files.get(name, "train-images-idx3-ubyte.gz")).is_file()
    ):
        message = f"no real data: WAKESLEEP_DATA names no folder with {name}"
        if os.environ.get("WAKESLEEP_REQUIRE_DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(folder)
