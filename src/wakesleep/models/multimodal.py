"""The deep belief net of several senses: a pathway of directed layers a sense, and one associative
memory over all their codes and the label.

Sources: Hinton, Osindero & Teh (2006), figure 1, for one sense; Srivastava & Salakhutdinov (2012),
"Learning representations for multimodal data with deep belief nets", for two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from wakesleep.compute.ops import affine
from wakesleep.foundation.arguments import check_arguments, check_methods
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import listed
from wakesleep.models import directed
from wakesleep.models.cases import as_numbers, check_cases
from wakesleep.models.rbm import RBM
from wakesleep.sources.axes import Features, Pixels
from wakesleep.units import Categorical, Groups, Units, from_spec

LABEL = "label"
TAKEN = (LABEL, "want", "steps", "method", "mean", "rng")
"""Names that no sense may have: the label's group, and the other arguments of `recall`."""


@check_methods
class Pathway(nn.Module):
    """The directed layers of one sense, from its cases' units up to its code, which is a group of
    the memory: recognition up, generation down. A sense of one layer has none: its cases are the
    code.
    """

    def __init__(
        self, layers: Sequence[Units], *, rng: torch.Generator, weight_std: float = 0.1
    ) -> None:
        super().__init__()
        self.sizes = tuple(units.size for units in layers)
        self.recognition, self.generative = directed.pathway_layers(layers, rng, weight_std)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        return {"pixels": self.sizes[0], "features": self.sizes[-1]}

    @property
    def like(self) -> Tensor | None:
        """A parameter, of whose type and device states are; None without layers."""
        return next(self.parameters(), None)

    @property
    def tied(self) -> bool:
        """Whether recognition and generative weights are one matrix."""
        return directed.tied(self.recognition, self.generative)

    def untie(self) -> None:
        """Give the generative layers weights of their own, which start as copies."""
        directed.untie(self.recognition, self.generative)

    def rbm(self, layer: int) -> RBM:
        """Return layer `layer` as the RBM that the greedy stage trains, on the same parameters.

        Raises:
            ConfigError: the layer's weights are untied.
        """
        up, down = self.recognition[layer], self.generative[layer]
        return directed.layer_rbm(up, down, f"layer {layer}")

    def up(self, visible: Pixels, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a recognition pass, one (N, units) a layer from the cases
        (given) to the code: means, or states if `rng` is given.
        """
        return directed.up_pass(self.recognition, visible, rng)

    def down(self, code: Features, rng: torch.Generator | None = None) -> list[Tensor]:
        """Return the activities of a generative pass, one (N, units) a layer from the cases to the
        code (given); the lowest are means, those between states if `rng` is given.
        """
        return directed.down_pass(self.generative, code, rng)


@check_methods
class MultimodalDBN(nn.Module):
    """A pathway of directed layers for each sense, and one associative memory over all their codes.

    `DBN(senses={"image": (784, 500, 500), "sound": (Gaussian(576), 500)}, labels=10, top=2000)`
    makes one: each sense lists its layers, from the units of its cases up to its code; the memory's
    visible units are Groups(image=Bernoulli(500), sound=Bernoulli(500), label=Categorical(10)). A
    sense of one entry has no directed layer: its own units are a group of the memory.

    Cases are a dictionary of a tensor (N, size) a sense; a row of NaN, or a sense that is left out,
    is absent. Functions for nets of one sense, whose argument is a `DBN`, do not take one.

    Raises:
        ConfigError: no senses, a sense without layers, a name that is taken, a size below 1 or a
            single label; units that no weights normalise, or whose count comes with each case.
    """

    @check_arguments
    def __init__(
        self,
        senses: Mapping[str, Any],
        *,
        top: int | Units,
        labels: int = 0,
        rng: torch.Generator,
        weight_std: float = 0.1,
    ) -> None:
        super().__init__()
        _check_names(senses)
        if labels < 0 or labels == 1:
            raise ConfigError(f"a label group of {labels}: expected 0 (no labels) or at least 2")
        layers = {name: _layers_of(name, sizes) for name, sizes in senses.items()}
        self.labels, self.senses = labels, tuple(layers)
        # a module dictionary at run time; the cast is for type checkers
        self.pathways = cast(
            dict[str, Pathway],
            nn.ModuleDict(
                {
                    name: Pathway(units, rng=rng, weight_std=weight_std)
                    for name, units in layers.items()
                }
            ),
        )
        codes: dict[str, Units | int] = {name: deepcopy(each[-1]) for name, each in layers.items()}
        for name, units in codes.items():
            if self.pathways[name].generative and isinstance(units, Units):
                directed.hold_scale(units)
        if labels:
            codes[LABEL] = Categorical(labels)
        (upper,) = directed.as_layers([top], least=1)
        self.memory = RBM(Groups(**codes), deepcopy(upper), rng=rng, weight_std=weight_std)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The sizes of each sense's layers, from its cases to its code."""
        return {name: self.pathways[name].sizes for name in self.senses}

    @property
    def groups(self) -> Groups:
        """The memory's visible units: the code of each sense, and the label where there is one."""
        return cast(Groups, self.memory.visible)

    def units(self, sense: str) -> Units:
        """Return the units of a sense's cases."""
        pathway = self.pathways[sense]
        return pathway.generative[0].units if pathway.generative else self.groups[sense]

    @property
    def columns(self) -> dict[str, slice]:
        """Where each sense lies in cases side by side, (N, size of all)."""
        ends = accumulate(self.pathways[name].sizes[0] for name in self.senses)
        return {
            name: slice(end - self.pathways[name].sizes[0], end)
            for name, end in zip(self.senses, ends, strict=True)
        }

    @property
    def width(self) -> int:
        """How many columns cases of all senses have side by side."""
        return sum(sizes[0] for sizes in self.sizes.values())

    @property
    def label_columns(self) -> slice:
        """The memory's visible columns that hold the label."""
        size = self.memory.visible.size
        return slice(size - self.labels, size)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`), those of the memory among
        them: features are all codes side by side.
        """
        net = {"features": self.label_columns.start, "top": self.memory.hidden.size}
        return {**net, "labels": self.labels, **self.memory.axis_sizes}

    @property
    def like(self) -> Tensor:
        """A parameter, of whose type and device states are."""
        return self.memory.weight

    @property
    def tied(self) -> bool:
        """Whether recognition and generative weights are one matrix, in all pathways."""
        return all(self.pathways[name].tied for name in self.senses)

    def untie(self) -> None:
        """Give the generative layers of all pathways weights of their own."""
        for name in self.senses:
            self.pathways[name].untie()

    def as_cases(
        self, cases: Mapping[str, Any], *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return cases, (N, size) by sense, in the type of the net, once they are seen to fit: each
        row of a sense is known in all columns or absent, NaN in all.

        Raises:
            DataError: no senses, one that the net does not have, another number of cases than the
                others, a row that is known in part, values that the sense's units do not take.
        """
        self.check_senses(cases)
        given = {}
        for name in (sense for sense in self.senses if sense in cases):
            try:
                given[name] = self._one_sense(name, cases[name], rng)
            except DataError as error:
                raise DataError(f"sense {name}: {error}") from error
        counts = {name: len(each) for name, each in given.items()}
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise DataError(
                f"senses of different numbers of cases came: {words}; expected as many of each, a "
                "row of NaN where a sense is absent, or pair_by_class where they belong "
                "together by class alone"
            )
        return given

    def check_senses(self, names: Mapping[str, Any]) -> None:
        """Raise DataError unless these are senses of the net, at least one."""
        if not isinstance(names, Mapping) or not names:
            raise DataError(
                f"cases of type {type(names).__name__} came; expected a dictionary of cases (N, "
                f"size) by sense: {', '.join(self.senses)}"
            )
        unknown = [name for name in names if name not in self.senses]
        if unknown:
            raise DataError(
                f"the net has no sense {listed(list(map(repr, unknown)))}; its senses are "
                f"{', '.join(self.senses)}"
            )

    def _one_sense(self, name: str, cases: Any, rng: torch.Generator | None) -> Tensor:
        units, like = self.units(name), self.memory.weight
        checked = check_cases(units, cases, like, rng=rng, missing=True)
        checked = checked if isinstance(checked, Tensor) else checked[0 : len(checked)]
        numbers = as_numbers(units, checked, like)
        unknown = torch.isnan(numbers)
        partly = unknown.any(1) & ~unknown.all(1)
        if bool(partly.any()):
            raise DataError(
                f"{int(partly.sum())} of {len(numbers)} cases are known in part; expected NaN in "
                "all columns of a case, which is absent then, or in none"
            )
        return numbers

    def encode(
        self, cases: Mapping[str, Tensor], rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the codes of checked cases (N, size) by sense, side by side as the memory has
        them, and which of its columns are known: (N, features) each.

        Codes are means, or states if `rng` is given. Absent ones are at any state of their units,
        and their columns are not known.
        """
        count, size = len(next(iter(cases.values()))), self.label_columns.start
        codes = self.memory.weight.new_zeros(count, size)
        known = torch.zeros(count, size, dtype=torch.bool, device=codes.device)
        for name in self.senses:
            columns = self.groups.columns(name)
            codes[:, columns] = self.groups[name].any_state().to(codes)
            if name in cases:
                there = torch.nonzero(is_present(cases[name])).squeeze(1)
                if len(there):
                    codes[there, columns] = self.pathways[name].up(cases[name][there], rng)[-1]
                    known[there, columns] = True
        return codes, known

    def decode(self, sense: str, code: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the means of a sense's cases, (N, size), from its code (N, units)."""
        return self.pathways[sense].down(code, rng)[0]

    def top_input(self, features: Features) -> Tensor:
        """Return the total input of the memory's top units from all codes side by side (N,
        features), no label on: (N, top).
        """
        columns = slice(0, self.label_columns.start)
        return affine(features, self.memory.weight[columns], self.memory.hidden_bias)

    def memory_free_energy(self, features: Features) -> Tensor:
        """Return the memory's free energy of all codes side by side (N, features), any label summed
        out: (N,), nats.
        """
        if not self.labels:
            return self.memory.free_energy(features)
        beside = torch.cat([features, features.new_zeros(len(features), self.labels)], 1)
        return self.memory.marginal_free_energy(beside, self.label_columns)

    def spec(self) -> dict[str, Any]:
        """Return what is needed to build a net like this one, as JSON can hold it."""
        return {
            "class": "MultimodalDBN",
            "senses": [
                {
                    "name": name,
                    "layers": [
                        self.units(name).spec(),
                        *(layer.units.spec() for layer in self.pathways[name].recognition),
                    ],
                }
                for name in self.senses
            ],
            "labels": self.labels,
            "top": self.memory.hidden.spec(),
            "tied": self.tied,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> MultimodalDBN:
        """Return a net like the one that `spec` described, its parameters yet to be filled."""
        senses = {
            sense["name"]: [from_spec(units) for units in sense["layers"]]
            for sense in spec["senses"]
        }
        top = from_spec(spec["top"])
        net = cls(senses, top=top, labels=spec["labels"], rng=torch.Generator())
        if not spec["tied"]:
            net.untie()
        return net


def is_present(cases: Tensor) -> Tensor:
    """Return which of checked cases (N, size) of a sense are there, (N,), bool."""
    return ~torch.isnan(cases[:, 0])


def _layers_of(name: str, sizes: Any) -> list[Units]:
    """Return the units of a sense's layers; errors say of which sense they speak."""
    try:
        one = isinstance(sizes, int | Units)
        return directed.as_layers([sizes] if one else list(sizes), least=1)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"sense {name}: {error}") from error


def _check_names(senses: Mapping[str, Any]) -> None:
    """Raise ConfigError unless these can be the names of senses."""
    if not isinstance(senses, Mapping) or not senses:
        raise ConfigError(
            f"senses = {senses!r}: expected a dictionary of layer sizes by name, e.g. "
            '{"image": (784, 500, 500), "sound": (576, 500)}'
        )
    for name in senses:
        if not isinstance(name, str) or not name or "." in name or "/" in name:
            raise ConfigError(f"a sense called {name!r}: expected a word without a dot or a slash")
        if name in TAKEN or hasattr(nn.ModuleDict, name):
            raise ConfigError(
                f"a sense called {name!r}: this name is taken; expected another, e.g. image"
            )
