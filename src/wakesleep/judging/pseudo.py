"""Pseudo-likelihood: how well an RBM knows each visible unit from all the others. Cheap, exact, and only a proxy of the likelihood.

    log PL(v) = sum_i log p(v_i | v_-i) = -sum_i softplus(F(v) - F(v with unit i turned))

A softmax group counts as one unit that knows all others: log p(its state | all other units).

Source: Besag (1975); the guide to deep learning's and scikit-learn's monitor of an RBM, which draw one i a case instead of all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.model.rbm import RBM
from wakesleep.model.units import Bernoulli, Softmax, columns_of
from wakesleep.sources import cases as rows


def pseudo_log_likelihood(rbm: RBM, visible: Tensor, *, checked: bool = False) -> Tensor:
    """Return sum_i log p(v_i | v_-i) of each case (N, visible), binary units of 0 or 1 and one-hot softmax groups: (N,), nats.

    Values between 0 and 1 of binary units are taken as they are. `checked` says that the cases were looked at already.

    Raises:
        DataError: cases that do not fit the machine, NaN, or values out of range.
    """
    if not checked:
        visible = rows.as_probs(rows.as_cases(visible, rbm.visible.size, rbm.weight)).to(rbm.weight.dtype)
    total_input = rbm.hidden_input(visible)
    partition = rbm.hidden.log_partition(total_input)
    turn = 1 - 2 * visible
    score = torch.zeros_like(partition)
    for unit in (unit for columns in columns_of(rbm.visible, Bernoulli) for unit in range(columns.start, columns.stop)):
        turned = rbm.hidden.log_partition(torch.addcmul(total_input, turn[:, unit, None], rbm.weight[unit]))
        score -= softplus(turn[:, unit] * rbm.visible_bias[unit] + turned - partition)
    for columns in columns_of(rbm.visible, Softmax):
        others = total_input - visible[:, columns] @ rbm.weight[columns]
        score += (visible[:, columns] * torch.log_softmax(rbm.group_scores(others, columns), 1)).sum(1)
    return score
