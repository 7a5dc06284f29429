"""The restricted Boltzmann machine: a weight matrix, two biases, and what they say about two layers of units."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import accumulation_dtype, affine, require_fit
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.model.layers import conditional_mean, sample_conditional
from wakesleep.model.units import Units, as_units


def check_spread(weight_std: float) -> None:
    """Raise ConfigError unless `weight_std` can be a standard deviation."""
    if weight_std < 0:
        raise ConfigError(f"weight_std = {weight_std}: expected 0 or more, e.g. 0.1")


class Statistics(NamedTuple):
    """What an RBM learns from: the mean over cases of the products v_i h_j, of v_i and of h_j."""

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor


class RBM(nn.Module):
    """A restricted Boltzmann machine, p(v, h) = exp(-E(v, h)) / Z with E(v, h) = -v'Wh - a'v - b'h.

    Weights are (visible, hidden) and start as N(0, weight_std^2), 0.1 as in Hinton's MATLAB code; biases start at zero. Source: Hinton,
    "To Recognize Shapes, First Learn to Generate Images" (2007); Hinton, Osindero & Teh (2006), section 2.
    """

    @check_arguments
    def __init__(self, visible: Units | int, hidden: Units | int, *, rng: torch.Generator, weight_std: float = 0.1) -> None:
        super().__init__()
        check_spread(weight_std)
        self.visible, self.hidden = as_units(visible), as_units(hidden)
        weight = torch.empty(self.visible.size, self.hidden.size, device=rng.device).normal_(0.0, weight_std, generator=rng)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.visible_bias = nn.Parameter(torch.zeros(self.visible.size, device=rng.device), requires_grad=False)
        self.hidden_bias = nn.Parameter(torch.zeros(self.hidden.size, device=rng.device), requires_grad=False)

    @classmethod
    def sharing(cls, visible: Units, hidden: Units, weight: nn.Parameter, visible_bias: nn.Parameter, hidden_bias: nn.Parameter) -> RBM:
        """Return a machine that stands on parameters of others, weight (visible, hidden) and two biases: training it moves theirs."""
        rbm = cls.__new__(cls)
        nn.Module.__init__(rbm)
        rbm.visible, rbm.hidden = visible, hidden
        rbm.weight, rbm.visible_bias, rbm.hidden_bias = weight, visible_bias, hidden_bias
        return rbm

    def hidden_input(self, visible: Tensor, out: Tensor | None = None) -> Tensor:
        """Return vW + b, (N, hidden)."""
        return affine(visible, self.weight, self.hidden_bias, out=out)

    def visible_input(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Return hW' + a, (N, visible)."""
        return affine(hidden, self.weight.t(), self.visible_bias, out=out)

    def hidden_probs(self, visible: Tensor, out: Tensor | None = None) -> Tensor:
        """Return E[h | v], for Bernoulli units sigm(vW + b), (N, hidden)."""
        return conditional_mean(self.hidden, visible, self.weight, self.hidden_bias, out=out)

    def visible_probs(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Return E[v | h], for Bernoulli units sigm(hW' + a), (N, visible)."""
        return conditional_mean(self.visible, hidden, self.weight.t(), self.visible_bias, out=out)

    def sample_hidden(self, visible: Tensor, rng: torch.Generator, probs: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Return states drawn from E[h | v], (N, hidden), to `out` where given; E[h | v] is left in `probs` where given."""
        return sample_conditional(self.hidden, visible, self.weight, self.hidden_bias, rng, probs, out)

    def sample_visible(
        self, hidden: Tensor, rng: torch.Generator, probs: Tensor | None = None, out: Tensor | None = None, soft: bool = False
    ) -> Tensor:
        """Return states drawn from E[v | h], (N, visible), likewise; `soft` leaves softmax groups at their probabilities."""
        return sample_conditional(self.visible, hidden, self.weight.t(), self.visible_bias, rng, probs, out, soft)

    def energy(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return E(v, h) = -v'Wh - a'v - b'h of each pair, (N,), nats."""
        require_fit(visible, self.weight)
        require_fit(hidden, self.weight.t())
        return -(visible @ self.weight * hidden).sum(-1) - visible @ self.visible_bias - hidden @ self.hidden_bias

    def free_energy(self, visible: Tensor) -> Tensor:
        """Return F(v) = -a'v - log sum_h exp(h'(W'v + b)), so that p(v) = exp(-F(v)) / Z; (N,), nats per case."""
        total_input = self.hidden_input(visible)
        return -visible @ self.visible_bias - self.hidden.log_partition(total_input)

    def hidden_free_energy(self, hidden: Tensor) -> Tensor:
        """Return F(h) = -b'h - log sum_v exp(v'(Wh + a)), so that p(h) = exp(-F(h)) / Z; (N,), nats per case."""
        total_input = self.visible_input(hidden)
        return -hidden @ self.hidden_bias - self.visible.log_partition(total_input)

    def group_scores(self, total_input: Tensor, columns: slice) -> Tensor:
        """Return log p(column on | the other visible units) up to a constant of the case, the hidden units summed out: (N, columns), nats.

        For a softmax group of visible units; `total_input` (N, hidden) is the hidden units' input without the group's part. The score is
        -F = a_y + log sum_h exp(h'(x + W_y)), less the value that W_y = 0 would give, which all columns share.
        """
        total_input = total_input.to(accumulation_dtype(total_input.dtype))
        return self.hidden.log_partition_shifts(total_input, self.weight[columns]) + self.visible_bias[columns]

    def statistics(self, visible: Tensor, hidden: Tensor) -> Statistics:
        """Return <v h'>, <v> and <h>, the means over N cases: (visible, hidden), (visible,), (hidden,)."""
        return Statistics(visible.t() @ hidden / len(visible), visible.mean(0), hidden.mean(0))
