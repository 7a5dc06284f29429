"""Ensembles: the predictions of several nets, or of several stochastic up-passes of one, become
one.

Averaging probabilities asks how many agree; averaging log-probabilities (a product of experts,
normalised) lets one that is sure of a "no" overrule the others. Source: Hinton (2007), where three
nets are combined; Hinton, Osindero & Teh (2006), section 6.2, for up-passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wakesleep.evaluation import classify
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.dbn import DBN
from wakesleep.sources.axes import LogProbs

Average = Literal["probs", "log-probs"]


@check_arguments
def average(predictions: Sequence[LogProbs], how: Average = "probs") -> Tensor:
    """Return the average of log p(label | image) tensors (N, labels), nats: log mean_m p_m, or log
    softmax(mean_m log p_m).

    Raises:
        ConfigError: no predictions, of different shapes, or another kind of average.
    """
    if not predictions or len({prediction.shape for prediction in predictions}) != 1:
        raise ConfigError(
            f"predictions of shapes {[tuple(prediction.shape) for prediction in predictions]}: "
            "expected at least one, all of one shape"
        )
    if how not in ("probs", "log-probs"):
        raise ConfigError(f"an average of {how!r}: expected 'probs' or 'log-probs'")
    stacked = torch.stack(list(predictions))
    if how == "probs":
        return torch.logsumexp(stacked, 0) - math.log(len(stacked))
    return torch.log_softmax(stacked.mean(0), 1)


@check_arguments
def up_passes(
    dbn: DBN, images: Tensor, *, count: int, rng: torch.Generator, how: Average = "probs"
) -> Tensor:
    """Return log p(label | image) averaged over `count` stochastic up-passes of images (N, pixels),
    (N, labels), nats.

    A single stochastic up-pass costs about 0.5 points on MNIST; twenty recover it.

    Raises:
        ConfigError: fewer than one, or a memory without labels.
    """
    if count < 1:
        raise ConfigError(f"{count} up-passes: expected at least 1")
    return average([classify.log_probs(dbn, images, rng) for _ in range(count)], how)
