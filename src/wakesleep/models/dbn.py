"""The deep belief net: directed layers below, an associative memory on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.values import check_arguments
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical, Groups, Units, as_units, from_spec


class DBN(nn.Module):
    """Recognition and generative pathways of directed layers, and an associative memory: an RBM
    that may hold labels.

    `sizes` runs from the pixels to the top, e.g. (784, 500, 500, 2000); with `labels=10` the
    memory's visible units are Groups(features=Bernoulli(500), label=Categorical(10)): 510 <-> 2000.
    In place of the first number, units may stand whose states come as means in [0, 1], e.g. those
    of a table: (Groups(yes=Bernoulli(3), grade=Thermometer(5, 2)), 500, 2000).
    Each layer has a recognition and a generative bias; the weights of the two pathways start tied
    (one matrix read both ways) and `untie` gives each its own. Source: Hinton, Osindero & Teh
    (2006), figure 1.

    Raises:
        ConfigError: fewer than two layers, a size below 1, or a single label; visible units that
            have parameters of their own or that their mean does not settle.
    """

    @check_arguments
    def __init__(
        self,
        sizes: Sequence[int | Units],
        *,
        labels: int = 0,
        rng: torch.Generator,
        weight_std: float = 0.1,
    ) -> None:
        super().__init__()
        visible = _visible_units(sizes)
        counts = [visible.size, *(size for size in sizes[1:] if isinstance(size, int))]
        if len(sizes) < 2 or len(counts) < len(sizes) or min(counts) < 1:
            raise ConfigError(
                f"layer sizes {tuple(sizes)}: expected at least two, each at least 1, e.g. (784, "
                "500, 500, 2000)"
            )
        if labels < 0 or labels == 1:
            raise ConfigError(f"a label group of {labels}: expected 0 (no labels) or at least 2")
        self.sizes, self.labels, self.visible = tuple(counts), labels, visible
        # module lists at run time; the cast is for type checkers
        self.recognition = cast(list[DirectedLayer], nn.ModuleList())
        self.generative = cast(list[DirectedLayer], nn.ModuleList())
        for below, above in zip(self.sizes[:-2], self.sizes[1:-1], strict=True):
            units = below if self.recognition else visible
            pair = RBM(units, above, rng=rng, weight_std=weight_std)
            self.recognition.append(DirectedLayer(pair.hidden, pair.weight, pair.hidden_bias))
            self.generative.append(
                DirectedLayer(pair.visible, pair.weight, pair.visible_bias, downward=True)
            )
        features = Bernoulli(self.sizes[-2]) if self.recognition else visible
        memory_units: Units = (
            Groups(features=features, label=Categorical(self.labels)) if self.labels else features
        )
        self.memory = RBM(memory_units, self.sizes[-1], rng=rng, weight_std=weight_std)

    @property
    def depth(self) -> int:
        """How many RBMs the greedy stage trains: the directed layers and the memory."""
        return len(self.recognition) + 1

    @property
    def tied(self) -> bool:
        """Whether recognition and generative weights are one matrix."""
        return all(
            up.weight is down.weight
            for up, down in zip(self.recognition, self.generative, strict=True)
        )

    def untie(self) -> None:
        """Give the generative pathway weights of its own, starting as copies of the recognition
        weights.
        """
        for up, down in zip(self.recognition, self.generative, strict=True):
            if up.weight is down.weight:
                down.weight = nn.Parameter(up.weight.detach().clone(), requires_grad=False)

    def rbm(self, layer: int) -> RBM:
        """Return layer `layer` as the RBM that the greedy stage trains; it shares the net's
        parameters, so training it trains the net.

        Raises:
            ConfigError: the layer's weights are untied, so that no single RBM stands for it.
        """
        if layer == self.depth - 1:
            return self.memory
        up, down = self.recognition[layer], self.generative[layer]
        if up.weight is not down.weight:
            raise ConfigError(
                f"layer {layer} is untied: the greedy stage needs tied weights; train it "
                "before untie()"
            )
        return RBM.sharing(down.units, up.units, up.weight, down.bias, up.bias)

    def up(self, visible: Tensor, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a recognition pass, one (N, units) a layer from the pixels
        (given, in [0, 1]) to the penultimate layer.

        They are probabilities, or binary states if `rng` is given.
        """
        layers = [visible]
        for layer in self.recognition:
            layers.append(layer.probs(layers[-1]) if rng is None else layer.sample(layers[-1], rng))
        return layers

    def down(self, features: Tensor, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a generative pass, one (N, units) a layer from the pixels to the
        penultimate layer (given, (N, features)).

        The pixels are always probabilities; the layers between are states if `rng` is given, else
        probabilities.
        """
        layers = [features]
        for depth, layer in enumerate(reversed(self.generative)):
            last = depth == len(self.generative) - 1
            layers.append(
                layer.probs(layers[-1]) if rng is None or last else layer.sample(layers[-1], rng)
            )
        return layers[::-1]

    def top_input(self, features: Tensor) -> Tensor:
        """Return the total input of the memory's top units from penultimate activities (N,
        features) alone, no label on: (N, top).
        """
        return affine(features, self.memory.weight[: self.sizes[-2]], self.memory.hidden_bias)

    def memory_free_energy(self, features: Tensor) -> Tensor:
        """Return the memory's free energy of penultimate activities (N, features), any label summed
        out: (N,), nats.
        """
        memory = self.memory
        if not self.labels:
            return memory.free_energy(features)
        total_input = self.top_input(features)
        scores = memory.group_scores(total_input, self.label_columns)
        bias = memory.visible_bias[: self.label_columns.start]
        return -(
            features @ bias + memory.hidden.log_partition(total_input) + torch.logsumexp(scores, 1)
        )

    @property
    def label_columns(self) -> slice:
        """The memory's visible columns that hold the label."""
        return slice(self.sizes[-2], self.sizes[-2] + self.labels)

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a net like this one, as JSON can hold it."""
        spec = {"class": "DBN", "sizes": list(self.sizes), "labels": self.labels, "tied": self.tied}
        binary = isinstance(self.visible, Bernoulli)
        return spec if binary else spec | {"visible": self.visible.spec()}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> DBN:
        """Return a net like the one that `spec` described, its parameters yet to be filled."""
        sizes = spec["sizes"]
        if "visible" in spec:
            sizes = [from_spec(spec["visible"]), *sizes[1:]]
        dbn = cls(sizes, labels=spec["labels"], rng=torch.Generator())
        if not spec["tied"]:
            dbn.untie()
        return dbn


def _visible_units(sizes: Sequence[int | Units]) -> Units:
    """Return the units of the lowest layer.

    Raises:
        ConfigError: they have parameters, which the stages above do not learn, or no way from a
            mean to a state.
    """
    if not len(sizes):
        raise ConfigError("no layer sizes: expected at least two, e.g. (784, 500, 500, 2000)")
    if isinstance(sizes[0], int) and sizes[0] < 1:
        return Bernoulli(1)  # refused with the other sizes
    visible = as_units(sizes[0])
    means = visible.settled_by_mean and visible.limits == (0.0, 1.0)
    if not means or any(True for _ in visible.parameters()):
        raise ConfigError(
            f"a deep belief net over {visible}: expected units that come as means in [0, 1] "
            "(Bernoulli, Categorical, Thermometer, Groups of these); wakesleep.RBM takes any"
        )
    return visible
