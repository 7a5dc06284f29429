"""How the units' own parameters learn in contrastive divergence: a precision, level biases.

Their rate is a tenth of that of the weights, the first epochs leave them alone, and they stay in
the range that the data's spread gives (`Units.keep_in_range`). Sources: Cho, Ilin & Raiko (2011),
learning log-variances; Melchior, Wang & Wiskott (2017), "Gaussian-binary restricted Boltzmann
machines for modeling natural image statistics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.compute.ops import Dense
from wakesleep.learning.configs import CDConfig
from wakesleep.learning.momentum import Gradients
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.units import Context, Units
from wakesleep.units.gaussian import unit_if_constant

if TYPE_CHECKING:
    from wakesleep.learning.cd import Contrast
    from wakesleep.learning.cd_state import CDState


def moments(
    cases: Tensor | arrays.Rows, weights: Tensor | None = None, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each column (visible,) over the cases of all ranks, float64, see
    `arrays.moments`.
    """
    mean, variance = arrays.moments(cases, weights, None if context is None else context.mask)
    if distributed.ranks() > 1:
        square, mean = mean_over_ranks(variance + mean.square()), mean_over_ranks(mean)
        variance = square - mean.square()
    return mean, variance


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of all ranks' values."""
    return distributed.all_reduce_sum(values) / distributed.ranks()


def spread(mean: Tensor, variance: Tensor, rbm: RBM) -> Tensor:
    """Return the standard deviations of columns (visible,), 1 of those that do not vary."""
    return unit_if_constant(mean, variance).sqrt().to(rbm.weight.device, rbm.weight.dtype)


def gradients(contrast: Contrast, rbm: RBM, config: CDConfig) -> Gradients:
    """Return the gradients of the units' own parameters: their sufficient statistics T over the
    data less under the model.

    The model's are those of sampled states, or, where means stand for visible states, E[T | h] of
    the hidden states they were made from. Hidden units learn no scale: their weights have one.
    """
    names: dict[str, Tensor] = {}
    if contrast.learns_visible:
        names |= _visible_gradients(contrast, rbm, config)
    if contrast.learns_hidden:
        hidden = hidden_gradients(rbm, contrast.data, contrast.model, contrast.context)
        names |= {f"hidden.{name}": gradient for name, gradient in hidden.items()}
    return {name: [Dense(gradient, 1.0)] for name, gradient in names.items()}


def _visible_gradients(contrast: Contrast, rbm: RBM, config: CDConfig) -> dict[str, Tensor]:
    """Return the gradients of the visible units' parameters; where means stand for states, the
    total input that they were made from lies in `scratch_probs`.
    """
    c = contrast
    if config.sample_visible or config.persistent:
        model = rbm.visible.statistics(c.model)
    else:
        model = rbm.visible.moments(c.scratch_probs, c.context)
    by_name = rbm.visible.parameter_gradients(rbm.visible.statistics(c.data).mean(0), model.mean(0))
    held = rbm.visible.held
    return {f"visible.{name}": value for name, value in by_name.items() if name not in held}


def hidden_gradients(
    rbm: RBM, data: Tensor, model: Tensor, context: Context | None = None
) -> dict[str, Tensor]:
    """Return the gradients of the hidden units' own parameters but their scales, given visible
    states of both halves, (N, visible) each.
    """
    seen, expected = (
        rbm.hidden.moments(rbm.hidden_input(states, context=context)).mean(0)
        for states in (data, model)
    )
    gradients = rbm.hidden.parameter_gradients(seen, expected)
    held = rbm.hidden.scales
    return {name: gradient for name, gradient in gradients.items() if name not in held}


def there_are(units: Units) -> bool:
    """Return whether units have parameters of their own."""
    return any(True for _ in units.parameters())


def keep_in_range(rbm: RBM, state: CDState) -> None:
    """Put the own parameters of both layers back in their range, in place."""
    rbm.visible.keep_in_range(state.visible_std)
    rbm.hidden.keep_in_range()
