"""Double rectified linear units, two half-normals that meet at 0, in the parameters of xReLU:

    U(s) = (g s^2 / 2 - d |s|) / (1 + eta sgn s),    eta = xi / (1 + |xi|)

With R the log-partition of one half (`truncated`), Gamma(x) = sum_j logaddexp(
R(x + d / (1 + eta), g / (1 + eta)), R(-x + d / (1 - eta), g / (1 - eta))). With d = xi = 0 they are
Gaussian. Source: Tubiana, Cocco & Monasson (2019), eLife 8; the parameters xi and d are those of
RestrictedBoltzmannMachines.jl.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.units import truncated
from wakesleep.units.base import Units, with_parameters
from wakesleep.units.elementwise import Elementwise
from wakesleep.units.gaussian import unit_if_constant
from wakesleep.units.quadratic import clamp_precision
from wakesleep.units.registry import register

MOST_GAP = 20.0
"""How far from 0 the peaks of a unit may lie, in units of 1 / sqrt(g)."""
MOST_SKEW = 20.0
"""Where one side is 6 times as wide as the other."""


class Halves(NamedTuple):
    """-U(s) = shift |s| - precision s^2 / 2 on either side of 0, natural parameters."""

    positive_shift: Tensor
    positive_precision: Tensor
    negative_shift: Tensor
    negative_precision: Tensor


@register
class DReLU(Elementwise):
    """Independent units of two half-normals: `log_precision`, log g; `gap`, d, positive where two
    peaks lie apart; `skew`, xi, positive where the positive side is wider; (size,) each.
    """

    signed = True
    between: Halves | None = None
    """The halves on a path between two layers, which have no such parameters."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.log_precision, self.gap, self.skew = (
            nn.Parameter(torch.zeros(self.size), requires_grad=False) for _ in range(3)
        )

    def halves(self) -> Halves:
        """Return shift and precision of either half, (size,) each."""
        if self.between is not None:
            return self.between
        wide, narrow = self._widths()
        g = self.log_precision.exp()
        return Halves(self.gap / wide, g / wide, self.gap / narrow, g / narrow)

    def _widths(self) -> tuple[Tensor, Tensor]:
        """Return 1 + eta and 1 - eta."""
        eta = self.skew / (1 + self.skew.abs())
        return 1 + eta, 1 - eta

    def tail_precision(self) -> Tensor:
        """Return the smaller precision of the two halves, (size,)."""
        halves = self.halves()
        return torch.minimum(halves.positive_precision, halves.negative_precision)

    @property
    def scales(self) -> list[str]:
        """The precision: with states c times as large it is g / c^2, and the gap d / c."""
        return ["log_precision"]

    def keep_in_range(self, std: Tensor | None = None) -> None:
        """Clamp the precision, see `clamp_precision`, the gap and the skew."""
        if std is not None:
            clamp_precision(self.log_precision, std)
        most = MOST_GAP * (self.log_precision / 2).exp()
        self.gap.copy_(torch.clamp(self.gap, -most, most))
        self.skew.clamp_(-MOST_SKEW, MOST_SKEW)

    @property
    def n_slots(self) -> int:
        """Five: s, the positive part and the negative part of s, and their squares."""
        return 5 * self.size

    def _potential(self, states: Tensor) -> Tensor:
        """Return (g s^2 / 2 - d |s|) / (1 + eta sgn s)."""
        h, up, down = self.halves(), states.clamp(min=0), (-states).clamp(min=0)
        return (h.positive_precision * up.square() + h.negative_precision * down.square()) / 2 - (
            h.positive_shift * up + h.negative_shift * down
        )

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return R of the positive and of the negative half."""
        h, x = self.halves(), x.double()
        return (
            truncated.log_partition(x + h.positive_shift, h.positive_precision),
            truncated.log_partition(h.negative_shift - x, h.negative_precision),
        )

    def _parts(self, x: Tensor) -> list[Tensor]:
        """Return E of the positive part, of the negative part, and of their squares, float64."""
        h, (up, down) = self.halves(), self._both(x)
        p, q = torch.sigmoid(up - down), torch.sigmoid(down - up)
        m, v = truncated.moments(x.double() + h.positive_shift, h.positive_precision)
        n, w = truncated.moments(h.negative_shift - x.double(), h.negative_precision)
        return [p * m, q * n, p * (v + m.square()), q * (w + n.square())]

    def _log_partition(self, x: Tensor) -> Tensor:
        """Return the logarithm of the sum of the halves' integrals."""
        return torch.logaddexp(*self._both(x)).to(x.dtype)

    def _mean(self, x: Tensor) -> Tensor:
        """Return E[s]."""
        up, down, _, _ = self._parts(x)
        return (up - down).to(x.dtype)

    def _variance(self, x: Tensor) -> Tensor:
        """Return p Var_+ + q Var_- + p q (difference of the halves' means)^2: nothing cancels."""
        h, (up, down) = self.halves(), self._both(x)
        p, q = torch.sigmoid(up - down), torch.sigmoid(down - up)
        m, v = truncated.moments(x.double() + h.positive_shift, h.positive_precision)
        n, w = truncated.moments(h.negative_shift - x.double(), h.negative_precision)
        return (p * v + q * w + p * q * (m + n).square()).to(x.dtype)

    def _sample(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return a half, and a number on it."""
        h, (up, down), y = self.halves(), self._both(x), x.double()
        positive = torch.empty_like(up).uniform_(generator=rng) < torch.sigmoid(up - down)
        shifted = torch.where(positive, y + h.positive_shift, h.negative_shift - y)
        g = torch.where(positive, h.positive_precision, h.negative_precision)
        size = truncated.sample(shifted, g, rng)
        return torch.where(positive, size, -size).to(x.dtype)

    def _statistics(self, states: Tensor) -> list[Tensor]:
        """Return s, its positive and negative parts, and their squares."""
        up, down = states.clamp(min=0), (-states).clamp(min=0)
        return [states, up, down, up.square(), down.square()]

    def _moments(self, x: Tensor) -> list[Tensor]:
        """Return their expectations."""
        parts = self._parts(x)
        return [part.to(x.dtype) for part in (parts[0] - parts[1], *parts)]

    def parameter_gradients(self, data: Tensor, model: Tensor) -> dict[str, Tensor]:
        """Return the halves' gradients, taken on to log g, d and xi by the chain rule."""
        _, up, down, up2, down2 = (data - model).view(5, self.size)
        wide, narrow = self._widths()
        h = self.halves()
        by_positive = up * h.positive_shift - up2 * h.positive_precision / 2
        by_negative = down * h.negative_shift - down2 * h.negative_precision / 2
        by_eta = by_negative / narrow - by_positive / wide
        return {
            "log_precision": -(up2 * h.positive_precision + down2 * h.negative_precision) / 2,
            "gap": up / wide + down / narrow,
            "skew": by_eta / (1 + self.skew.abs()).square(),
        }

    @torch.no_grad()
    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return g mean, (size,), and set g = 1 / variance, 1 for constant columns, d = xi = 0:
        Gaussian units. Without a variance the precision stays.
        """
        self.gap.zero_()
        self.skew.zero_()
        if variance is not None:
            self.log_precision.copy_(-torch.log(unit_if_constant(mean, variance)))
        return mean * self.log_precision.exp()

    def interpolate(self, base: Units, t: float | Tensor) -> Units:
        """Return the units whose halves' shifts and precisions are (1 - t) base + t self."""
        if not isinstance(base, DReLU) or base is self:
            return self
        pairs = list(zip(base.halves(), self.halves(), strict=True))
        if all(torch.equal(one, other) for one, other in pairs):
            return self
        middle = with_parameters(self)
        middle.between = Halves(*((1 - t) * one + t * other for one, other in pairs))
        return middle
