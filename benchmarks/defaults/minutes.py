"""Seconds that a run takes against those it announces, for sets of 60 to 5,000 pictures and the
embedded digits, at their own defaults.

python -m benchmarks.defaults.minutes results/defaults-minutes.json

Run nothing else beside it: what is measured is wall-clock time, from the announcement to the last
picture.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from wakesleep.data import Dataset, load
from wakesleep.paper import results
from wakesleep.runs import report, training
from wakesleep.runs.settings import suited

SETS = ((60, 28), (300, 28), (300, 8), (700, 28), (5000, 28))
"""Cases and pixels of a side: digits, those of 28 x 28 enlarged, all of them again where there are
too few.
"""


def own_set(folder: Path, cases: int, side: int) -> Dataset:
    """Return so many of the embedded digits, enlarged to `side`, as a set of one's own."""
    digits = load("digits")
    places = np.resize(np.random.default_rng(0).permutation(len(digits.train)), cases)
    images = digits.train.images.numpy().reshape(-1, 8, 8)[places]
    if side > 8:
        scale = side // 8
        around = (side - 8 * scale) // 2
        images = np.pad(
            np.kron(images, np.ones((scale, scale))), ((0, 0), (around, around), (around, around))
        )
    assert digits.train.labels is not None
    path = folder / f"{cases}-{side}.npz"
    np.savez(
        path, images=(255 * images).astype(np.uint8), labels=digits.train.labels.numpy()[places]
    )
    return load(path)


def measure(folder: Path, dataset: Dataset) -> tuple[float, float]:
    """Return the seconds that a run announces and those it takes."""
    tested, shape = dataset.test is not None, dataset.shape
    config = suited(len(dataset.train), tested=tested, shape=shape)
    job = training.new_run(folder, config, dataset, torch.device("cpu"), "a measurement")
    announced = 60 * sum(report.minutes(job).values())
    began = time.perf_counter()
    for _ in training.train(job):
        pass
    return announced, time.perf_counter() - began


def main(path: Path) -> None:
    """Measure every set, and put how far off the announcements are as a row into the file at
    `path`.
    """
    each: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cases, side in (*SETS, (0, 0)):
            dataset = own_set(Path(folder), cases, side) if cases else load("digits")
            name = f"{cases} of {side} x {side}" if cases else "digits"
            announced, taken = measure(Path(folder) / f"run {name}", dataset)
            each[name] = {"announced": round(announced, 1), "taken": round(taken, 1)}
            print(f"{name:<18} announced {announced:6.1f} s, taken {taken:6.1f} s", flush=True)
    ratios = [seconds["taken"] / seconds["announced"] for seconds in each.values()]
    command = "python -m benchmarks.defaults.minutes results/defaults-minutes.json"
    minutes = round(sum(seconds["taken"] for seconds in each.values()) / 60, 1)
    results.save(
        path,
        [
            results.row(
                "defaults",
                "announced-time",
                "taken_over_announced",
                ratios,
                seeds=[0],
                command=command,
                minutes=minutes,
                each=each,
            )
        ],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
