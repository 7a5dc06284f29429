"""What is added to the gradient of an RBM's weights: penalties of their size, and the pull of
hidden units towards a target activity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.compute.ops import Dense, Term
from wakesleep.foundation.errors import ConfigError
from wakesleep.learning.cd_state import CDState
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.contrast import Contrast
from wakesleep.models.rbm import RBM


def weight_terms(
    weight: Tensor, config: CDConfig, factors: tuple[Tensor, Tensor] | None
) -> list[Term]:
    """Return the terms of ascent that `l1_penalty` and `l2l1_penalty` add for weights (visible,
    hidden).

    The gradient of -c1 sum |w| - c21 / 2D sum_j (sum_i |w_ij|)^2, D visible columns, is
    -(c1 + c21 mean_i |w_ij|) sgn w. With `factors` (visible,) and (hidden,), whose products the
    gradient of the likelihood is multiplied by (`centring.precondition`), the L2 penalty is among
    them and all are multiplied too: the optimum is then the same. Source of the second: Tubiana,
    Cocco & Monasson (2019), eLife 8, "Regularization".
    """
    pull: Tensor | None = None
    if config.l1_penalty or config.l2l1_penalty:
        size = weight.abs().mean(0).mul_(config.l2l1_penalty).add_(config.l1_penalty)
        pull = torch.sign(weight).mul_(size)
    if factors is not None and config.weight_decay:
        decay = config.weight_decay * weight
        pull = decay if pull is None else pull.add_(decay)
    if pull is None:
        return []
    if factors is not None:
        pull.mul_(factors[0][:, None]).mul_(factors[1])
    return [Dense(pull, -1.0)]


def check_sparsity(rbm: RBM, config: CDConfig) -> None:
    """Raise ConfigError where a target of activity is set to hidden units that have none."""
    if config.sparsity_cost and rbm.hidden.signed:
        raise ConfigError(
            f"sparsity_cost = {config.sparsity_cost} with hidden units {rbm.hidden}: states below "
            "0 have no share of activity; expected sparsity_cost=0, or units of 0 and above, e.g. "
            "Bernoulli or ReLU; an l1_penalty makes weights sparse"
        )


def add_sparsity_gradient(contrast: Contrast, config: CDConfig, state: CDState) -> None:
    """Add cost * (target - running mean activity) to every positive row: the cross-entropy's
    gradient (Hinton 2010, section 11).
    """
    assert state.activity is not None
    state.activity.mul_(0.9).add_(contrast.positive.mean(0, dtype=state.activity.dtype), alpha=0.1)
    contrast.positive.add_(config.sparsity_cost * (config.sparsity_target - state.activity))
