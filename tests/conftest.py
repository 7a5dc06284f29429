"""What all tests share: one thread, the real data or the reason why not, a small finished run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from wakesleep import recipe
from wakesleep.data import Dataset, load
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.settings import TrainConfig


def pytest_configure() -> None:
    torch.set_num_threads(1)


def small_config(**changes: object) -> TrainConfig:
    """A net that learns the digits in about a second."""
    layer = CDConfig(passes=6, batch_size=20)
    tune = BackpropConfig(passes=4, batch_size=20, learning_rate=0.05)
    settings = {"hidden": (48, 64), "validation": 100, "greedy": GreedyConfig(layer, layer), "backprop": tune, "random": tune, **changes}
    return TrainConfig(**settings)  # type: ignore[arg-type]


SMALL_ARGUMENTS = ["--hidden", "48", "64", "--validation", "100", "--greedy.layer.passes", "6", "--greedy.memory.passes", "6", "--backprop.passes", "4", "--random.passes", "4"]
"""The same on the command line."""


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A finished run; tests read it and never write into it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    job = recipe.start(folder, small_config(), digits, torch.device("cpu"), "a test")
    list(recipe.train(job))
    return folder


@pytest.fixture(scope="session")
def real_mnist() -> Dataset:
    return real_set("mnist")


def real_set(name: str) -> Dataset:
    """Load a real set from the data folder; skip, or fail where WAKESLEEP_REQUIRE_DATA says that the data are there."""
    folder = os.environ.get("WAKESLEEP_DATA", "")
    if not folder or not (Path(folder) / name).is_dir():
        message = f"no real data: WAKESLEEP_DATA names no folder with {name}"
        if os.environ.get("WAKESLEEP_REQUIRE_DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return load(name, download=False)
