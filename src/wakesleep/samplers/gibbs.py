"""Alternating Gibbs sampling in an RBM: pure steps, some visible units clamped if asked.

A chain is a row. Every step samples both layers from their conditionals, so that the model's
distribution is left as it is. Whatever moves chains has one of two signatures: `gibbs_step`'s for
one step, `run`'s for several (`Sampler`); both take a clamp, a temperature and the context of the
visible units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from wakesleep.foundation.arguments import check_arguments
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.values import whole
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.axes import (
    ClampValues,
    GroupCases,
    Hidden,
    OutOfVisible,
    Part,
    Visible,
    VisibleMask,
)
from wakesleep.units import Context, Groups, Units


class Chains(NamedTuple):
    """The state of N chains: visible (N, visible) and hidden (N, hidden) states."""

    visible: Visible
    hidden: Hidden


class Clamp(NamedTuple):
    """Visible units that stay put: where `mask` (visible,) or (N, visible) is true, `values` (N,
    visible) hold.
    """

    mask: VisibleMask
    values: ClampValues

    def check_values(self) -> None:
        """Raise DataError where what is clamped is NaN or infinite."""
        if not self.values.is_meta and bool((self.mask & ~torch.isfinite(self.values)).any()):
            raise DataError(
                "NaN or infinite values of clamped units came; clamp only what is known"
            )

    @check_arguments
    def put(self, visible: OutOfVisible) -> Tensor:
        """Return visible states (..., N, visible) with the clamped units at their values."""
        return torch.where(self.mask, self.values, visible)

    @classmethod
    @check_arguments
    def of_groups(cls, rbm: RBM, known: Mapping[str, GroupCases]) -> Clamp:
        """Return the clamp that holds visible groups, by their names, at states (N, columns of the
        group).

        Raises:
            ConfigError: no group of such a name.
            DataError: none was given, states of another shape, or values that the group's units do
                not take.
        """
        if not known:
            raise DataError("no group to clamp was named; expected e.g. label=states (N, levels)")
        count = len(next(iter(known.values())))
        mask = torch.zeros(rbm.visible.size, dtype=torch.bool, device=rbm.weight.device)
        values = rbm.weight.new_zeros(count, rbm.visible.size)
        for name, states in known.items():
            columns = rbm.columns(name)
            if states.shape != (count, columns.stop - columns.start):
                expected = (count, columns.stop - columns.start)
                raise DataError(
                    f"states of shape {tuple(states.shape)} came for the group {name}; "
                    f"expected {expected}"
                )
            part = (
                rbm.visible.parts[rbm.visible.names.index(name)]
                if isinstance(rbm.visible, Groups)
                else rbm.visible
            )
            states = arrays.as_cases(
                states.to(values.device), part.size, values, limits=part.limits
            )
            part.validate(states)
            mask[columns], values[:, columns] = (
                True,
                arrays.as_probs(states) if states.dtype == torch.uint8 else states.to(values),
            )
        return cls(mask, values)


@runtime_checkable
class Sampler(Protocol):
    """What moves chains: `run` here, or a `tempering.Tempered`."""

    def __call__(
        self,
        rbm: RBM,
        hidden: Tensor,
        steps: int,
        rng: torch.Generator,
        clamp: Clamp | None = None,
        temperature: float = 1.0,
        context: Context | None = None,
    ) -> Chains:
        """Return the chains `steps` steps on from hidden states (N, hidden)."""
        ...


@check_arguments
def random_hidden(rbm: RBM, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` hidden states drawn without input, (count, hidden): the far end from which
    chains find their own way.
    """
    whole("count", count, least=0)
    units = rbm.hidden
    if units.n_bernoulli == units.size:
        return rbm.weight.new_empty(count, units.size).bernoulli_(0.5, generator=rng)
    return units.sample(rbm.weight.new_zeros(count, units.size), rng)


@check_arguments
def restarted(rbm: RBM, hidden: Hidden, chance: float, rng: torch.Generator) -> Tensor:
    """Return chains (N, hidden), each put back to states drawn without input with that chance."""
    fresh = torch.rand(len(hidden), 1, generator=rng, device=rng.device) < chance
    return torch.where(fresh, rbm.hidden.sample(torch.zeros_like(hidden), rng), hidden)


@check_arguments
def gibbs_step(
    rbm: RBM,
    hidden: Hidden,
    rng: torch.Generator,
    clamp: Clamp | None = None,
    temperature: float = 1.0,
    context: Context | None = None,
) -> Chains:
    """Return the chains one step on: visible ~ p(v | hidden), clamped units put back, hidden ~ p(h
    | visible).

    At another temperature T total inputs are divided by T: for units without a potential, as binary
    ones are, the chain is that of p(v, h) ~ exp(-E(v, h) / T), bolder above 1, more set in its ways
    below. States are taken as they are; `run` looks for NaN once.

    Raises:
        ConfigError: a temperature that is not above 0, or no generator: PyTorch's global one is
            never drawn from.
    """
    check_temperature(temperature)
    visible = _sample(rbm.visible, rbm.visible_input(hidden), rng, temperature, context)
    if clamp is not None:
        visible = clamp.put(visible)
    return Chains(
        visible,
        _sample(rbm.hidden, rbm.hidden_input(visible, context=context), rng, temperature, None),
    )


def _sample(
    units: Units,
    total_input: Tensor,
    rng: torch.Generator,
    temperature: float,
    context: Context | None,
) -> Tensor:
    """Return states given a total input (N, size), which is lost."""
    if temperature != 1:
        total_input /= temperature
    return units.mean_and_sample(total_input, rng, context=context, mean=total_input)[1]


def check_steps(steps: int, temperature: float = 1.0) -> None:
    """Raise ConfigError unless there is at least one step, at a temperature above 0."""
    if steps < 1:
        raise ConfigError(f"{steps} Gibbs steps: expected at least 1")
    check_temperature(temperature)


def check_temperature(temperature: float) -> None:
    """Raise ConfigError unless the temperature is a number above 0."""
    if not 0 < temperature < math.inf:
        raise ConfigError(
            f"temperature {temperature}: expected a number above 0; 1 is the model's own"
        )


@check_arguments
def check_states(states: Part, clamp: Clamp | None = None) -> None:
    """Raise DataError where states, or what is clamped, are NaN or infinite: units given such
    inputs would be drawn as 0.
    """
    if not isinstance(states, Tensor) or states.is_meta:
        return  # the first product says in words that they do not fit
    bad = int((~torch.isfinite(states)).sum())
    if bad:
        raise DataError(
            f"{bad} of {states.numel()} states that chains begin with are NaN or infinite; fill "
            "them in (wakesleep.missing.impute)"
        )
    if clamp is not None:
        clamp.check_values()


@check_arguments
def run(
    rbm: RBM,
    hidden: Hidden,
    steps: int,
    rng: torch.Generator,
    clamp: Clamp | None = None,
    temperature: float = 1.0,
    context: Context | None = None,
) -> Chains:
    """Return the chains after `steps` steps from hidden states (N, hidden).

    Raises:
        ConfigError: steps below 1, or a temperature that is not above 0.
        DataError: hidden states or clamped values that are NaN or infinite.
    """
    check_steps(steps, temperature)
    check_states(hidden, clamp)
    chains = gibbs_step(rbm, hidden, rng, clamp, temperature, context)
    for _ in range(steps - 1):
        chains = gibbs_step(rbm, chains.hidden, rng, clamp, temperature, context)
    return chains
