"""Numbers of 0 or more, normal but for that: U(s) = g s^2 / 2 on s >= 0, Gamma(x) = sum_j
log erfcx(-x_j / sqrt(2 g_j)) - log(2 g_j / pi) / 2, mean and variance of the truncated normal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wakesleep.foundation.errors import DataError
from wakesleep.units import truncated
from wakesleep.units.quadratic import Quadratic
from wakesleep.units.registry import register


@register
class ReLU(Quadratic):
    """Independent units whose states are normal, mean x_j / g_j and variance 1 / g_j, given s >= 0.

    The precision is learned by its logarithm, `log_precision` (size,), 0 at the start.
    Source: Tubiana, Cocco & Monasson (2019), "Learning protein constitutive motifs from sequence
    data", eLife 8.
    """

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return the logarithm of the integral of exp(x s - g s^2 / 2) over s >= 0."""
        return truncated.log_partition(x, self.precision)

    def _mean(self, x: Tensor) -> Tensor:
        """Return E[s]."""
        return truncated.moments(x, self.precision)[0].to(x.dtype)

    def _variance(self, x: Tensor) -> Tensor:
        """Return Var[s]."""
        return truncated.moments(x, self.precision)[1].to(x.dtype)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return truncated normal numbers."""
        return truncated.sample(x, self.precision, rng)

    def _moments(self, x: Tensor) -> list[Tensor]:
        """Return E[s] and E[s^2]."""
        mean, variance = truncated.moments(x, self.precision)
        return [mean.to(x.dtype), (variance + mean.square()).to(x.dtype)]

    @torch.no_grad()
    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the biases (size,) that give this mean, and set g so that they give the variance.

        The variance of a truncated normal is below its squared mean: where that of the data is not,
        only the mean is met. Constant columns have g = 1.
        """
        mean = mean.double().clamp(min=1e-3 if cases is None else 1 / (cases + 2))
        if variance is None:
            g = self.precision.double()
            wanted = mean * g.sqrt()
            a = _bisect(lambda a: truncated.moments(a, torch.ones_like(a))[0] < wanted, mean)
            return (a * g.sqrt()).to(self.log_precision.dtype)
        constant = ~(variance > 1e-12 * mean.square())
        wanted = variance.double() / mean.square()

        def below(a: Tensor) -> Tensor:
            first, second = truncated.moments(a, torch.ones_like(a))
            return torch.where(constant, first < mean, second > wanted * first.square())

        a = _bisect(below, mean)
        root = truncated.moments(a, torch.ones_like(a))[0] / mean
        root = torch.where(constant, torch.ones_like(root), root)
        self.log_precision.copy_(2 * root.log())
        return (a * root).to(self.log_precision.dtype)

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless every value is 0 or more."""
        super().validate(cases)
        if bool((cases < 0).any()):
            column = int((cases < 0).any(0).int().argmax())
            raise DataError(
                f"{self}: a value of {float(cases[:, column].min()):.7g} in column {column}; "
                "expected numbers of 0 or more; Gaussian or DReLU units take negative ones"
            )


def _bisect(below: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return where `below` (size,) turns from true to false, between -1e3 and 1e6, float64."""
    low, high = torch.full_like(like, -1e3), torch.full_like(like, 1e6)
    for _ in range(90):
        middle = (low + high) / 2
        under = below(middle)
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return (low + high) / 2
