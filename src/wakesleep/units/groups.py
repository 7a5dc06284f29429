"""Units of several families side by side in one layer, each part with a name: potentials,
log-partitions and moments add up.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.sources.axes import Layer, Part
from wakesleep.sources.context import Context
from wakesleep.units.base import Atom, Units
from wakesleep.units.categorical import Categorical
from wakesleep.units.registry import as_units, from_spec, register


@register
class Groups(Units):
    """Named parts side by side, e.g. Groups(features=Bernoulli(500), label=Categorical(10)); a
    number n means n Bernoulli units.

    Raises:
        ConfigError: no parts, or something that is no units.
    """

    def __init__(self, parts: Sequence[Units] | None = None, /, **named: Units | int) -> None:
        if parts is not None:
            warnings.warn(
                "Groups((a, b)) is written with names now: Groups(features=a, label=b)",
                DeprecationWarning,
                stacklevel=2,
            )
            named = {**{f"part{number}": part for number, part in enumerate(parts)}, **named}
        if not named:
            raise ConfigError(
                "a layer of no parts; expected some, e.g. Groups(features=Bernoulli(500), "
                "label=Categorical(10))"
            )
        units = {name: as_units(part) for name, part in named.items()}
        super().__init__(sum(part.size for part in units.values()))
        self.names = tuple(units)
        self.parts = tuple(units.values())
        self.members = nn.ModuleList(self.parts)
        """The units again: so that a model finds their parameters. A tuple is what steps go through
        faster.
        """
        first = self.parts[0]
        # of groups within groups, parts are looked at one by one
        self._n_bernoulli = first.n_bernoulli if first.n_bernoulli == first.size else 0
        ends = accumulate(part.size for part in units.values())
        self.slices = [
            slice(end - part.size, end) for part, end in zip(units.values(), ends, strict=True)
        ]

    @property
    def limits(self) -> tuple[float, float] | None:  # type: ignore[override]
        """Return (0, 1) where it holds for all parts."""
        limits = {part.limits for part in self.parts}
        return limits.pop() if len(limits) == 1 else None

    @property
    def settled_by_mean(self) -> bool:  # type: ignore[override]
        """Whether all parts are."""
        return all(part.settled_by_mean for part in self.parts)

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether those of a part do."""
        return any(part.signed for part in self.parts)

    @property
    def needs_count(self) -> bool:  # type: ignore[override]
        """Whether a part does."""
        return any(part.needs_count for part in self.parts)

    def tail_precision(self) -> Tensor:
        """Return each part's own, (size,)."""
        return torch.cat([part.tail_precision() for part in self.parts])

    @property
    def n_slots(self) -> int:
        """Those of all parts."""
        return sum(part.n_slots for part in self.parts)

    @property
    def one_hot_columns(self) -> list[slice]:
        """The columns of each part that is one categorical site."""
        ranges = []
        for part, at in zip(self.parts, self.slices, strict=True):
            one_site = isinstance(part, Categorical) and part.sites == 1
            inner = [slice(0, part.size)] if one_site else part.one_hot_columns
            ranges += [slice(at.start + own.start, at.start + own.stop) for own in inner]
        return ranges

    @property
    def site_columns(self) -> list[slice]:
        """The columns of each site of all parts."""
        return self._within([part.site_columns for part in self.parts])

    @property
    def categorical_columns(self) -> list[slice]:
        """Those of all parts."""
        return self._within([part.categorical_columns for part in self.parts])

    def _within(self, columns: list[list[slice]]) -> list[slice]:
        """Return columns of each part as columns of the layer."""
        return [
            slice(at.start + own.start, at.start + own.stop)
            for of_part, at in zip(columns, self.slices, strict=True)
            for own in of_part
        ]

    @property
    def n_bernoulli(self) -> int:
        """Those of the first part, where it has no others."""
        return self._n_bernoulli

    def columns(self, name: str) -> slice:
        """Return the columns of the part called `name`.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.names:
            raise ConfigError(f"a group called {name!r}: expected one of {', '.join(self.names)}")
        return self.slices[self.names.index(name)]

    def __getitem__(self, name: str) -> Units:
        """Return the part called `name`."""
        self.columns(name)
        return self.parts[self.names.index(name)]

    def split(self, states: Layer) -> dict[str, Tensor]:
        """Return the columns of each part (N, its size) by name."""
        return {
            name: states[..., columns]
            for name, columns in zip(self.names, self.slices, strict=True)
        }

    def join(self, parts: Mapping[str, Part]) -> Tensor:
        """Return the parts (N, its size each), all of them, side by side, (N, size)."""
        return torch.cat([parts[name] for name in self.names], -1)

    def _each(self, context: Context | None) -> Iterator[tuple[Units, slice, Context | None]]:
        """Yield each part with its columns and its context."""
        for part, columns in zip(self.parts, self.slices, strict=True):
            yield part, columns, None if context is None else context.columns(columns)

    def potential(self, states: Tensor, context: Context | None = None) -> Tensor:
        """Return the sum of the parts' potentials, (N,)."""
        return torch.stack(
            [
                part.potential(states[..., columns], own)
                for part, columns, own in self._each(context)
            ]
        ).sum(0)

    def log_partition(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return the sum of the parts' log-partitions, (N,)."""
        return torch.stack(
            [
                part.log_partition(total_input[..., columns], own)
                for part, columns, own in self._each(context)
            ]
        ).sum(0)

    def mean(
        self, total_input: Tensor, *, context: Context | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return each part's mean in its own columns, (N, size)."""
        if out is None:
            means = [
                part.mean(total_input[..., columns], context=own)
                for part, columns, own in self._each(context)
            ]
            return torch.cat(means, -1)
        for part, columns, own in self._each(context):
            part.mean(total_input[..., columns], context=own, out=out[..., columns])
        return out

    def variance(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return each part's variance in its own columns, (N, size)."""
        return torch.cat(
            [
                part.variance(total_input[..., columns], own)
                for part, columns, own in self._each(context)
            ],
            -1,
        )

    def sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return each part's sample in its own columns, (N, size)."""
        states = torch.empty_like(total_input) if out is None else out
        for part, columns, own in self._each(context):
            part.sample(total_input[..., columns], rng, context=own, out=states[..., columns])
        return states

    def mean_and_sample(
        self,
        total_input: Tensor,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: Tensor | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return each part's mean and sample in its own columns, each (N, size)."""
        means = torch.empty_like(total_input) if mean is None else mean
        states = torch.empty_like(total_input) if out is None else out
        for part, columns, own in self._each(context):
            part.mean_and_sample(
                total_input[..., columns],
                rng,
                context=own,
                mean=means[..., columns],
                out=states[..., columns],
            )
        return means, states

    def sample_from_mean(
        self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None
    ) -> Tensor:
        """Return each part's states drawn from their mean (N, size), where all parts are Bernoulli
        or Categorical.
        """
        states = torch.empty_like(mean) if out is None else out
        for part, columns in zip(self.parts, self.slices, strict=True):
            part.sample_from_mean(mean[..., columns], rng, out=states[..., columns])
        return states

    def log_partition_delta(self, total_input: Tensor, rows: Tensor) -> Tensor:
        """Return the sum over the parts, (N, rows)."""
        pairs = zip(self.parts, self.slices, strict=True)
        return torch.stack(
            [
                part.log_partition_delta(total_input[..., cols], rows[..., cols])
                for part, cols in pairs
            ]
        ).sum(0)

    def bias_scale(self, context: Context | None) -> Tensor | None:
        """Return that of the one part that has one.

        Raises:
            ConfigError: several parts scale the biases beyond.
        """
        scales = [
            scale
            for part, _, own in self._each(context)
            if (scale := part.bias_scale(own)) is not None
        ]
        if len(scales) > 1:
            raise ConfigError(
                f"{len(scales)} parts of {', '.join(self.names)} scale the biases of the layer "
                "beyond; at most one may"
            )
        return scales[0] if scales else None

    def statistics(self, states: Tensor) -> Tensor:
        """Return the parts' sufficient statistics side by side, (N, n_slots)."""
        return torch.cat(
            [part.statistics(states[..., columns]) for part, columns, _ in self._each(None)], -1
        )

    def moments(self, total_input: Tensor, context: Context | None = None) -> Tensor:
        """Return the parts' E[T | x] side by side, (N, n_slots)."""
        return torch.cat(
            [
                part.moments(total_input[..., columns], own)
                for part, columns, own in self._each(context)
            ],
            -1,
        )

    def parameter_gradients(self, data: Tensor, model: Tensor) -> dict[str, Tensor]:
        """Return the parts' gradients, by the names of this layer's parameters."""
        slots = [part.n_slots for part in self.parts]
        gradients: dict[str, Tensor] = {}
        for number, (part, of_data, of_model) in enumerate(
            zip(self.parts, torch.split(data, slots), torch.split(model, slots), strict=True)
        ):
            gradients |= {
                f"members.{number}.{name}": gradient
                for name, gradient in part.parameter_gradients(of_data, of_model).items()
            }
        return gradients

    @property
    def scales(self) -> list[str]:
        """Those of the parts, by the names of this layer's parameters."""
        return [f"members.{n}.{name}" for n, part in enumerate(self.parts) for name in part.scales]

    @property
    def held(self) -> list[str]:
        """Those of the parts, likewise."""
        return [f"members.{n}.{name}" for n, part in enumerate(self.parts) for name in part.held]

    def keep_in_range(self, std: Tensor | None = None) -> None:
        """Do it for each part."""
        for part, columns, _ in self._each(None):
            part.keep_in_range(None if std is None else std[columns])

    def match(
        self, mean: Tensor, variance: Tensor | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the parts' biases side by side, (size,)."""
        return torch.cat(
            [
                part.match(
                    mean[columns],
                    None if variance is None or part.held else variance[columns],
                    cases=cases,
                )
                for part, columns in zip(self.parts, self.slices, strict=True)
            ]
        )

    def match_statistics(
        self, statistics: Tensor, variance: Tensor | None, *, cases: int | None = None
    ) -> Tensor:
        """Return the parts' biases side by side, (size,)."""
        slots = torch.split(statistics, [part.n_slots for part in self.parts])
        return torch.cat(
            [
                part.match_statistics(
                    own,
                    None if variance is None or part.held else variance[columns],
                    cases=cases,
                )
                for part, columns, own in zip(self.parts, self.slices, slots, strict=True)
            ]
        )

    def interpolate(self, base: Units, t: float | Tensor) -> Units:
        """Return the parts each on their way from the base's."""
        if not isinstance(base, Groups) or base is self:
            return self
        parts = {
            name: part.interpolate(other, t)
            for name, part, other in zip(self.names, self.parts, base.parts, strict=True)
        }
        return (
            self
            if all(part is own for part, own in zip(parts.values(), self.parts, strict=True))
            else Groups(**parts)
        )

    def validate(self, cases: Tensor, *, states: bool = False) -> None:
        """Raise DataError unless each part's columns are cases (or states) of it."""
        for name, part, columns in zip(self.names, self.parts, self.slices, strict=True):
            with _named(name, columns):
                part.validate(cases[:, columns], states=states)

    def validate_counts(self, cases: Tensor, context: Context | None) -> None:
        """Raise DataError unless each part's columns have the counts that the context says."""
        for name, (part, columns, own) in zip(self.names, self._each(context), strict=True):
            with _named(name, columns):
                part.validate_counts(cases[:, columns], own)

    def any_state(self) -> Tensor:
        """Return one of each part."""
        return torch.cat([part.any_state() for part in self.parts])

    def fill(self, cases: Tensor, known: Tensor, rng: torch.Generator) -> None:
        """Put something in the place of what is not `known` (N, size) of `cases`, each part as it
        does, in place.
        """
        for name, part, columns in zip(self.names, self.parts, self.slices, strict=True):
            with _named(name, columns):
                part.fill(cases[:, columns], known[:, columns], rng)

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return those of all parts in order."""
        return [atom for part, _, own in self._each(context) for atom in part.atoms(own)]

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]] | None:
        """Yield those of all parts; None where one has none."""
        pairs = [
            part.factors(first[:, columns], second[:, columns])
            for part, columns in zip(self.parts, self.slices, strict=True)
        ]
        return (
            None
            if any(each is None for each in pairs)
            else (pair for each in pairs if each is not None for pair in each)
        )

    def settings(self) -> dict[str, Any]:
        """Return the parts' specs in order, each with its name."""
        return {
            "parts": [
                {"name": name, **part.spec()}
                for name, part in zip(self.names, self.parts, strict=True)
            ]
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Groups:
        """Return the layer that `settings` described."""
        parts = [dict(part) for part in settings["parts"]]
        return cls(**{part.pop("name"): from_spec(part) for part in parts})

    def __repr__(self) -> str:
        parts = zip(self.names, self.parts, strict=True)
        return f"Groups({', '.join(f'{name}={part!r}' for name, part in parts)})"

    def _kinds(self) -> list[tuple[str, int]]:
        return [kind for part in self.parts for kind in part._kinds()]


@contextmanager
def _named(name: str, columns: slice) -> Iterator[None]:
    """Let errors say of which part they speak."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"group {name}, columns {columns.start} to {columns.stop - 1}: {error}"
        ) from error
