"""A directed layer: one step up (recognition) or down (generative), and the delta rule it learns
by.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_methods
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.layers import conditional_mean, sample_conditional
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Source, Target
from wakesleep.units import Units, as_units


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
        """Return states of the layer drawn given the layer that it is made from, (N, to)."""
        return sample_conditional(self.units, states, self.matrix, self.bias, rng)

    def delta_rule(self, states: Source, target: Target) -> Delta:
        """Return the gradient of mean log p(target | states), sum_n s_n'(target_n - p_n) / N, in
        the layout of `weight`.

        Source: Hinton, Dayan, Frey & Neal (1995), equations 4 and 6.
        """
        error = target - self.probs(states)
        product = error.t() @ states if self.downward else states.t() @ error
        return Delta(product / len(states), error.mean(0))


def as_layers(sizes: Sequence[int | Units], least: int = 2) -> list[Units]:
    """Return the units of each layer.

    Raises:
        ConfigError: fewer than `least`, sizes that are none, or documents, whose lengths nothing
            above the first layer knows of.
    """
    wrong = [size for size in sizes if not isinstance(size, Units) and not _is_size(size)]
    if len(sizes) < least or wrong:
        count, example = (
            ("two", "(784, 500, 500, 2000)") if least == 2 else ("one", "(784, 500, 500)")
        )
        raise ConfigError(
            f"layer sizes {tuple(sizes)}: expected at least {count}, each at least 1, e.g. "
            f"{example}"
        )
    layers = [as_units(size) for size in sizes]
    if layers[0].needs_count:
        raise ConfigError(
            f"a deep belief net over {layers[0]}: the length of a document is no state that layers "
            "above could make; expected e.g. Binomial or Poisson units, or learn an RBM of the "
            "documents and a net of its hidden_probs"
        )
    return layers


def _is_size(size: object) -> bool:
    """Return whether this can be the number of units of a layer."""
    return isinstance(size, int) and size >= 1


def pathway_layers(
    layers: Sequence[Units], rng: torch.Generator, weight_std: float
) -> tuple[list[DirectedLayer], list[DirectedLayer]]:
    """Return the recognition and the generative layers between units of layers that follow each
    other, from the lowest up, as module lists; their weights are tied, N(0, weight_std^2).

    Only the lowest units learn a scale of their own: those between are hidden units of one RBM and
    visible ones of the next, and weights have it.
    """
    # module lists at run time; the cast is for type checkers
    recognition = cast(list[DirectedLayer], nn.ModuleList())
    generative = cast(list[DirectedLayer], nn.ModuleList())
    for below, above in pairwise(layers):
        pair = RBM(deepcopy(below), deepcopy(above), rng=rng, weight_std=weight_std)
        recognition.append(DirectedLayer(pair.hidden, pair.weight, pair.hidden_bias))
        generative.append(
            DirectedLayer(pair.visible, pair.weight, pair.visible_bias, downward=True)
        )
    for layer in generative[1:]:
        hold_scale(layer.units)
    return recognition, generative


def hold_scale(layer: Units) -> None:
    """Let the units of a layer, and those of its groups, learn no scale of their own."""
    for units in layer.modules():
        if isinstance(units, Units):
            units.holds_scale = True


def untie(recognition: Sequence[DirectedLayer], generative: Sequence[DirectedLayer]) -> None:
    """Give generative layers weights of their own, which start as copies of the recognition
    weights.
    """
    for up, down in zip(recognition, generative, strict=True):
        if up.weight is down.weight:
            down.weight = nn.Parameter(up.weight.detach().clone(), requires_grad=False)


def tied(recognition: Sequence[DirectedLayer], generative: Sequence[DirectedLayer]) -> bool:
    """Return whether recognition and generative weights are one matrix in every layer."""
    return all(up.weight is down.weight for up, down in zip(recognition, generative, strict=True))


def layer_rbm(up: DirectedLayer, down: DirectedLayer, name: str) -> RBM:
    """Return the RBM of a recognition and a generative layer, which shares their parameters.

    Raises:
        ConfigError: their weights are untied, so that no single RBM stands for them.
    """
    if up.weight is not down.weight:
        raise ConfigError(
            f"{name} is untied: the greedy stage needs tied weights; train it before untie()"
        )
    return RBM.sharing(down.units, up.units, up.weight, down.bias, up.bias)


def up_pass(
    recognition: Sequence[DirectedLayer], visible: Tensor, rng: torch.Generator | None
) -> list[Tensor]:
    """Return the activities of a recognition pass, one (N, units) a layer from the visible units
    (given) to the highest; means, or states if `rng` is given.
    """
    layers = [visible]
    for layer in recognition:
        layers.append(layer.probs(layers[-1]) if rng is None else layer.sample(layers[-1], rng))
    return layers


def down_pass(
    generative: Sequence[DirectedLayer], features: Tensor, rng: torch.Generator | None
) -> list[Tensor]:
    """Return the activities of a generative pass, one (N, units) a layer from the visible units to
    the highest (given); the lowest are means, those between states if `rng` is given.
    """
    layers = [features]
    for depth, layer in enumerate(reversed(generative)):
        last = depth == len(generative) - 1
        layers.append(
            layer.probs(layers[-1]) if rng is None or last else layer.sample(layers[-1], rng)
        )
    return layers[::-1]
