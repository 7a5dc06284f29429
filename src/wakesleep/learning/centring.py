"""The centred gradient, and its standardised form: both layers of a contrast measured from their
running means, and divided by their running variances.

    dW_ij = <(v_i - m_i)(h_j - m_j)>_data - <...>_model,   divided by Var v_i Var h_j

The biases that learn are then a + W m_h and b + m_v W; the machine stays the same. Sources:
Montavon & Muller (2012); Melchior, Fischer & Wiskott (2016); for the division the standardised
machines of RestrictedBoltzmannMachines.jl, whose steepest ascent it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.compute.ops import Product
from wakesleep.learning.cd_state import CDState
from wakesleep.learning.contrast import Contrast
from wakesleep.models.rbm import RBM

NEW = 0.01
"""How far a running moment goes towards that of a minibatch."""
FLOOR = 0.01
"""What is added to variances that gradients are divided by."""


def update_means(contrast: Contrast, rbm: RBM, state: CDState) -> None:
    """Move the running means of both layers, and their variances where there are some, a hundredth
    of the way to the data's.

    The variance of a hidden unit is that of its mean and the mean of its variance given the case.
    """
    n = contrast.size
    assert state.visible_mean is not None
    assert state.hidden_mean is not None
    means = (state.visible_mean, state.hidden_mean)
    for states, mean, scale in zip(
        (contrast.visible, contrast.hidden), means, (contrast.bias_scale, None), strict=True
    ):
        batch = states[:n].mean(0, dtype=mean.dtype)
        batch = batch if scale is None else batch / scale[:n].mean().clamp(min=1e-30)
        mean.lerp_(distributed.all_reduce_mean(batch), NEW)
    if state.visible_variance is None:
        return
    assert state.hidden_variance is not None
    within = _variance_given_data(contrast, rbm)
    for states, mean, variance, more in (
        (contrast.data, _offset(state.visible_mean, contrast, n), state.visible_variance, None),
        (contrast.positive, state.hidden_mean, state.hidden_variance, within),
    ):
        batch = (states - mean).square().mean(0, dtype=variance.dtype)
        batch = batch if more is None else batch + more
        variance.lerp_(distributed.all_reduce_mean(batch), NEW)


def centre(contrast: Contrast, state: CDState) -> None:
    """Measure both halves of the contrast from the running means.

    The biases' gradients, differences of two means, stay as they were.
    """
    n = contrast.size
    assert state.visible_mean is not None
    assert state.hidden_mean is not None
    contrast.visible -= _offset(state.visible_mean, contrast, 2 * n)
    contrast.hidden[:n] -= state.hidden_mean
    contrast.hidden[n:] += state.hidden_mean


def precondition(contrast: Contrast, state: CDState) -> tuple[Tensor, Tensor] | None:
    """Return what the gradient of the weights is multiplied by, (visible,) and (hidden,), whose
    products it is: 1 / Var v_i and 1 / Var h_j of a standardised one, times c^2 of the visible
    unit's group; None for 1.
    """
    scales = contrast.group_scales
    if state.visible_variance is None or state.hidden_variance is None:
        return None if scales is None else (scales.square(), torch.ones_like(contrast.hidden[0]))
    rows, columns = (1 / (v + FLOOR) for v in (state.visible_variance, state.hidden_variance))
    return (rows if scales is None else rows * scales.square()), columns


def divided(contrast: Contrast, factors: tuple[Tensor, Tensor]) -> Product:
    """Return the gradient of the weights times what `precondition` says, as a product of rows."""
    visible, hidden = (factor.to(contrast.visible.dtype) for factor in factors)
    return Product(contrast.visible * visible, contrast.hidden * hidden, 1 / contrast.size)


def keep_biases(rbm: RBM, state: CDState) -> None:
    """Take back what the last move of the weights added to a + W m_h and b + m_v W, which are the
    biases that learn.
    """
    assert state.visible_mean is not None
    assert state.hidden_mean is not None
    rbm.visible_bias.addmv_(state.velocity["weight"], state.hidden_mean, alpha=-1.0)
    rbm.hidden_bias.addmv_(state.velocity["weight"].t(), state.visible_mean, alpha=-1.0)


def _offset(mean: Tensor, contrast: Contrast, rows: int) -> Tensor:
    """Return what the first `rows` of the visible states are measured from: the mean, (visible,),
    or, where biases beyond are multiplied in each case, as many times the mean, (rows, visible).
    """
    return mean if contrast.bias_scale is None else contrast.bias_scale[:rows] * mean


def _variance_given_data(contrast: Contrast, rbm: RBM) -> Tensor:
    """Return the mean over cases of Var[h_j | v], (hidden,)."""
    units, positive = rbm.hidden, contrast.positive
    if units.n_bernoulli == units.size:
        return (positive * (1 - positive)).mean(0)
    return units.variance(rbm.hidden_input(contrast.data, context=contrast.context)).mean(0)
