"""Words and topics in one memory: which topic words make, and which words a topic dreams of.

    python -m benchmarks.senses.words

20news as bags of 100 words, every fifth posting of each topic held out (`load_data("20news")`). A
memory of words and the topic, without layers below; topics are told by label free energies, exact,
beside scikit-learn's logistic regression, whose C was chosen as the memory's settings were: by
`--choose`, which holds out a fifth of the training postings and saves nothing. A topic's words are
those whose probability under its dreams is furthest above that under all topics'.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.estimators import Found, measure
from wakesleep.data import Split, load
from wakesleep.evaluation import classify
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.learning.configs import CDConfig, ChainsConfig, GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.runs.checkpoint import load as load_net
from wakesleep.runs.checkpoint import save
from wakesleep.samplers import dreams


@dataclass(frozen=True)
class WordsOptions:
    """Measure and save the rows."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with 20news/20news_w100.mat."""
    seeds: int = 3
    """Memories."""
    choose: bool = False
    """Judge on a fifth of the training postings, and save nothing."""
    folder: Path = Path("runs/senses")
    """Where memories lie once they are trained, so that a stopped call goes on."""
    words: int = 8
    """Words of each topic that are printed."""
    out: Path = Path("results/senses.json")
    """Where the rows go."""


HIDDEN = 100
MEMORY = CDConfig(epochs=20, batch_size=50, learning_rate=0.05, final_learning_rate=0.005)
CHAINS = ChainsConfig(learning_rate=0.01, final_learning_rate=0.001)
REGULARISATION = 0.3
"""C of the logistic regression."""


def memory(train: Split, seed: int) -> DBN:
    """Return a memory of words and topics."""
    rng = generator(seed)
    net = DBN((train.images.shape[1], HIDDEN), labels=4, rng=rng, weight_std=0.01)
    config = GreedyConfig(memory=MEMORY, chains=CHAINS)
    for _ in greedy.epochs(net, train.images, train.labels, config=config, rng=rng):
        pass
    return net


def kept(path: Path, train: Split, seed: int) -> DBN:
    """Return the memory saved at `path`, trained first if it is not there."""
    if path.exists():
        return cast(DBN, load_net(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    net = memory(train, seed)
    save(net, path)
    return net


def accuracy(predicted: Tensor, test: Split) -> float:
    """Return how many percent of the topics are right."""
    assert test.labels is not None
    return 100 * float((predicted == test.labels).double().mean())


def logistic(train: Split, test: Split, c: float = REGULARISATION) -> float:
    """Return how many percent of the topics logistic regression tells right."""
    assert train.labels is not None
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(train.images.numpy(), train.labels.numpy())
    return accuracy(torch.from_numpy(model.predict(test.images.numpy())), test)


def words_of_topics(net: DBN, words: tuple[str, ...], count: int) -> list[list[str]]:
    """Return the words that stand out in the dreams of each topic."""
    labels = torch.arange(net.labels).repeat_interleave(200)
    fantasies = dreams.dream(net, labels=labels, steps=200, rng=generator(0)).pixels
    probability = torch.stack([fantasies[labels == topic].mean(0) for topic in range(net.labels)])
    over = probability - probability.mean(0)
    return [[words[column] for column in row[:count]] for row in over.argsort(1, descending=True)]


def topics(options: WordsOptions, train: Split, test: Split, words: tuple[str, ...]) -> Found:
    """Yield accuracy of topics, percent, and the points behind logistic regression, a value a
    seed.
    """
    baseline, percents = logistic(train, test), []
    for seed in range(options.seeds):
        net = kept(options.folder / f"words-{seed}.safetensors", train, seed)
        percents.append(accuracy(classify.predict(net, test.images), test))
    behind = [baseline - each for each in percents]
    yield "20news", "topic_accuracy_behind_logistic_points", behind, {"reported": "2 (bar)"}
    rows = words_of_topics(net, words, options.words)
    yield "20news", "topic_accuracy_percent", percents, {"dreamt": rows}
    yield "20news-logistic", "topic_accuracy_percent", [baseline], {}
    for row in rows:
        print(" ".join(row), flush=True)


def main(argv: list[str]) -> None:
    """Measure what was asked for and save the rows, or print what was chosen by."""
    options = tyro.cli(WordsOptions, description=__doc__, args=argv)
    news = load("20news", folder=options.data)
    train, test = news.train, news.test
    assert train.labels is not None
    assert test is not None
    if options.choose:
        held = np.arange(len(train)) % 5 == 4
        train, test = (
            Split(train.images[each], train.labels[each])
            for each in (torch.from_numpy(~held), torch.from_numpy(held))
        )
        for c in (0.1, 0.3, 1.0):
            print(f"logistic regression, C = {c}: {logistic(train, test, c):.2f} %")
        print(f"ours: {accuracy(classify.predict(memory(train, 0), test.images), test):.2f} %")
        return
    command = shlex.join(["python", "-m", "benchmarks.senses.words", *argv])
    part = partial(topics, options, train, test, news.columns)
    for _ in measure("senses", [part], out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
