"""The Helmholtz machine: directed recognition and generative layers under a factorial top. Source:
Hinton, Dayan, Frey & Neal (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.rbm import check_spread
from wakesleep.sources.axes import Part, Pixels
from wakesleep.units import Bernoulli


@check_methods
class Helmholtz(nn.Module):
    """A stack of binary layers `sizes`, pixels first; p(s) = prod_l p(s_l | s_l+1) with independent
    top units, q(s | v) the way up.

    Recognition and generative weights are separate and start at zero mean, N(0, weight_std^2).

    Raises:
        ConfigError: fewer than two layers, or a size below 1.
    """

    @check_arguments
    def __init__(
        self, sizes: Sequence[int], *, rng: torch.Generator, weight_std: float = 0.1
    ) -> None:
        super().__init__()
        check_spread(weight_std)
        if len(sizes) < 2 or min(sizes) < 1:
            raise ConfigError(
                f"layer sizes {tuple(sizes)}: expected at least two, each at least 1, e.g. "
                "(784, 200, 50)"
            )
        self.sizes = tuple(sizes)
        self.recognition = cast(list[DirectedLayer], nn.ModuleList())
        self.generative = cast(list[DirectedLayer], nn.ModuleList())
        for below, above in pairwise(self.sizes):
            for pathway, units, downward in (
                (self.recognition, Bernoulli(above), False),
                (self.generative, Bernoulli(below), True),
            ):
                weight = torch.empty(below, above, device=rng.device).normal_(
                    0.0, weight_std, generator=rng
                )
                bias = nn.Parameter(torch.zeros(units.size, device=rng.device), requires_grad=False)
                pathway.append(
                    DirectedLayer(
                        units, nn.Parameter(weight, requires_grad=False), bias, downward=downward
                    )
                )
        self.top_bias = nn.Parameter(
            torch.zeros(self.sizes[-1], device=rng.device), requires_grad=False
        )

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        return {"pixels": self.sizes[0], "top": self.sizes[-1]}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.top_bias

    def up(self, visible: Pixels, rng: torch.Generator) -> list[Tensor]:
        """Return states of a recognition pass, one (N, units) a layer, from the pixels (given) to
        the top.
        """
        layers = [visible]
        for layer in self.recognition:
            layers.append(layer.sample(layers[-1], rng))
        return layers

    def dream(self, count: int, rng: torch.Generator) -> list[Tensor]:
        """Return states of `count` dreams, one (N, units) a layer, from the pixels to the top,
        which is drawn from its biases.
        """
        whole("count", count, least=0)
        layers = [
            self.recognition[-1].units.sample(self.top_bias.expand(count, -1).contiguous(), rng)
        ]
        for layer in reversed(self.generative):
            layers.append(layer.sample(layers[-1], rng))
        return layers[::-1]

    def log_joint(self, layers: list[Part]) -> Tensor:
        """Return log p(s) of binary states, one (N, units) a layer from the pixels up: (N,), nats a
        case.
        """
        _require_layers(self, layers)
        total = _log_prob(self.top_bias.expand_as(layers[-1]), layers[-1])
        for layer, below, above in zip(self.generative, layers[:-1], layers[1:], strict=True):
            total = total + _log_prob(layer.total_input(above), below)
        return total

    def log_recognition(self, layers: list[Part]) -> Tensor:
        """Return log q(hidden layers | pixels) of binary states, one (N, units) a layer from the
        pixels up: (N,), nats a case.
        """
        _require_layers(self, layers)
        terms = zip(self.recognition, layers[:-1], layers[1:], strict=True)
        return torch.stack(
            [_log_prob(layer.total_input(below), above) for layer, below, above in terms]
        ).sum(0)

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a machine like this one, as JSON can hold it."""
        return {"class": "Helmholtz", "sizes": list(self.sizes)}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Helmholtz:
        """Return a machine like the one that `spec` described, its parameters yet to be filled."""
        return cls(spec["sizes"], rng=torch.Generator())


def _require_layers(net: Helmholtz, layers: list[Tensor]) -> None:
    """Raise DataError unless there is a tensor (N, units) for each layer of the net."""
    shapes = [tuple(states.shape) for states in layers]
    expected = [(len(layers[0]), size) for size in net.sizes] if layers else []
    if not layers or shapes != expected:
        raise DataError(
            f"states of shapes {shapes} came; expected one (N, units) a layer from the pixels up, "
            f"units {net.sizes}"
        )


def _log_prob(total_input: Tensor, states: Tensor) -> Tensor:
    """Return log p of binary states given their total input, summed over units: s x -
    softplus(x).
    """
    return (states * total_input - torch.nn.functional.softplus(total_input)).sum(-1)
