"""A directed layer: one step up (recognition) or down (generative), and the delta rule it learns
by.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_methods
from wakesleep.models.layers import conditional_mean, sample_conditional
from wakesleep.sources.axes import Source, Target
from wakesleep.units import Units


class Delta(NamedTuple):
    """The delta rule's mean over cases: s'(target - p) for the weights, target - p for the bias."""

    weight: Tensor
    bias: Tensor


@check_methods
class DirectedLayer(nn.Module):
    """Units that are sampled given the layer below or above: E[to | from] = mean(from W + b).

    `weight` is kept in the recognition direction, (below, above). A generative layer reads it
    `downward`, transposed: this is how the two pathways of a deep belief net can share one matrix
    until they are untied.
    """

    units: Units

    def __init__(
        self, units: Units, weight: nn.Parameter, bias: nn.Parameter, *, downward: bool = False
    ) -> None:
        super().__init__()
        self.units, self.weight, self.bias, self.downward = units, weight, bias, downward

    @property
    def matrix(self) -> Tensor:
        """The weight in the direction in which the layer reads it, (from, to)."""
        return self.weight.t() if self.downward else self.weight

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        below, above = self.weight.shape
        return {"from": above, "to": below} if self.downward else {"from": below, "to": above}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.weight

    def total_input(self, states: Source) -> Tensor:
        """Return the units' total input, states W + b, (N, to)."""
        return affine(states, self.matrix, self.bias)

    def probs(self, states: Source) -> Tensor:
        """Return E[to | from], (N, to)."""
        return conditional_mean(self.units, states, self.matrix, self.bias)

    def sample(self, states: Source, rng: torch.Generator) -> Tensor:
        """Return states of the layer drawn given the layer it hears from, (N, to)."""
        return sample_conditional(self.units, states, self.matrix, self.bias, rng)

    def delta_rule(self, states: Source, target: Target) -> Delta:
        """Return the gradient of mean log p(target | states), sum_n s_n'(target_n - p_n) / N, in
        the layout of `weight`.

        Source: Hinton, Dayan, Frey & Neal (1995), equations 4 and 6.
        """
        error = target - self.probs(states)
        product = error.t() @ states if self.downward else states.t() @ error
        return Delta(product / len(states), error.mean(0))
