"""Spoken digits: sound alone -> label on the official split, and with one speaker left out.

    python -m benchmarks.senses.spoken

A deep belief net over log-mel pictures, whose lowest units are real-valued: greedy pretraining with
the label in the memory, then backpropagation from there. The training recordings are shown with
copies bent in time and frequency. Beside it a support vector machine on the pictures, without such
copies and with as many. `--choose` judges on the recordings numbered 5 to 9, which it does not
train on, and saves nothing; so the settings were found. Recordings 0 to 4 of each speaker are the
test part.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from sklearn.svm import SVC
from torch import Tensor, nn

from benchmarks.estimators import Found, measure
from wakesleep.data.sound import LogMel
from wakesleep.data.sound_sets import OFFICIAL_TEST, read_recordings
from wakesleep.data.warp import warped
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy
from wakesleep.learning.configs import CDConfig, MultimodalConfig
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.models.dbn import DBN
from wakesleep.units import Gaussian


@dataclass(frozen=True)
class SpokenOptions:
    """Measure and save the rows."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with spoken-digits/recordings.zip."""
    seeds: int = 5
    """Nets on the official split."""
    choose: bool = False
    """Judge on training recordings 5 to 9, and save nothing."""
    official: bool = True
    """Measure on the official split."""
    speakers: bool = True
    """Leave out each speaker in turn."""
    folder: Path = Path("runs/senses")
    """Where accuracies lie once they are measured, so that a stopped call goes on."""
    out: Path = Path("results/senses.json")
    """Where the rows go."""


class Spoken(NamedTuple):
    """Recordings as log-mel pictures."""

    pictures: Tensor
    """(N, 576)."""
    labels: Tensor
    """(N,)."""
    numbers: np.ndarray
    """Which of a speaker's recordings of the digit each is, (N,)."""
    speakers: np.ndarray
    """Names, (N,)."""
    how: LogMel
    """How they were made."""

    def some(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return pictures and labels of the chosen (N,) bool."""
        index = torch.from_numpy(np.flatnonzero(chosen))
        return self.pictures[index], self.labels[index]


def recordings(data: Path) -> Spoken:
    """Return all recordings of spoken-digits."""
    read = read_recordings(data / "spoken-digits" / "recordings.zip")
    digit, speaker, number = zip(
        *(PurePosixPath(name).stem.split("_") for name in read.names), strict=True
    )
    numbers = np.array(number, int)
    pairs = zip(read.waves, numbers, strict=True)
    how = LogMel().suited([wave for wave, each in pairs if each >= OFFICIAL_TEST])
    pictures = np.stack([how.picture(wave).ravel() for wave in read.waves])
    labels = torch.from_numpy(np.array(digit, np.int64))
    return Spoken(torch.from_numpy(pictures), labels, numbers, np.array(speaker), how)


COPIES = 5
"""Bent copies beside each recording."""
FRAMES, BANDS = 2.0, 1.5
"""By how much they are bent."""
SIZES = (500, 500)
"""Hidden layers, the memory's top last."""
MEMORY = CDConfig(epochs=2, batch_size=50, learning_rate=0.1, final_learning_rate=0.01)
SOUND = replace(MEMORY, learning_rate=0.005, final_learning_rate=0.0005)
"""Of the layer on real numbers, which runs away at the rates of binary ones."""
TUNING = BackpropConfig(epochs=15, batch_size=50, learning_rate=0.05, sample_pixels=False)


def more(
    pictures: Tensor,
    labels: Tensor,
    rng: torch.Generator,
    *,
    copies: int = COPIES,
    frames: float = FRAMES,
    bands: float = BANDS,
) -> tuple[Tensor, Tensor]:
    """Return recordings with bent copies, (N * (copies + 1), 576), and their labels."""
    shape = LogMel().shape
    bent = [warped(pictures, shape, rng=rng, frames=frames, bands=bands) for _ in range(copies)]
    return torch.cat([pictures, *bent]), labels.repeat(copies + 1)


def forward_net(train: tuple[Tensor, Tensor], seed: int) -> nn.Sequential:
    """Return a feed-forward net that learned from pictures (N, 576) with labels (N,)."""
    rng = generator(seed)
    pictures, labels = more(*train, rng)
    layers: Any = {"sound": (Gaussian(pictures.shape[1]), *SIZES[:-1])}
    net: Any = DBN(senses=layers, labels=10, top=SIZES[-1], rng=rng, weight_std=0.01)
    pretraining = MultimodalConfig(SOUND, MEMORY)
    for _ in greedy.epochs(net, {"sound": pictures}, labels, config=pretraining, rng=rng):
        pass
    forward = backprop.classifier(net, 10, rng=rng)
    for _ in backprop.epochs(forward, {"sound": pictures}, labels, config=TUNING, rng=rng):
        pass
    return forward


def predicted(train: tuple[Tensor, Tensor], sounds: Tensor, seed: int) -> Tensor:
    """Return the labels (M,) that a net which learned from `train` tells from `sounds` (M, 576)."""
    return backprop.log_probs(forward_net(train, seed), {"sound": sounds}).argmax(1)


def accuracy(
    path: Path, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int
) -> float:
    """Return how many percent of the test recordings a net of that seed names right; kept at
    `path`, and read from there if it was measured before.
    """
    if path.exists():
        return float(json.loads(path.read_text(encoding="utf-8")))
    percent = 100 * float((predicted(train, test[0], seed) == test[1]).double().mean())
    print(f"{path.stem}: {percent:.2f} %", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(percent), encoding="utf-8")
    return percent


def support_vectors(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], copies: bool = False
) -> float:
    """Return how many percent a support vector machine names right, with bent copies or without."""
    pictures, labels = more(*train, generator(0)) if copies else train
    machine = SVC(C=10).fit(pictures.numpy(), labels.numpy())
    return 100 * float(machine.score(test[0].numpy(), test[1].numpy()))


def official(options: SpokenOptions, spoken: Spoken) -> Found:
    """Yield accuracy on the official split, percent, a value a seed, and a support vector
    machine's.
    """
    held = spoken.numbers < OFFICIAL_TEST
    train, test = spoken.some(~held), spoken.some(held)
    paths = [options.folder / f"sound-{seed}.json" for seed in range(options.seeds)]
    percents = [accuracy(path, train, test, seed) for seed, path in enumerate(paths)]
    yield "sound", "label_accuracy_percent", percents, {"reported": "97.7 (SVC)"}
    for row, copies in (("sound-svc", False), ("sound-svc-copies", True)):
        yield row, "label_accuracy_percent", [support_vectors(train, test, copies)], {}


def left_out(options: SpokenOptions, spoken: Spoken) -> Found:
    """Yield accuracy on a speaker whom nothing was learned from, percent: the mean over all six,
    and each; beside it a support vector machine's.
    """
    names = sorted(set(spoken.speakers))
    percents: dict[str, list[float]] = {"": [], "-svc": []}
    for name in names:
        theirs = spoken.speakers == name
        train, test = spoken.some(~theirs), spoken.some(theirs)
        path = options.folder / f"without-{name}.json"
        percents[""].append(accuracy(path, train, test, 0))
        percents["-svc"].append(support_vectors(train, test))
    for way, each in percents.items():
        speakers = dict(zip(names, (round(value, 2) for value in each), strict=True))
        reported = {"reported": "72.4 (SVC)"} if not way else {}
        notes = {"speakers": speakers, **reported}
        yield f"speaker-left-out{way}", "mean_accuracy_percent", [float(np.mean(each))], notes


def choose(spoken: Spoken) -> None:
    """Print the accuracy on training recordings that were not learned from."""
    train = spoken.some(spoken.numbers >= 2 * OFFICIAL_TEST)
    among = (spoken.numbers >= OFFICIAL_TEST) & (spoken.numbers < 2 * OFFICIAL_TEST)
    held = spoken.some(among)
    print(f"ours: {100 * float((predicted(train, held[0], 0) == held[1]).double().mean()):.2f} %")
    for copies in (False, True):
        print(f"SVC, copies {copies}: {support_vectors(train, held, copies):.2f} %")


def main(argv: list[str]) -> None:
    """Measure what was asked for and save the rows as they come, or print what was chosen by."""
    options = tyro.cli(SpokenOptions, description=__doc__, args=argv)
    spoken = recordings(options.data)
    if options.choose:
        choose(spoken)
        return
    parts = [partial(official, options, spoken)] if options.official else []
    parts += [partial(left_out, options, spoken)] if options.speakers else []
    command = shlex.join(["python", "-m", "benchmarks.senses.spoken", *argv])
    for _ in measure("senses", parts, out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
