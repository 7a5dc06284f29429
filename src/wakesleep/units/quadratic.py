"""What families with a learned precision share: U(s) = g s^2 / 2, statistics s and s^2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wakesleep.units.base import Units, with_parameters
from wakesleep.units.elementwise import Elementwise

NARROWEST, WIDEST = 0.1, 1.1
"""Between which shares of the data's standard deviation 1 / sqrt(g) may lie: noise is not wider
than the data, and a precision that runs away fits a few cases (Melchior et al. 2017).
"""


def clamp_precision(log_precision: Tensor, std: Tensor) -> None:
    """Let 1 / sqrt(g) be within `NARROWEST` and `WIDEST` times the standard deviation (size,), in
    place.
    """
    middle = -2 * std.log().to(log_precision)
    log_precision.copy_(
        torch.clamp(log_precision, middle - 2 * math.log(WIDEST), middle - 2 * math.log(NARROWEST))
    )


class Quadratic(Elementwise):
    """Units with U(s) = g s^2 / 2, on whatever states the family has.

    The precision g is learned by its logarithm, `log_precision` (size,), 0 at the start.
    """

    def __init__(self, size: int, log_precision: Tensor | None = None) -> None:
        super().__init__(size)
        start = torch.zeros(self.size) if log_precision is None else log_precision
        self.log_precision = nn.Parameter(start, requires_grad=False)

    @property
    def precision(self) -> Tensor:
        """g, (size,)."""
        return self.log_precision.exp()

    def tail_precision(self) -> Tensor:
        """Return g, (size,)."""
        return self.precision

    @property
    def scales(self) -> list[str]:
        """The precision."""
        return ["log_precision"]

    def keep_in_range(self, std: Tensor | None = None) -> None:
        """Clamp the precision, see `clamp_precision`."""
        if std is not None:
            clamp_precision(self.log_precision, std)

    @property
    def n_slots(self) -> int:
        """Two: s and s^2."""
        return 2 * self.size

    def _potential(self, states: Tensor) -> Tensor:
        """Return g s^2 / 2."""
        return self.precision * states.square() / 2

    def _statistics(self, states: Tensor) -> list[Tensor]:
        """Return s and s^2."""
        return [states, states.square()]

    def parameter_gradients(self, data: Tensor, model: Tensor) -> dict[str, Tensor]:
        """Return dL / d log g = -g (<s^2>_data - <s^2>_model) / 2."""
        return {"log_precision": -self.precision * (data - model)[self.size :] / 2}

    def interpolate(self, base: Units, t: float | Tensor) -> Units:
        """Return the units whose precision is (1 - t) g_base + t g."""
        if type(base) is not type(self) or base is self:
            return self
        assert isinstance(base, Quadratic)
        if torch.equal(base.log_precision, self.log_precision):
            return self
        between = (1 - t) * base.precision + t * self.precision
        return with_parameters(self, log_precision=between.log())
