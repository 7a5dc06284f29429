"""Pseudo-likelihood: how well an RBM knows each visible unit from all the others. Cheap, exact, and only a proxy of the likelihood.

    log PL(v) = sum_i log p(v_i | v_-i) = -sum_i softplus(F(v) - F(v with unit i turned))

Source: Besag (1975); the guide to deep learning's and scikit-learn's monitor of an RBM, which draw one i a case instead of all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.model.rbm import RBM


def pseudo_log_likelihood(rbm: RBM, visible: Tensor) -> Tensor:
    """Return sum_i log p(v_i | v_-i) of each case (N, visible), Bernoulli units of 0 or 1: (N,), nats."""
    total_input = rbm.hidden_input(visible)
    partition = rbm.hidden.log_partition(total_input)
    turn = 1 - 2 * visible
    score = torch.zeros_like(partition)
    for unit, (weight, bias) in enumerate(zip(rbm.weight, rbm.visible_bias, strict=True)):
        turned = rbm.hidden.log_partition(torch.addcmul(total_input, turn[:, unit, None], weight))
        score -= softplus(turn[:, unit] * bias + turned - partition)
    return score
