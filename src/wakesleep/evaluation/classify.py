"""Recognition by the generative model: the exact free energy of the memory with each label on in
turn.

    -F(y) = labgen_y + sum_j softplus(topbias_j + (penultimate pentop)_j + labtop_yj)
    log p(y | penultimate) = log softmax_y(-F(y))

Source: Hinton, Osindero & Teh (2006), section 6.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import inputs
from wakesleep.models.dbm import DBM, STEPS
from wakesleep.models.dbn import DBN
from wakesleep.sources import arrays
from wakesleep.sources.axes import Features, LogProbs, SomeLabels


@check_arguments
def memory_label_scores(dbn: DBN, features: Features) -> Tensor:
    """Return -F(label) up to a constant that all labels share, from penultimate activities (N,
    features): (N, labels), nats.

    Raises:
        ConfigError: the memory holds no labels.
    """
    if not dbn.labels:
        raise ConfigError(
            "this net's memory holds no labels, so it cannot name one; fine-tune it, or train "
            "with DBN(..., labels=10)"
        )
    return dbn.memory.group_scores(dbn.top_input(features), dbn.label_columns)


@check_arguments
def log_probs(dbn: DBN, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Return log p(label | penultimate activities) of each image (N, pixels), (N, labels), nats.

    The up-pass is deterministic (probabilities), or stochastic where `rng` is given (about 0.5
    points worse on MNIST; averaging some twenty recovers it).

    Raises:
        ConfigError: the memory holds no labels.
        DataError: images that do not fit the net, NaN, or values out of range.
    """
    weight = dbn.memory.weight
    images = dbn.check_cases(images, rng=rng)
    scores = [
        memory_label_scores(dbn, dbn.up(chunk.to(weight.dtype), rng)[-1])
        for chunk in arrays.chunks(images)
    ]
    return torch.log_softmax(torch.cat(scores), 1)


@check_arguments
def mean_field_log_probs(dbm: DBM, images: Tensor, *, steps: int = STEPS) -> Tensor:
    """Return log q(label | image) of each image (N, pixels) by a deep Boltzmann machine, (N,
    labels), nats: q is the mean field of all hidden layers, of which the label is one, and of what
    is NaN.

    Raises:
        ConfigError: the machine holds no labels.
        DataError: images that do not fit the machine.
    """
    if not dbm.labels:
        raise ConfigError(
            "this machine holds no labels, so it cannot name one; fine-tune it, or train with "
            "DBM(..., labels=10)"
        )
    cases, known = inputs.filled(dbm.check_cases(images, missing=True), dbm.even["visible"])
    log_probs = []
    for rows in (slice(start, start + 2000) for start in range(0, len(cases), 2000)):
        seen = None if known is None else known[rows]
        q = dbm.mean_field(dbm.as_numbers(cases[rows]), steps=steps, known=seen)
        side, means = (dbm.even, q.even) if "label" in dbm.even.names else (dbm.odd, q.odd)
        log_probs.append(means[:, side.columns("label")].clamp(min=1e-30).log())
    return torch.cat(log_probs)


@check_arguments
def predict(dbn: DBN, images: Tensor) -> Tensor:
    """Return the most probable label of each image (N, pixels), (N,); arguments and errors as in
    `log_probs`.
    """
    return log_probs(dbn, images).argmax(1)


@check_arguments
def count_errors(predicted: SomeLabels, labels: Tensor) -> int:
    """Return how many predictions (N,) differ from the labels (N,).

    Raises:
        DataError: other shapes.
    """
    predicted = arrays.as_labels(predicted, len(predicted), None, lowest=arrays.UNLABELLED)
    labels = arrays.as_labels(labels, len(predicted), None, lowest=arrays.UNLABELLED).to(
        predicted.device
    )
    return int((predicted != labels).sum())


@check_arguments
def errors_and_loss(log_probs: LogProbs, labels: Tensor) -> tuple[int, float]:
    """Return how many labels (N,) the most probable ones miss, and the cross-entropy, nats a case,
    of log p(label | image), (N, labels).
    """
    labels = arrays.as_labels(labels, *log_probs.shape).to(log_probs.device)
    return count_errors(log_probs.argmax(1), labels), float(nll_loss(log_probs, labels))
