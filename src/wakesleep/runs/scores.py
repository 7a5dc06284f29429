"""The errors of a model on labelled cases, and which cases a run is judged by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.data import Dataset, Split
from wakesleep.data.unlabelled import labelled
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning import backprop, deep_boltzmann
from wakesleep.models.dbm import DBM
from wakesleep.models.dbn import DBN
from wakesleep.runs.cases import parts


def tested(dataset: Dataset, validation: float) -> tuple[str, Split]:
    """Return what a run's errors are counted on, and what it is: "test", else "validation", which
    picked the epoch, else "train".
    """
    if dataset.test is not None:
        return "test", dataset.test
    held_out = parts(dataset, validation)[1]
    return ("train", labelled(dataset.train)) if held_out is None else ("validation", held_out)


def own_method(model: DBN | DBM) -> str:
    """Return the name of how a generative model tells labels by itself."""
    return "free-energy" if isinstance(model, DBN) else "mean-field"


def log_probs(model: DBN | DBM, net: nn.Sequential | None, images: Tensor) -> Tensor:
    """Return log p(label | image) of images (N, pixels) by a generative model, or by the net
    fine-tuned from it: (N, labels).
    """
    if isinstance(model, DBN):
        return classify.log_probs(model, images) if net is None else backprop.log_probs(net, images)
    if net is None:
        return classify.mean_field_log_probs(model, images)
    parts = torch.split(images, 2000)
    return torch.cat(
        [backprop.log_probs(net, deep_boltzmann.features(model, part)) for part in parts]
    )


def evaluate(
    model: DBN | DBM,
    net: nn.Sequential | None,
    split: Split,
    name: str,
    method: str,
    part: str = "test",
) -> dict[str, Any]:
    """Return the errors of one method on labelled cases: `method` is `own_method(model)` or the
    name of a net.

    `part` says what cases they are: "test", "validation" or "train".

    Raises:
        ConfigError: the cases have no labels, or do not fit the net.
    """
    images, labels = cases_for(model, split, name)
    return score(log_probs(model, net, images), labels, name, method, part)


def cases_for(model: DBN | DBM, split: Split, name: str) -> tuple[Tensor, Tensor]:
    """Return images and labels on the net's device.

    Raises:
        ConfigError: the cases have no labels, or do not fit the net.
    """
    if split.labels is None:
        raise ConfigError(f"{name} has no labels, so errors cannot be counted")
    if split.images.shape[1] != model.sizes[0]:
        raise ConfigError(
            f"{name} has pictures of {split.images.shape[1]} pixels, the net expects "
            f"{model.sizes[0]}"
        )
    device = next(model.parameters()).device
    return split.images.to(device), split.labels.to(device)


def score(
    log_probs: Tensor, labels: Tensor, name: str, method: str, part: str = "test"
) -> dict[str, Any]:
    """Return the errors of log p(label | image), (N, labels), as a row of an evaluation: n_test,
    test_errors, test_error_percent.

    Of cases that were no test cases the names say so: n_validation, validation_errors, ...;
    n_train, train_errors, ... `guessing_errors` are those of the most frequent class for all.
    """
    errors, loss = classify.errors_and_loss(log_probs, labels)
    guessing = len(labels) - int(labels.bincount().max())
    return {
        "dataset": name,
        "part": part,
        f"n_{part}": len(labels),
        f"{part}_errors": errors,
        f"{part}_error_percent": round(100 * errors / len(labels), 4),
        "guessing_errors": guessing,
        "cross_entropy_nats": loss,
        "method": method,
    }
