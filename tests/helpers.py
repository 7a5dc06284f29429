"""What tests share by name: a small configuration, and where the real data are."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
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
