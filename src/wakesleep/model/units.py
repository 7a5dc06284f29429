"""Units: what a total input means. Each kind turns it into a mean, a sample and a log-partition. No weights here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wakesleep.foundation import native, products
from wakesleep.foundation.cases import require_binary
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.precision import fine
from wakesleep.foundation.rng import random_word, random_words
from wakesleep.foundation.values import check_fields, plain, whole

MANY = 4096
"""Units from which on 16 random bits each come cheaper on a processor than 32: four of them at the price of one float."""


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
        """Return log-partition(x + w) - log-partition(x) for each row w of `shifts` (rows, size): (N, rows), nats.

        Several layers at once, (S, N, size) and (S, rows, size), give (S, N, rows).
        """
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
        """Return 1 where a uniform number falls below the mean, else 0, (N, size)."""
        states = torch.empty_like(mean) if out is None else out
        if mean.is_cuda:  # its many threads draw floats at no price, and each step of a cleverer way would be one more kernel
            return torch.lt(torch.rand(mean.shape, generator=rng, device=mean.device, dtype=fine(mean.dtype)), mean, out=states)
        if mean.dtype == torch.bfloat16 or (mean.dtype == torch.float32 and mean.numel() >= MANY):
            return _toss(mean, rng, states)
        return states.uniform_(generator=rng).lt_(mean)

    def log_partition(self, total_input: Tensor) -> Tensor:
        """Return sum_j log(1 + exp x_j), (N,), nats."""
        return softplus(total_input).sum(-1)

    def log_partition_shifts(self, total_input: Tensor, shifts: Tensor) -> Tensor:
        """Return sum_j log(sigm(-x_j) + sigm(x_j) e^w_j) for each row w of `shifts` (rows, size): (N, rows), nats.

        That is softplus(x + w) - softplus(x), and is formed so where an entry of w is larger than 80 in size. On a GPU it is always written
        so, for logarithms cost less there than many steps. On a processor they are dear, and the sum is the logarithm of a product: up to 16
        units share one, as many as can without leaving float32, e^80 for a margin. A row at a time stays in the processor's cache.
        """
        if total_input.dtype == torch.float32 and products.suit_kernels(total_input):
            from wakesleep.foundation import kernels

            return kernels.shifts(total_input, shifts)
        if shifts.is_cuda:
            now = total_input.unsqueeze(-2)
            return (softplus(now + shifts.to(total_input.dtype).unsqueeze(-3)) - softplus(now)).sum(-1)
        largest = float(shifts.abs().max())
        if largest > 80:  # e^w would leave float32
            base, own = softplus(total_input), shifts.to(total_input.dtype).unbind(-2)
            return torch.stack([(softplus(total_input + row.unsqueeze(-2)) - base).sum(-1) for row in own], -1)
        shared = min(16.0, 80 / max(largest, 1.0))
        off, on = torch.sigmoid(-total_input), torch.sigmoid(total_input)
        product = factors = torch.empty_like(off)
        halves: list[tuple[Tensor, Tensor]] = []
        units = 2
        while units <= shared and product.shape[-1] % 2 == 0:
            product, other = product.chunk(2, -1)
            halves, units = [*halves, (product, other)], 2 * units
        all_rows = total_input.new_empty(shifts.shape[-2], *product.shape)
        for row, kept in zip(shifts.to(off.dtype).exp().unbind(-2), all_rows, strict=True):
            torch.addcmul(off, on, row.unsqueeze(-2), out=factors)
            for half, other in halves:
                half.mul_(other)
            kept.copy_(product)
        return all_rows.log_().sum(-1).movedim(0, -1)

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


def _toss(mean: Tensor, rng: torch.Generator, states: Tensor) -> Tensor:
    """Write 1 to `states` where one of four numbers, from -32768 to 32767, that 64 random bits hold is below its threshold, else 0."""
    if native.suits(mean, states):
        begin, offset = random_word(rng), _offset(rng)
        native.draw(mean, states, begin, offset)
        return states
    words = random_words(-(-mean.numel() // 4), rng)
    numbers, thresholds = words.view(torch.int16)[: mean.numel()].view(mean.shape), _thresholds(mean, rng)
    if states.dtype == torch.float32:
        return torch.lt(numbers, thresholds, out=states)
    return states.copy_(numbers.float().lt_(thresholds))  # a processor is slow at steps of mixed types


def _thresholds(mean: Tensor, rng: torch.Generator) -> Tensor:
    """Return thresholds below which each of the numbers falls with the probability `mean`, float32: 65536 mean - 32768 - u."""
    return torch.add(_offset(rng), mean.float(), alpha=65536.0)


def _offset(rng: torch.Generator) -> Tensor:
    """Return -32768 - u, with one u, uniform in [0, 1), for all: 16 random bits alone would round probabilities up to the next 1/65536."""
    return torch.rand((), generator=rng, device=rng.device).neg_().sub_(32768.0)


def pick(probs: Tensor, rng: torch.Generator) -> Tensor:
    """Return one column a row, drawn with the row's probabilities (N, columns): (N,).

    The smallest of exponential waiting times wins, p / e being largest. Unlike torch.multinomial it never waits for the device, and it
    lets NaN pass, so that a diverging net is noticed where weights are checked, with advice.
    """
    waiting = torch.empty_like(probs, dtype=fine(probs.dtype)).exponential_(generator=rng)
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
