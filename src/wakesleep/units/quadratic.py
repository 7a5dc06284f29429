"""What families with a learned precision share: U(s) = g s^2 / 2, statistics s and s^2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wakesleep.units.base import Units, with_parameters
from wakesleep.units.elementwise import Elementwise


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
