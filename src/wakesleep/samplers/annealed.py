"""The models between independent visible units (beta = 0) and an RBM (beta = 1): annealing goes
through them, tempering has a replica at each of some of them.

    log p*_beta(v) = (1 - beta) base'v + beta a'v - U_beta(v) + Gamma(beta (vW + b))

Gamma is the hidden units' log-partition (for binary units the sum of softplus); U_beta, the visible
units' potential, goes from the base's to the machine's (0 for binary units). Sources: Neal (2001);
Salakhutdinov & Murray (2008).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.compute.ops import accumulation_dtype, affine
from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import DataError
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Bias, Hidden, HiddenWritten, OneBeta, Visible, VisibleOut
from wakesleep.units import Context, Units


class Independent(NamedTuple):
    """A model of independent visible units, from which annealing and tempering start (beta = 0)."""

    units: Units
    """Their family, with its own parameters."""
    bias: Bias
    """(visible,)."""


@check_arguments
def as_independent(rbm: RBM, base: Bias | Independent) -> Independent:
    """Return the model of independent units; biases alone (visible,) go with the machine's own
    visible units.
    """
    return base if isinstance(base, Independent) else Independent(rbm.visible, base)


@check_arguments
def check_base(rbm: RBM, base: Bias | Independent) -> None:
    """Raise DataError unless the biases of the model of independent units are finite, one a visible
    unit.
    """
    bias = base.bias if isinstance(base, Independent) else base
    if tuple(bias.shape) != (rbm.visible.size,) or not bool(torch.isfinite(bias).all()):
        raise DataError(
            f"biases of shape {tuple(bias.shape)} of independent units: expected "
            f"{rbm.visible.size} finite numbers, one a visible unit, e.g. "
            "wakesleep.ais.base_rates(rbm, cases)"
        )


class Path(NamedTuple):
    """The models p_beta between `base` and `rbm`. `beta` is a number, or (N, 1), one a chain."""

    rbm: RBM
    base: Independent
    context: Context | None = None
    """Of the chains."""

    @check_arguments
    def units(self, beta: float | OneBeta) -> Units:
        """Return the visible units' family at beta."""
        return self.rbm.visible.interpolate(self.base.units, beta)

    @check_arguments
    def log_probs(
        self, visible: Visible, beta: OneBeta, total_input: Hidden | None = None
    ) -> Tensor:
        """Return log p*_beta(v), unnormalised, of visible (N, visible) at betas (N, 1): (N,),
        float32 or better, nats. `total_input` (N, hidden) is vW + b, where that is known.
        """
        if total_input is None:
            total_input = self.rbm.hidden_input(visible, context=self.context)
        total = beta * total_input
        visible, beta, total = (
            tensor.to(accumulation_dtype(tensor.dtype)) for tensor in (visible, beta, total)
        )
        bias = (visible @ self.base.bias.to(visible.dtype)) * (1 - beta[:, 0]) + (
            visible @ self.rbm.visible_bias.to(visible.dtype)
        ) * beta[:, 0]
        potential = self.units(beta).potential(visible, self.context)
        return bias - potential + self.rbm.hidden.log_partition(total)

    @check_arguments
    def gibbs_step(self, visible: Visible, beta: OneBeta, rng: torch.Generator) -> Tensor:
        """Return chains (N, visible) moved by one Gibbs step: h ~ p_beta(h | v), whose total input
        is beta (vW + b), then v ~ p_beta(v | h).
        """
        total = beta * self.rbm.hidden_input(visible, context=self.context)
        return self.sample_visible(self.rbm.hidden.sample(total, rng), beta, rng)

    @check_arguments
    def sample_visible(
        self,
        hidden: HiddenWritten,
        beta: float | OneBeta,
        rng: torch.Generator,
        *,
        total: VisibleOut | None = None,
        out: VisibleOut | None = None,
    ) -> Tensor:
        """Return v ~ p_beta(v | h) given hidden states (N, hidden), which are lost: the visible
        units' total input is beta (hW' + a) + (1 - beta) base.

        `total` and `out`, (N, visible), are where the input and the states are written to.
        """
        rbm, base = self.rbm, self.base.bias
        if isinstance(beta, float):  # of all chains: scaled states spare a pass over the input
            bias = torch.lerp(base, rbm.visible_bias, beta)
            total = affine(hidden.mul_(beta), rbm.weight.t(), bias, out=total)
        else:
            beta = beta.to(rbm.weight)
            bias = torch.lerp(base.to(rbm.weight), rbm.visible_bias, beta)
            total = torch.addmm(bias, hidden.mul_(beta), rbm.weight.t())
        units, context = self.units(beta), self.context
        return units.mean_and_sample(total, rng, context=context, mean=total, out=out)[1]
