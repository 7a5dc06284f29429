"""What all tests share: one thread, the real data or the reason why not, a small finished run."""

from __future__ import annotations

import gc
import os

# before anything imports SciPy: scikit-learn skips one of its checks without it
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from pathlib import Path

import pytest
import torch

# before anything imports Triton: kernels are then run by its interpreter
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from helpers import real_folder, small_config
from wakesleep.data import Dataset, load
from wakesleep.runs import training

# Python looks for cycles among all objects again and again, and thousands of tests are many: a
# fifteenth of the whole suite's time
gc.set_threshold(50_000, 20, 20)


def pytest_configure() -> None:
    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A finished run; tests read it and never write into it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    job = training.new_run(folder, small_config(), digits, torch.device("cpu"), "a test")
    list(training.train(job))
    return folder


@pytest.fixture(scope="session")
def real_mnist() -> Dataset:
    return load("mnist", folder=real_folder("mnist"), download=False)
