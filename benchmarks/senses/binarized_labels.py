"""How probable a deep belief net with labels finds pictures together with their labels: a lower
bound on log p(x, y) of MNIST binarised once.

    python -m benchmarks.senses.binarized_labels --folder runs/senses

Binary cases are drawn once, with seed 0, from the intensities: training pictures, then test
pictures. The net is 784-500-2000 with ten labels in its memory. The first RBM learns the pictures;
the memory begins as its mirror image, its label weights at zero, and learns features drawn anew in
each epoch with the labels beside them. Settings are those that benchmarks/likelihood.py chose on
held-out columns of another binarised MNIST. Training is resumable: an epoch at most is lost.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import Tensor

from benchmarks.likelihood import LikelihoodMeasureOptions, features, mirror, train
from wakesleep.data import load
from wakesleep.evaluation import classify, likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.sources.arrays import draw_binary, one_hot

LABELS = 10


@dataclass(frozen=True)
class BinarizedLabelsOptions:
    """Train what is not trained yet, and save the rows."""

    training: LikelihoodMeasureOptions = field(
        default_factory=lambda: LikelihoodMeasureOptions(folder=Path("runs/senses"))
    )
    """Layer sizes, settings of both RBMs, seed, precision, threads; `parts`, `mat` and `out` are
    not used.
    """
    folder: Path = Path("runs/senses")
    """Where nets in training and trained ones lie."""
    samples: int = 100
    """Of the recognition distribution, a case."""
    hold_out: int = 0
    """Score on so many of the last training pictures, and do not train on them; nothing is saved.
    """
    out: Path = Path("results/senses.json")
    """Where the rows go."""
    threads: int = 1
    """CPU threads."""


def binarized() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return pictures (N, 784), bool, drawn once with seed 0, and labels: training, then test."""
    dataset, rng = load("mnist"), generator(0)
    assert dataset.test is not None
    parts = []
    for part in (dataset.train, dataset.test):
        assert part.labels is not None
        parts.append((draw_binary(part.images, rng).bool(), part.labels.long()))
    return parts[0], parts[1]


def memory_over(first: RBM, top: int, labels: Tensor, rng: torch.Generator) -> DBN:
    """Return a net of `first` and a memory that begins as its mirror image, the label units at the
    shares of `labels` (N,) and their weights at zero: log p(x, y) begins at log p(x) + log p(y).
    """
    dbn = DBN((first.visible.size, first.hidden.size, top), labels=LABELS, rng=rng)
    mirrored = mirror(first, top, rng)
    for there, learned in zip(dbn.rbm(0).parameters(), first.parameters(), strict=True):
        there.copy_(learned)
    columns = dbn.label_columns
    dbn.memory.weight[: columns.start] = mirrored.weight
    dbn.memory.weight[columns] = 0
    dbn.memory.hidden_bias.copy_(mirrored.hidden_bias)
    dbn.memory.visible_bias[: columns.start] = mirrored.visible_bias
    counts = torch.bincount(labels, minlength=LABELS)
    dbn.memory.visible_bias[columns] = (counts / counts.sum()).log()
    return dbn


def trained(options: BinarizedLabelsOptions, cases: Tensor, labels: Tensor) -> DBN:
    """Return the net, trained on binary cases (N, 784) and labels (N,)."""
    settings = options.training
    rng = generator(settings.seed)
    first = RBM(cases.shape[1], settings.hidden, rng=rng, weight_std=0.01)
    cd.init_visible_bias(first, cases)
    path = options.folder / "labels-rbm.safetensors"
    first = train(path, first, settings.rbm, lambda _: cases.clone(), settings, "rbm")
    dbn = memory_over(first, settings.top, labels, rng)
    beside = one_hot(labels, LABELS).bool()
    train(
        options.folder / "labels-memory.safetensors",
        dbn.memory,
        settings.dbn,
        lambda draws: torch.cat([features(first, cases, draws), beside], 1),
        settings,
        "memory",
    )
    checkpoint.save(dbn, options.folder / "labels-model.safetensors")
    return dbn


def main(argv: list[str]) -> None:
    """Train, score and save the rows."""
    options = tyro.cli(BinarizedLabelsOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.senses.binarized_labels", *argv])
    torch.set_num_threads(options.threads)
    (cases, labels), (test, test_labels) = binarized()
    if options.hold_out:
        test, test_labels = cases[-options.hold_out :], labels[-options.hold_out :]
        cases, labels = cases[: -options.hold_out], labels[: -options.hold_out]
    options.folder.mkdir(parents=True, exist_ok=True)
    dbn = trained(options, cases, labels)
    rng = generator(options.training.seed)
    below = torch.cat(
        [features(dbn.rbm(0), cases[:20_000], rng), one_hot(labels[:20_000], LABELS).bool()], 1
    )
    log_z = likelihood.log_partition(
        dbn.memory, below, rng=rng, target_error=options.training.target_error,
        limit=options.training.limit,
    )  # fmt: skip
    result = likelihood.score(
        dbn, test.float(), log_z, rng=rng, samples=options.samples, labels=test_labels
    )
    seen = likelihood.score(
        dbn, cases[:10_000].float(), log_z, rng=rng, samples=20, labels=labels[:10_000]
    )
    wrong = classify.count_errors(classify.predict(dbn, test.float()), test_labels)
    figures = {
        "joint_bound": result.importance_weighted - result.mean + result.conservative,
        "joint_bound_variational": result.conservative,
        "joint_bound_variational_reverse": result.reverse,
        "train_joint_bound_variational": seen.conservative,
        "label_error_percent": 100 * wrong / len(test),
    }
    rows = [
        results.row(
            "senses",
            "binarized-mnist-labels",
            metric,
            [value],
            seeds=[options.training.seed],
            reported="-86.3 multimodal VAE" if metric == "joint_bound" else "",
            command=command,
            log_z=log_z.as_json(),
            error=result.error,
            samples=options.samples,
            mean_with_log_z_at_its_estimate=result.mean,
        )
        for metric, value in figures.items()
        if value is not None
    ]
    for row in rows:
        print(row["row"], row["metric"], row["value"], flush=True)
    if not options.hold_out:
        results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
