"""Whether p(v, h) = exp(-E(v, h)) / Z can be normalised where the states of both layers are
unbounded.

With U_v and U_h growing at least as g s^2 / 2 far out (`Units.tail_precision`; of two halves the
smaller g), the integral of exp(-E) is finite if the spectral norm of

    G_v^-1/2 W G_h^-1/2,    columns with bounded states left out,

is below 1: for Gaussian units exactly then, for truncated ones it is sufficient. Counts without a
limit, whose log s! grows more slowly than a square, need bounded states beyond.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wakesleep.compute import precision
from wakesleep.foundation.errors import ConfigError
from wakesleep.units import Units

if TYPE_CHECKING:
    from wakesleep.models.rbm import RBM

LARGEST = 0.995
"""Where the norm is put back to: the most probable direction then varies a hundred times as much as
it would alone.
"""


def check_pair(visible: Units, hidden: Units) -> None:
    """Raise ConfigError unless two layers of such units can be normalised with some weights, and
    the hidden ones need no count of each case.
    """
    if hidden.needs_count:
        raise ConfigError(
            f"hidden units {hidden}: their count comes with each case, which only visible units "
            "have; expected e.g. Binomial or Categorical units"
        )
    pairs = ((visible, hidden), (hidden, visible))
    for one, other in pairs:
        if bool((one.tail_precision() == 0).any()) and bool(
            other.tail_precision().isfinite().any()
        ):
            raise ConfigError(
                f"{visible} beside {hidden}: counts without a limit beside states without a limit "
                "have no normaliser whatever the weights; expected units of bounded states on the "
                "other side, e.g. Bernoulli, or Binomial units for the counts"
            )


def is_bounded(rbm: RBM) -> bool:
    """Return whether one layer's states are bounded, so that every such machine is normalised."""
    return any(bool(units.tail_precision().isinf().all()) for units in (rbm.visible, rbm.hidden))


def scaled_weight(rbm: RBM) -> Tensor:
    """Return G_v^-1/2 W G_h^-1/2, (visible, hidden), 0 where states are bounded."""
    rows, columns = (
        units.tail_precision().to(rbm.weight).rsqrt() for units in (rbm.visible, rbm.hidden)
    )
    return rows[:, None] * rbm.weight * columns


def spectral_norm(rbm: RBM) -> float:
    """Return the spectral norm of G_v^-1/2 W G_h^-1/2, 0 where one layer is bounded."""
    if is_bounded(rbm):
        return 0.0
    # whatever is infinite is reported where weights are checked
    return float(
        torch.linalg.matrix_norm(torch.nan_to_num(scaled_weight(rbm).detach().double()), 2)
    )


def check(rbm: RBM) -> None:
    """Raise ConfigError unless the machine is seen to be normalised."""
    norm = spectral_norm(rbm)
    if norm >= 1:
        raise ConfigError(
            f"{rbm.visible} beside {rbm.hidden}: with these weights p(v, h) may have no "
            f"normaliser, for the spectral norm of G_v^-1/2 W G_h^-1/2 is {norm:.4g}; expected "
            "below 1, G the precisions. Begin with smaller weights (RBM(..., "
            f"weight_std=0.01)), or make these smaller: rbm.weight *= {0.5 / norm:.3g}"
        )


class Guard:
    """Keeps a machine that learns normalised: after each update the norm is followed by a step of
    the power method, and weights that cross are scaled back, those of `copy`, the machine in lower
    precision, with them.
    """

    def __init__(self, rbm: RBM, copy: RBM | None = None) -> None:
        self.rbm, self.copy, self.needed = rbm, copy or rbm, not is_bounded(rbm)
        self.crossed = torch.zeros((), device=rbm.weight.device)
        """How many updates crossed since `begin_epoch`."""
        rows, columns = (units.tail_precision().isfinite() for units in (rbm.visible, rbm.hidden))
        self.unbounded = torch.outer(rows, columns).to(rbm.weight)
        self.right = rbm.weight.new_zeros(rbm.hidden.size)

    def begin_epoch(self) -> None:
        """Find the leading singular vector anew, so that epochs do not depend on those before."""
        self.crossed.zero_()
        if self.needed:
            weight = torch.nan_to_num(scaled_weight(self.rbm).double())
            self.right.copy_(torch.linalg.svd(weight, full_matrices=False).Vh[0])

    def after_update(self) -> None:
        """Scale the weights between unbounded units back where their norm is above `LARGEST`."""
        if self.needed:
            weight = scaled_weight(self.rbm)
            back = weight.t() @ (weight @ self.right)
            self.right.copy_(back / back.norm().clamp(min=1e-30))
            self._scale_back((weight @ self.right).norm())

    def end_epoch(self) -> int:
        """Do it by the exact norm, and return how many updates of the epoch crossed."""
        if self.needed:
            self._scale_back(self.crossed.new_tensor(spectral_norm(self.rbm)))
        return int(self.crossed)

    def _scale_back(self, norm: Tensor) -> None:
        """Multiply the weights between unbounded units so that the norm is at most `LARGEST`."""
        factor = (LARGEST / norm.clamp(min=1e-30)).clamp(max=1).to(self.rbm.weight)
        self.crossed += factor < 1
        self.rbm.weight.mul_(1 - (1 - factor) * self.unbounded)
        precision.sync(self.copy, self.rbm)
