"""Real numbers with a learned precision g: U(s) = g s^2 / 2, Gamma(x) = sum_j x_j^2 / 2g_j +
log(2 pi / g_j) / 2, mean x / g, variance 1 / g.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wakesleep.units.quadratic import Quadratic
from wakesleep.units.registry import register


@register
class Gaussian(Quadratic):
    """Independent normal units of mean x_j / g_j and variance 1 / g_j.

    The precision is learned by its logarithm, `log_precision` (size,), 0 at the start.
    """

    signed = True

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return x^2 / 2g + log(2 pi / g) / 2."""
        return x.square() / (2 * self.precision) + (math.log(2 * math.pi) - self.log_precision) / 2

    def _mean(self, x: Tensor) -> Tensor:
        """Return x / g."""
        return x / self.precision

    def _variance(self, x: Tensor) -> Tensor:
        """Return 1 / g."""
        return (1 / self.precision).to(x.dtype).expand_as(x)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return x / g + noise / sqrt(g)."""
        noise = torch.empty_like(x).normal_(generator=rng)
        return x / self.precision + noise / self.precision.sqrt()

    def _moments(self, x: Tensor) -> list[Tensor]:
        """Return x / g and (x / g)^2 + 1 / g."""
        mean = self._mean(x)
        return [mean, mean.square() + 1 / self.precision]

    @torch.no_grad()
    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return g mean, (size,), and set g = 1 / variance, 1 for constant columns."""
        if variance is not None:
            self.log_precision.copy_(-torch.log(unit_if_constant(mean, variance)))
        return mean * self.precision


def unit_if_constant(mean: Tensor, variance: Tensor) -> Tensor:
    """Return the variances (size,), 1 for columns that do not vary but for rounding."""
    varies = variance > 1e-12 * mean.square()
    return torch.where(varies, variance, torch.ones_like(variance))
