"""The deep belief net: directed layers below, an associative memory on top."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError
from wakesleep.models.cases import as_numbers, check_cases
from wakesleep.models.directed import DirectedLayer
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Features, Pixels
from wakesleep.units import Bernoulli, Categorical, Groups, Units, as_units, from_spec


@check_methods
class DBN(nn.Module):
    """Recognition and generative pathways of directed layers, and an associative memory: an RBM
    that may hold labels.

    `sizes` runs from the pixels to the top, e.g. (784, 500, 500, 2000); with `labels=10` the
    memory's visible units are Groups(features=Bernoulli(500), label=Categorical(10)): 510 <-> 2000.
    In place of any number, units may stand, e.g. (Gaussian(36), 200, 500) for real pixels. A layer
    between has its own parameters twice, as hidden units of the RBM below and as visible ones of
    that above; only that of the pixels learns a precision.
    Each layer has a recognition and a generative bias; the weights of the two pathways start tied
    (one matrix read both ways) and `untie` gives each its own. Source: Hinton, Osindero & Teh
    (2006), figure 1.

    Raises:
        ConfigError: fewer than two layers, a size below 1, or a single label; units beside each
            other that no weights normalise, or whose count comes with each case.
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
        layers = _layers(sizes)
        if labels < 0 or labels == 1:
            raise ConfigError(f"a label group of {labels}: expected 0 (no labels) or at least 2")
        self.sizes, self.labels = tuple(units.size for units in layers), labels
        # module lists at run time; the cast is for type checkers
        self.recognition = cast(list[DirectedLayer], nn.ModuleList())
        self.generative = cast(list[DirectedLayer], nn.ModuleList())
        for below, above in pairwise(layers[:-1]):
            pair = RBM(deepcopy(below), deepcopy(above), rng=rng, weight_std=weight_std)
            self.recognition.append(DirectedLayer(pair.hidden, pair.weight, pair.hidden_bias))
            self.generative.append(
                DirectedLayer(pair.visible, pair.weight, pair.visible_bias, downward=True)
            )
        features = deepcopy(layers[-2])
        memory_units: Units = (
            Groups(features=features, label=Categorical(self.labels)) if self.labels else features
        )
        self.memory = RBM(memory_units, deepcopy(layers[-1]), rng=rng, weight_std=weight_std)
        if self.generative:
            for layer in (*(layer.units for layer in self.generative[1:]), self._features):
                for units in layer.modules():
                    if isinstance(units, Units):
                        units.holds_scale = True

    @property
    def visible(self) -> Units:
        """The units of the lowest layer."""
        return self.generative[0].units if self.generative else self._features

    @property
    def _features(self) -> Units:
        """The memory's visible units without the label."""
        units = self.memory.visible
        return units["features"] if self.labels and isinstance(units, Groups) else units

    @property
    def layers(self) -> list[Units]:
        """The units of each layer, those of the pixels first, as hidden units are above them."""
        return [self.visible, *(layer.units for layer in self.recognition), self.memory.hidden]

    def check_cases(
        self, cases: Any, *, rng: torch.Generator | None = None, missing: bool = False
    ) -> Any:
        """Return cases (N, pixels) once they are seen to be data of the lowest layer's units, as
        `RBM.check_cases`.

        Raises:
            DataError: they are not.
        """
        return check_cases(self.visible, cases, self.memory.weight, rng=rng, missing=missing)

    def as_cases(self, cases: Any, *, missing: bool = False) -> Tensor:
        """Return checked cases (N, pixels) in the type of the net; NaN pass where `missing`."""
        checked = self.check_cases(cases, missing=missing)
        checked = checked if isinstance(checked, Tensor) else checked[0 : len(checked)]
        return as_numbers(self.visible, checked, self.memory.weight)

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

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`), those of the memory among
        them.
        """
        net = {"pixels": self.sizes[0], "features": self.sizes[-2], "top": self.sizes[-1]}
        return {**net, "labels": self.labels, **self.memory.axis_sizes}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.memory.weight

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

    def up(self, visible: Pixels, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a recognition pass, one (N, units) a layer from the pixels
        (given) to the penultimate layer.

        They are means, of binary units probabilities, or states if `rng` is given.
        """
        layers = [visible]
        for layer in self.recognition:
            layers.append(layer.probs(layers[-1]) if rng is None else layer.sample(layers[-1], rng))
        return layers

    def down(self, features: Features, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a generative pass, one (N, units) a layer from the pixels to the
        penultimate layer (given, (N, features)).

        The pixels are always means; the layers between are states if `rng` is given, else means.
        """
        layers = [features]
        for depth, layer in enumerate(reversed(self.generative)):
            last = depth == len(self.generative) - 1
            layers.append(
                layer.probs(layers[-1]) if rng is None or last else layer.sample(layers[-1], rng)
            )
        return layers[::-1]

    def top_input(self, features: Features) -> Tensor:
        """Return the total input of the memory's top units from penultimate activities (N,
        features) alone, no label on: (N, top).
        """
        return affine(features, self.memory.weight[: self.sizes[-2]], self.memory.hidden_bias)

    def memory_free_energy(self, features: Features) -> Tensor:
        """Return the memory's free energy of penultimate activities (N, features), any label summed
        out: (N,), nats.
        """
        memory = self.memory
        if not self.labels:
            return memory.free_energy(features)
        total_input = self.top_input(features)
        scores = memory.group_scores(total_input, self.label_columns)
        bias = memory.visible_bias[: self.label_columns.start]
        log_p = features @ bias + memory.hidden.log_partition(total_input)
        return self._features.potential(features) - (log_p + torch.logsumexp(scores, 1))

    @property
    def label_columns(self) -> slice:
        """The memory's visible columns that hold the label."""
        return slice(self.sizes[-2], self.sizes[-2] + self.labels)

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a net like this one, as JSON can hold it."""
        spec: dict[str, Any] = {
            "class": "DBN",
            "sizes": list(self.sizes),
            "labels": self.labels,
            "tied": self.tied,
        }
        if not isinstance(self.visible, Bernoulli):
            spec["visible"] = self.visible.spec()
        if any(not isinstance(units, Bernoulli) for units in self.layers[1:]):
            spec["hidden"] = [units.spec() for units in self.layers[1:]]
        return spec

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> DBN:
        """Return a net like the one that `spec` described, its parameters yet to be filled."""
        sizes = spec["sizes"]
        below = from_spec(spec["visible"]) if "visible" in spec else sizes[0]
        above = [from_spec(each) for each in spec["hidden"]] if "hidden" in spec else sizes[1:]
        dbn = cls([below, *above], labels=spec["labels"], rng=torch.Generator())
        if not spec["tied"]:
            dbn.untie()
        return dbn


def _layers(sizes: Sequence[int | Units]) -> list[Units]:
    """Return the units of each layer.

    Raises:
        ConfigError: fewer than two, sizes that are none, or documents, whose lengths nothing above
            the first layer knows of.
    """
    wrong = [size for size in sizes if not isinstance(size, Units) and not _is_size(size)]
    if len(sizes) < 2 or wrong:
        raise ConfigError(
            f"layer sizes {tuple(sizes)}: expected at least two, each at least 1, e.g. (784, "
            "500, 500, 2000)"
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
