"""How the units' own parameters learn in contrastive divergence: a precision, level biases.

Their rate is a tenth of that of the weights, the first epochs leave them alone, and they stay in
the range that the data's spread gives (`Units.keep_in_range`). Sources: Cho, Ilin & Raiko (2011),
learning log-variances; Melchior, Wang & Wiskott (2017), "Gaussian-binary restricted Boltzmann
machines for modeling natural image statistics".
"""

from __future__ import annotations

from torch import Tensor

from wakesleep.compute import distributed
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.units import Context, Units
from wakesleep.units.gaussian import unit_if_constant


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


def visible_gradients(units: Units, data: Tensor, expected: Tensor) -> dict[str, Tensor]:
    """Return the gradients of visible units' own parameters but those held, given their states
    `data` (N, visible) and the model's statistics T, or E[T | h], `expected` (N, ...).
    """
    gradients = units.parameter_gradients(units.statistics(data).mean(0), expected.mean(0))
    held = units.held
    return {name: gradient for name, gradient in gradients.items() if name not in held}


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
