"""What every family of units offers. Shapes: total inputs, means and states (N, size); nats.

Source: Welling, Rosen-Zvi & Hinton (2004), "Exponential family harmoniums with an application to
information retrieval".
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from wakesleep.foundation.arguments import check_methods
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.sources.arrays import SLACK
from wakesleep.sources.axes import (
    Layer,
    LayerCases,
    LayerMask,
    LayerOut,
    LayerRows,
    LayerWritten,
    Slots,
    UnitMoments,
)
from wakesleep.sources.context import Context

Family = TypeVar("Family", bound="Units")


class Atom(NamedTuple):
    """Columns of a layer that are independent of all others given their total input, with every
    state they can take.
    """

    states: Tensor
    """(states, columns), float64."""
    log_measure: Tensor
    """-U of each state, (states,), float64."""


class Units(nn.Module, ABC):
    """A layer of units with p(s | x) = exp(x . s - U(s) - Gamma(x)) for its total input x.

    A family defines `log_partition`, `mean`, `variance` and `sample`, and whatever else differs
    from what stands here. Its own parameters (a precision, say) are `nn.Parameter`s; the bias
    belongs to the model. Two layers are equal only if they are the same object; `spec()` says
    whether they are alike.
    """

    family: ClassVar[str] = ""
    """The name in model files; the class's own where it is empty."""
    limits: ClassVar[tuple[float, float] | None] = None
    """What the values of cases must lie between: (0, 1) for those that may come as probabilities;
    None where `validate` says.
    """
    settled_by_mean: ClassVar[bool] = False
    """Whether states can be drawn from their mean, by `sample_from_mean`, so that it need not be
    formed twice.
    """
    signed: ClassVar[bool] = False
    """Whether states may lie below 0, so that a mean is no activity."""
    needs_count: ClassVar[bool] = False
    """Whether states mean something only with the `count` of the case's `Context`."""
    holds_scale: bool = False
    """Whether these are the visible units of a machine that stands on another, whose hidden units
    they are: their scale is that of those.
    """
    any_type: ClassVar[bool] = True
    """Total inputs and states may be of any floating type: nothing is multiplied by weights."""
    size: int

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = whole("size", size, least=1)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_methods(cls, Units)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """How long the axes are that annotations name (`sources.axes`)."""
        return {"size": self.size, "visible": self.size, "slots": self.n_slots}

    @property
    def n_slots(self) -> int:
        """How many columns `statistics` has."""
        return self.size

    @property
    def site_columns(self) -> list[slice]:
        """The columns of each site: they are known, or absent, together."""
        return []

    @property
    def categorical_columns(self) -> list[slice]:
        """The columns of each site of which exactly one is on."""
        return []

    @property
    def one_hot_columns(self) -> list[slice]:
        """The columns of each categorical site that stands beside other units."""
        return []

    @property
    def n_bernoulli(self) -> int:
        """How many of the first columns are Bernoulli units, which compiled layers may serve."""
        return 0

    def potential(self, states: Layer, context: Context | None = None) -> Tensor:
        """Return U(s), (N,)."""
        return states.new_zeros(states.shape[:-1])

    @abstractmethod
    def log_partition(self, total_input: Layer, context: Context | None = None) -> Tensor:
        """Return Gamma(x) = log sum_s exp(x . s - U(s)), (N,), an integral where states are
        continuous.
        """

    @abstractmethod
    def mean(
        self, total_input: Layer, *, context: Context | None = None, out: LayerOut | None = None
    ) -> Tensor:
        """Return E[s | x] = Gamma'(x), (N, size); written to `out` where given, which may be
        `total_input` itself.
        """

    @abstractmethod
    def variance(self, total_input: Layer, context: Context | None = None) -> Tensor:
        """Return Var[s_i | x] = d2 Gamma / dx_i2 of each column, (N, size)."""

    @abstractmethod
    def sample(
        self,
        total_input: Layer,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        out: LayerOut | None = None,
    ) -> Tensor:
        """Return states drawn from p(s | x), (N, size); written to `out` where given, which is
        never `total_input` itself.
        """

    def sample_from_mean(
        self, mean: Layer, rng: torch.Generator, out: LayerOut | None = None
    ) -> Tensor:
        """Return states drawn given their mean, (N, size), which is not changed: for families that
        their mean settles.

        Raises:
            ConfigError: it does not.
        """
        raise ConfigError(
            f"{self}: units of this family are drawn from their total input, not from their "
            "mean; call sample"
        )

    def mean_and_sample(
        self,
        total_input: Layer,
        rng: torch.Generator,
        *,
        context: Context | None = None,
        mean: LayerOut | None = None,
        out: LayerOut | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return `mean` and `sample` at once, each (N, size); `mean` may be `total_input` itself,
        `out` neither.
        """
        states = self.sample(total_input, rng, context=context, out=out)
        return self.mean(total_input, context=context, out=mean), states

    def tail_precision(self) -> Tensor:
        """Return g (size,) such that U(s) grows at least as g s^2 / 2 far out; infinity where
        states are bounded, as is supposed of a family that does not say.
        """
        return torch.full((self.size,), math.inf)

    def log_partition_delta(self, total_input: Layer, rows: LayerRows) -> Tensor:
        """Return Gamma(x + w) - Gamma(x) for each row w of `rows` (rows, size): (N, rows)."""
        moved = total_input.unsqueeze(-2) + rows.to(total_input.dtype).unsqueeze(-3)
        return self.log_partition(moved) - self.log_partition(total_input).unsqueeze(-1)

    def bias_scale(self, context: Context | None) -> Tensor | None:
        """Return by what the biases of the layer beyond are multiplied in each case, (N, 1); None
        for 1.
        """
        return None

    def statistics(self, states: Layer) -> Tensor:
        """Return the sufficient statistics T(s), (N, n_slots): those of the bias first, then those
        of the family's own parameters.
        """
        return states

    def moments(self, total_input: Layer, context: Context | None = None) -> Tensor:
        """Return E[T | x], (N, n_slots)."""
        return self.mean(total_input, context=context)

    def parameter_gradients(self, data: Slots, model: Slots) -> dict[str, Tensor]:
        """Return the gradient of the mean log-likelihood by each of the family's own parameters, by
        name.

        `data` and `model` (n_slots,) are the means of T over the data and under the model.
        """
        return {}

    @property
    def scales(self) -> list[str]:
        """The names of the family's own parameters that only say how large states are: with hidden
        units the weights say that too, so learning holds them.
        """
        return []

    @property
    def held(self) -> list[str]:
        """The names of the scales that learning holds also where the units are visible, see
        `holds_scale`.
        """
        return self.scales if self.holds_scale else []

    def keep_in_range(self, std: Tensor | None = None) -> None:
        """Put the family's own parameters back to where they can be, in place, for data of this
        standard deviation (size,); without one, all but the `scales`.
        """

    def match(
        self, mean: UnitMoments, variance: UnitMoments | None = None, *, cases: int | None = None
    ) -> Tensor:
        """Return the bias (size,) with which units without other input have these moments; sets the
        family's own parameters.

        Moments are (size,). Where they are those of a number of `cases`, families whose bias would
        be infinite at the edge of their range add one case on and one off.
        """
        raise ConfigError(
            f"{self}: no bias is known that gives units of this family a mean; define match()"
        )

    def match_statistics(
        self, statistics: Tensor, variance: Tensor | None, *, cases: int | None = None
    ) -> Tensor:
        """Return `match` of the means of all sufficient statistics, (n_slots,): a family that can
        meet more of them than mean and variance does.
        """
        return self.match(statistics[: self.size], variance, cases=cases)

    def interpolate(self, base: Units, t: float | Tensor) -> Units:
        """Return the family at (1 - t) base + t self, in natural parameters; `t` may be (N, 1), one
        a case.
        """
        return self

    def validate(self, cases: LayerCases, *, states: bool = False) -> None:
        """Raise DataError unless every case (N, size) is one that these units take; with `states`,
        one that they can be in.
        """
        if not bool(torch.isfinite(cases).all()):
            column = int((~torch.isfinite(cases)).any(0).int().argmax())
            raise DataError(
                f"cases with NaN or infinite values in column {column} came; expected finite "
                "numbers: leave them out or fill them in"
            )
        if self.limits is not None and cases.is_floating_point():
            low, high = float(cases.min()), float(cases.max())
            if low < self.limits[0] - SLACK or high > self.limits[1] + SLACK:
                beyond = (cases < self.limits[0] - SLACK) | (cases > self.limits[1] + SLACK)
                raise DataError(
                    f"cases run from {low:.7g} to {high:.7g}, beyond first in column "
                    f"{int(beyond.any(0).int().argmax())}; {self} expects {self.limits[0]:g} "
                    f"to {self.limits[1]:g}"
                )

    def any_state(self) -> Tensor:
        """Return a state of the layer, (size,): what stands for absent columns where the others are
        validated.
        """
        return torch.zeros(self.size)

    def validate_present(
        self, cases: LayerCases, context: Context | None, *, states: bool = False
    ) -> None:
        """Do what `validate` does for the columns that are there."""
        if context is not None and context.mask is not None:
            for site in self.site_columns:
                there = context.mask[:, site] != 0
                if bool((there.any(1) & ~there.all(1)).any()):
                    raise DataError(
                        "a context's mask has part of the site of columns "
                        f"{site.start} to {site.stop - 1}; expected all of its columns, or none"
                    )
            state = self.any_state().to(cases.device)
            if cases.dtype == torch.uint8:
                state = 255 * state
            else:
                cases = cases.to(torch.promote_types(cases.dtype, torch.float32))
            there = torch.where(context.mask != 0, cases, state.to(cases.dtype))
            self.validate(there, states=states)
        else:
            self.validate(cases, states=states)
        self.validate_counts(cases, context)

    def validate_counts(self, cases: LayerCases, context: Context | None) -> None:
        """Raise DataError unless cases (N, size) have the counts that the context says of them: for
        families that take some.
        """

    def fill(self, cases: LayerWritten, known: LayerMask, rng: torch.Generator) -> None:
        """Put something in the place of what is not `known` (N, size) of `cases` (N, size), in
        place: here, each column's mean.
        """
        cases.copy_(torch.where(known, cases, torch.nan_to_num(torch.nanmean(cases, 0), nan=0.0)))

    def n_states(self, context: Context | None = None) -> int:
        """Return how many states the layer has.

        Raises:
            ConfigError: infinitely many.
        """
        return math.prod(len(atom.states) for atom in self.atoms(context))

    def states(self, context: Context | None = None) -> Tensor:
        """Return every state, (states, size), float64.

        Raises:
            ConfigError: there are infinitely many.
        """
        return product_states(self.atoms(context)).states

    def atoms(self, context: Context | None = None) -> list[Atom]:
        """Return the layer as independent pieces, columns in order, each with its states; a context
        is of one case, (1, ...).

        Raises:
            ConfigError: there are infinitely many states.
        """
        raise ConfigError(
            f"{self}: units with a continuum of states cannot be listed; estimate log Z by AIS "
            "(wakesleep.likelihood.log_partition)"
        )

    def factors(
        self, first: Tensor, second: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, float, float]] | None:
        """Yield pairs (m, k), (n, k) whose products over k, multiplied, are exp Gamma(x + y) for
        each row x of `first`, y of `second`.

        With each come a bound of its logarithm from below, 0 or less, and one from above, 0 or
        more. None where there is no such way.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON can hold them; parameters are tensors,
        and not among them.
        """
        return {"size": self.size}

    def spec(self) -> dict[str, Any]:
        """Return family and settings, as JSON can hold them: the way back is `units.from_spec`.

        Raises:
            ConfigError: a subclass of a registered family that is not registered itself, which
                would be read back as its parent.
        """
        if self.family and "family" not in type(self).__dict__:
            own = type(self).__name__
            raise ConfigError(
                f"units of the class {own}, which inherits the name {self.family} and would be "
                f"read back as that: make it known by wakesleep.units.register({own})"
            )
        return {"family": self.family or type(self).__name__, **self.settings()}

    @classmethod
    def from_settings(cls: type[Family], settings: dict[str, Any]) -> Family:
        """Return units with these `settings`."""
        return cls(**settings)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings().items())
        return f"{type(self).__name__}({settings})"

    def log_partition_shifts(self, total_input: Layer, shifts: LayerRows) -> Tensor:
        """Return `log_partition_delta`, which older versions called so."""
        warnings.warn(
            "log_partition_shifts is called log_partition_delta now",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.log_partition_delta(total_input, shifts)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """[(family, size)], which `spec()` replaces."""
        warnings.warn("kinds is replaced by spec()", DeprecationWarning, stacklevel=2)
        return self._kinds()

    def _kinds(self) -> list[tuple[str, int]]:
        return [({"Categorical": "softmax"}.get(self.family, self.family.lower()), self.size)]


check_methods(Units)


def with_parameters(units: Family, **tensors: Tensor) -> Family:
    """Return units like these, with `tensors` in the place of the parameters of those names; a
    tensor may have a row for each case in front.
    """
    copied = copy(units)
    kept = {name: p for name, p in units._parameters.items() if name not in tensors}
    copied.__dict__ = {**units.__dict__, "_parameters": kept, **tensors}
    return copied


def product_states(atoms: list[Atom]) -> Atom:
    """Return every combination of the atoms' states, with its log measure."""
    states, log_measure = (
        torch.zeros(1, 0, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )
    for atom in atoms:
        count = len(states)
        states = torch.cat(
            [states.repeat_interleave(len(atom.states), 0), atom.states.repeat(count, 1)], 1
        )
        log_measure = log_measure.repeat_interleave(
            len(atom.log_measure)
        ) + atom.log_measure.repeat(count)
    return Atom(states, log_measure)


def present(values: Tensor, context: Context | None, out: Tensor | None = None) -> Tensor:
    """Return values (N, size) with those of absent columns at 0; in place where they lie in
    `out`.
    """
    if context is None or context.mask is None:
        return values
    return values * context.mask if out is None else out.mul_(context.mask)
