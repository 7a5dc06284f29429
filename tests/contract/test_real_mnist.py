"""On the real MNIST: the files are what they should be, and a small net learns from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import real_folder
from wakesleep.data import Dataset, Split, load
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.runs import training
from wakesleep.runs.settings import preset


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_sets_are_whole(name: str) -> None:
    actual = load(name, folder=real_folder(name), download=False)
    assert actual.test is not None
    assert (actual.train.images.shape, actual.test.images.shape) == ((60_000, 784), (10_000, 784))
    assert actual.train.images.dtype == torch.uint8
    assert (actual.shape, len(actual.classes)) == ((28, 28), 10)


@pytest.mark.slow
@pytest.mark.real_data
def test_a_small_net_learns_mnist_both_ways(tmp_path: Path, real_mnist: Dataset) -> None:
    few = Split(real_mnist.train.images[:6000], real_mnist.train.labels[:6000])
    part = replace(real_mnist, train=few)
    layer, tune = CDConfig(epochs=4), BackpropConfig(epochs=6)
    base = replace(
        preset("mnist"),
        hidden=(150, 300),
        validation=1000,
        greedy=GreedyConfig(layer, layer),
        backprop=tune,
    )
    config = replace(base, stages=("pretrain", "backprop"))
    list(
        training.train(
            training.new_run(tmp_path / "run", config, part, torch.device("cpu"), "a test")
        )
    )
    rows = json.loads((tmp_path / "run/evaluation.json").read_text())["rows"]
    errors = {row["method"]: row["test_error_percent"] for row in rows}
    assert errors["free-energy"] < 15  # a linear classifier on as many cases has about 12
    assert errors["backprop"] < 8
    assert errors["backprop"] < errors["free-energy"]
