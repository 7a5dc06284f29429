"""The gradient of log p(label | the other visible units) of an RBM that holds labels: what keeps
recognition right while chains teach it what to generate.

Source: Larochelle & Bengio (2008).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute.ops import Product, RowSum
from wakesleep.learning.momentum import Gradients


class DrawnLabels(NamedTuple):
    """Cases whose label y' is drawn from p(label | x), beside the same cases with their own label
    y.
    """

    change: Tensor
    """y - y', (N, labels)."""
    hidden: Tensor
    """E[h | x, y'], (N, hidden)."""
    weight: float
    """How much a nat of log p(label | x) counts."""


def label_gradients(sampled: DrawnLabels, data: Tensor, positive: Tensor) -> Gradients:
    """Return an unbiased estimate of the weighted gradient of log p(label | x), by parameter of the
    RBM, means over N cases: `data` (N, visible) are x and y, labels last; `positive` (N, hidden) is
    E[h | x, y].

        dW = <v h'>_(x, y) - <v h'>_(x, y')     dc = <h>_(x, y) - <h>_(x, y')     db = y - y'
    """
    change, other, weight = sampled
    n, labels = change.shape
    difference = weight * (positive - other)
    # v h' - v' h'' = v (h - h')' + (v - v') h'', and v - v' is y - y' in the label's columns
    moved = torch.zeros_like(data)
    moved[:, -labels:] = change
    return {
        "weight": [Product(data, difference, 1 / n), Product(moved, other, weight / n)],
        "visible_bias": [RowSum(moved, weight / n)],
        "hidden_bias": [RowSum(difference, 1 / n)],
    }
