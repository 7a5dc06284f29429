"""The deep belief net: directed layers below, an associative memory on top."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError
from wakesleep.models import directed
from wakesleep.models.cases import as_numbers, check_cases
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Features, Pixels
from wakesleep.units import Bernoulli, Categorical, Groups, Units, from_spec


@check_methods
class DBN(nn.Module):
    """Recognition and generative pathways of directed layers, and an associative memory: an RBM
    that may hold labels.

    `sizes` runs from the pixels to the top, e.g. (784, 500, 500, 2000); with `labels=10` the
    memory's visible units are Groups(features=Bernoulli(500), label=Categorical(10)): 510 <-> 2000.
    In place of any number, units may stand, e.g. (Gaussian(36), 200, 500) for real pixels. A layer
    between has its own parameters twice, as hidden units of the RBM below and as visible ones of
    that above; only that of the pixels learns a precision.
    With `senses` in the place of `sizes` and the units of the `top`, the net has a pathway for each
    sense and is a `multimodal.MultimodalDBN`: DBN(senses={"image": (784, 500), "sound": (576,
    500)}, labels=10, top=2000, rng=rng).
    Each layer has a recognition and a generative bias; the weights of the two pathways start tied
    (one matrix read both ways) and `untie` gives each its own. Source: Hinton, Osindero & Teh
    (2006), figure 1.

    Raises:
        ConfigError: fewer than two layers, a size below 1, or a single label; units beside each
            other that no weights normalise, or whose count comes with each case; both `sizes` and
            `senses`, or `senses` without `top`.
    """

    def __new__(cls, *sizes: Any, senses: Any = None, **settings: Any) -> Any:
        """Return a net of one sense, which `__init__` makes, or one of the `senses`."""
        if senses is None:
            return super().__new__(cls)
        from wakesleep.models.multimodal import MultimodalDBN

        if sizes or "sizes" in settings or "top" not in settings:
            raise ConfigError(
                "senses came with sizes, or without the units of the top; expected e.g. "
                'DBN(senses={"image": (784, 500)}, labels=10, top=2000, rng=rng)'
            )
        return MultimodalDBN(senses, **settings)

    @check_arguments
    def __init__(
        self,
        sizes: Sequence[int | Units] = (),
        *,
        senses: Mapping[str, Any] | None = None,
        top: int | Units | None = None,
        labels: int = 0,
        rng: torch.Generator,
        weight_std: float = 0.1,
    ) -> None:
        super().__init__()
        if top is not None:
            raise ConfigError(f"top = {top} came without senses; expected it as the last of sizes")
        layers = directed.as_layers(sizes)
        if labels < 0 or labels == 1:
            raise ConfigError(f"a label group of {labels}: expected 0 (no labels) or at least 2")
        self.sizes, self.labels = tuple(units.size for units in layers), labels
        self.recognition, self.generative = directed.pathway_layers(layers[:-1], rng, weight_std)
        features = deepcopy(layers[-2])
        memory_units: Units = (
            Groups(features=features, label=Categorical(self.labels)) if self.labels else features
        )
        self.memory = RBM(memory_units, deepcopy(layers[-1]), rng=rng, weight_std=weight_std)
        if self.generative:
            directed.hold_scale(self._features)

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
        return directed.tied(self.recognition, self.generative)

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
        directed.untie(self.recognition, self.generative)

    def rbm(self, layer: int) -> RBM:
        """Return layer `layer` as the RBM that the greedy stage trains; it shares the net's
        parameters, so training it trains the net.

        Raises:
            ConfigError: the layer's weights are untied, so that no single RBM stands for it.
        """
        if layer == self.depth - 1:
            return self.memory
        return directed.layer_rbm(self.recognition[layer], self.generative[layer], f"layer {layer}")

    def up(self, visible: Pixels, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a recognition pass, one (N, units) a layer from the pixels
        (given) to the penultimate layer.

        They are means, of binary units probabilities, or states if `rng` is given.
        """
        return directed.up_pass(self.recognition, visible, rng)

    def down(self, features: Features, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a generative pass, one (N, units) a layer from the pixels to the
        penultimate layer (given, (N, features)).

        The pixels are always means; the layers between are states if `rng` is given, else means.
        """
        return directed.down_pass(self.generative, features, rng)

    def top_input(self, features: Features) -> Tensor:
        """Return the total input of the memory's top units from penultimate activities (N,
        features) alone, no label on: (N, top).
        """
        return affine(features, self.memory.weight[: self.sizes[-2]], self.memory.hidden_bias)

    def memory_free_energy(self, features: Features) -> Tensor:
        """Return the memory's free energy of penultimate activities (N, features), any label summed
        out: (N,), nats.
        """
        if not self.labels:
            return self.memory.free_energy(features)
        beside = torch.cat([features, features.new_zeros(len(features), self.labels)], 1)
        return self.memory.marginal_free_energy(beside, self.label_columns)

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


_signature = inspect.signature(DBN.__init__)
# without it help() and the API pages would show the arguments of `__new__`
DBN.__signature__ = _signature.replace(  # type: ignore[attr-defined]
    parameters=list(_signature.parameters.values())[1:]
)
