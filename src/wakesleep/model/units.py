"""Units: what a total input means. Each kind turns it into a mean, a sample and a log-partition. No weights here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.compute import ops
from wakesleep.compute.ops import accumulation_dtype
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import check_fields, plain, whole
from wakesleep.sources.cases import require_binary


class Units(Protocol):
    """A layer of `size` stochastic units."""

    @property
    def size(self) -> int:
        """How many units (columns) there are."""
        ...

    def mean(self, total_input: Tensor, out: Tensor | None = None) -> Tensor:
        """Return E[s | total input], (N, size); written to `out` where given (it may be `total_input` itself)."""
        ...

    def sample(self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None) -> Tensor:
        """Return states drawn from their mean, (N, size); written to `out` where given (never `mean` itself)."""
        ...

    def log_partition(self, total_input: Tensor) -> Tensor:
        """Return log sum_s exp(s . total_input) over all states s of the layer, (N,), in nats."""
        ...

    def log_partition_shifts(self, total_input: Tensor, shifts: Tensor) -> Tensor:
        """Return log-partition(x + w) - log-partition(x) for each row w of `shifts` (rows, size): (N, rows), nats."""
        ...

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """The layer in words, [(kind, size), ...], for a model file."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """Independent binary units: p(s_j = 1) = sigm(x_j); log-partition sum_j log(1 + exp x_j)."""

    size: int

    def __post_init__(self) -> None:
        check_fields(self)

    def mean(self, total_input: Tensor, out: Tensor | None = None) -> Tensor:
        """Return sigm(x), (N, size)."""
        return torch.sigmoid(total_input, out=out) if out is not None else torch.sigmoid(total_input)

    def sample(self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None) -> Tensor:
        """Return 1 with the probability that is the mean, else 0, (N, size)."""
        return ops.of(mean).sample_bernoulli(mean, rng, out)

    def log_partition(self, total_input: Tensor) -> Tensor:
        """Return sum_j log(1 + exp x_j), (N,), nats."""
        return softplus(total_input).sum(-1)

    def log_partition_shifts(self, total_input: Tensor, shifts: Tensor) -> Tensor:
        """Return sum_j softplus(x_j + w_j) - softplus(x_j) for each row w of `shifts` (rows, size): (N, rows), nats."""
        return ops.of(total_input).log_partition_delta(total_input, shifts)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """[("bernoulli", size)]."""
        return [("bernoulli", self.size)]


@dataclass(frozen=True)
class Softmax:
    """One group of units of which exactly one is on: p(s_j = 1) = exp x_j / sum_k exp x_k."""

    size: int

    def __post_init__(self) -> None:
        check_fields(self)

    def mean(self, total_input: Tensor, out: Tensor | None = None) -> Tensor:
        """Return softmax(x), (N, size)."""
        probs = torch.softmax(total_input, -1)
        return probs if out is None else out.copy_(probs)

    def sample(self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None) -> Tensor:
        """Return one-hot rows drawn from the probabilities, (N, size)."""
        states = torch.empty_like(mean) if out is None else out
        return states.zero_().scatter_(-1, pick(mean, rng).unsqueeze(-1), 1.0)

    def log_partition(self, total_input: Tensor) -> Tensor:
        """Return log sum_j exp x_j, (N,), nats."""
        return torch.logsumexp(total_input, -1)

    def log_partition_shifts(self, total_input: Tensor, shifts: Tensor) -> Tensor:
        """Return log sum_j exp(x_j + w_j) - log sum_j exp x_j for each row w of `shifts` (rows, size): (N, rows), nats."""
        shifted = total_input.unsqueeze(-2) + shifts.to(total_input.dtype).unsqueeze(-3)
        return self.log_partition(shifted) - self.log_partition(total_input).unsqueeze(-1)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """[("softmax", size)]."""
        return [("softmax", self.size)]


@dataclass(frozen=True)
class Groups:
    """Several kinds of units side by side in one layer, e.g. 500 Bernoulli units and a softmax of 10 labels."""

    parts: tuple[Units, ...]

    @property
    def size(self) -> int:
        """All columns together."""
        return sum(part.size for part in self.parts)

    @property
    def slices(self) -> list[slice]:
        """The columns of each part."""
        ends = accumulate(part.size for part in self.parts)
        return [slice(end - part.size, end) for part, end in zip(self.parts, ends, strict=True)]

    def mean(self, total_input: Tensor, out: Tensor | None = None) -> Tensor:
        """Return each part's mean in its own columns, (N, size)."""
        means = torch.empty_like(total_input) if out is None else out
        for part, columns in zip(self.parts, self.slices, strict=True):
            part.mean(total_input[..., columns], out=means[..., columns])
        return means

    def sample(self, mean: Tensor, rng: torch.Generator, out: Tensor | None = None) -> Tensor:
        """Return each part's sample in its own columns, (N, size)."""
        states = torch.empty_like(mean) if out is None else out
        for part, columns in zip(self.parts, self.slices, strict=True):
            part.sample(mean[..., columns], rng, out=states[..., columns])
        return states

    def log_partition(self, total_input: Tensor) -> Tensor:
        """Return the sum of the parts' log-partitions, (N,), nats."""
        pairs = zip(self.parts, self.slices, strict=True)
        return torch.stack([part.log_partition(total_input[..., columns]) for part, columns in pairs]).sum(0)

    def log_partition_shifts(self, total_input: Tensor, shifts: Tensor) -> Tensor:
        """Return the sum of the parts' shifts, (N, rows), nats."""
        pairs = zip(self.parts, self.slices, strict=True)
        return torch.stack([part.log_partition_shifts(total_input[..., cols], shifts[..., cols]) for part, cols in pairs]).sum(0)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """The parts' kinds in order."""
        return [kind for part in self.parts for kind in part.kinds]


def pick(probs: Tensor, rng: torch.Generator) -> Tensor:
    """Return one column a row, drawn with the row's probabilities (N, columns): (N,).

    The smallest of exponential waiting times wins, p / e being largest. Unlike torch.multinomial it never waits for the device, and it
    lets NaN pass, so that a diverging net is noticed where weights are checked, with advice.
    """
    waiting = torch.empty_like(probs, dtype=accumulation_dtype(probs.dtype)).exponential_(generator=rng)
    return (probs / waiting).argmax(-1)


def softmax_columns(units: Units) -> list[slice]:
    """Return the columns of each softmax group that stands beside other units; none where the layer is of one kind."""
    return columns_of(units, Softmax) if isinstance(units, Groups) else []


def require_states(units: Units, cases: Tensor) -> None:
    """Raise DataError unless every case (N, size) is a state of the units: 0 or 1 (or 255 in uint8), exactly one 1 in a softmax group."""
    require_binary(cases)
    for columns in columns_of(units, Softmax):
        on = (cases[:, columns] != 0).sum(1)
        if bool((on != 1).any()):
            count, first = int((on != 1).sum()), int((on != 1).int().argmax())
            raise DataError(
                f"{count} of {len(cases)} cases have another number of 1s than one in the softmax group of columns {columns.start} to "
                f"{columns.stop - 1} (case {first} has {int(on[first])}); give each group one 1, e.g. by torch.nn.functional.one_hot"
            )


def columns_of(units: Units, kind: type[Bernoulli] | type[Softmax]) -> list[slice]:
    """Return the columns of each part of the layer that is of that kind, in order."""
    if isinstance(units, Groups):
        parts = zip(units.parts, units.slices, strict=True)
        return [slice(at.start + inner.start, at.start + inner.stop) for part, at in parts for inner in columns_of(part, kind)]
    return [slice(0, units.size)] if isinstance(units, kind) else []


def biases_of_means(units: Units, mean: Tensor) -> Tensor:
    """Return the biases (size,) with which units that hear nothing have that mean: log p / (1 - p), in a softmax group the log of its share.

    Raises:
        ConfigError: units of another kind.
    """
    if isinstance(units, Groups):
        parts = zip(units.parts, units.slices, strict=True)
        return torch.cat([biases_of_means(part, mean[columns]) for part, columns in parts])
    if isinstance(units, Softmax):
        return torch.log(mean / mean.sum())
    if isinstance(units, Bernoulli):
        return torch.log(mean) - torch.log1p(-mean)
    raise ConfigError(f"units {units.kinds}: base rates are known of binary units and softmax groups; other kinds are not built")


KINDS: dict[str, type[Bernoulli] | type[Softmax]] = {"bernoulli": Bernoulli, "softmax": Softmax}


def from_kinds(kinds: Sequence[tuple[str, int]]) -> Units:
    """Return the units that `kinds` describes: the way back from a model file.

    Raises:
        ConfigError: a kind is unknown or a size is below 1.
    """
    for kind, size in kinds:
        if kind not in KINDS or whole("size", size) < 1:
            raise ConfigError(f"units {kind!r} of size {size}: expected a size of at least 1 and one of {', '.join(KINDS)}")
    parts = tuple(KINDS[kind](size) for kind, size in kinds)
    return parts[0] if len(parts) == 1 else Groups(parts)


def as_units(units: Units | int) -> Units:
    """Return `units`; a number n means n Bernoulli units.

    Raises:
        ConfigError: neither units nor a whole number above 0.
    """
    found: Any = plain(units)
    if isinstance(found, int | float | str) or found is None:
        return from_kinds([("bernoulli", whole("units", found))])
    if not hasattr(found, "kinds"):
        raise ConfigError(f"units of type {type(units).__name__}: expected a number of binary units, or units of wakesleep.units")
    return found  # type: ignore[no-any-return]
