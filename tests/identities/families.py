"""Families of units that are defined here alone: what a user's own family has to bring, and proof
that nothing under src must know of it.

OwnGaussian has a learned precision, OwnMultinomial takes its count from each case, OwnSpin takes a
mask of absent sites.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import nn

from wakesleep.foundation.errors import DataError
from wakesleep.units import Atom, Units, register


@register
class OwnGaussian(Units):
    """U(s) = g s^2 / 2, Gamma(x) = sum x^2 / 2g + log(2 pi / g) / 2; the precision g = exp(rho) is
    learned by its logarithm.
    """

    def __init__(self, size: int, log_precision: torch.Tensor | None = None) -> None:
        super().__init__(size)
        rho = torch.zeros(self.size) if log_precision is None else log_precision
        self.rho = nn.Parameter(rho, requires_grad=False)

    @property
    def precision(self):
        return self.rho.exp()

    @property
    def n_slots(self):
        return 2 * self.size

    def potential(self, states, context=None):
        return (self.precision * states.square()).sum(-1) / 2

    def log_partition(self, total_input, context=None):
        g = self.precision
        return (total_input.square() / (2 * g) + (2 * math.pi / g).log() / 2).sum(-1)

    def mean(self, total_input, *, context=None, out=None):
        return (
            torch.div(total_input, self.precision, out=out)
            if out is not None
            else total_input / self.precision
        )

    def variance(self, total_input, context=None):
        return (1 / self.precision).expand_as(total_input)

    def sample(self, total_input, rng, *, context=None, out=None):
        noise = torch.empty_like(total_input).normal_(generator=rng)
        states = self.mean(total_input) + noise / self.precision.sqrt()
        return states if out is None else out.copy_(states)

    def statistics(self, states):
        return torch.cat([states, states.square()], -1)

    def moments(self, total_input, context=None):
        mean = self.mean(total_input)
        return torch.cat([mean, mean.square() + 1 / self.precision], -1)

    def parameter_gradients(self, data, model):
        return {"rho": -self.precision * (data - model)[self.size :] / 2}

    def match(self, mean, variance=None, *, cases=None):
        if variance is not None:
            floor = 0.0 if cases is None else 1e-6
            g = 1 / torch.where(variance > 0, variance + floor, torch.ones_like(variance))
            self.rho.copy_(g.log())
        return mean * self.precision

    def interpolate(self, base, t):
        if base is self or torch.equal(base.rho, self.rho):
            return self
        return _Between(self.size, (1 - t) * base.precision + t * self.precision)

    def settings(self):
        return {"size": self.size}


class _Between(OwnGaussian):
    """A Gaussian on the way from one precision to another."""

    def __init__(self, size, precision):
        super().__init__(size)
        self.g = precision

    @property
    def precision(self):
        return self.g


@register
class OwnMultinomial(Units):
    """D draws among `size` words, D the context's count: U(s) = -log D! / prod s_k!, Gamma(x) = D
    logsumexp x; hidden biases count D times.
    """

    def log_partition(self, total_input, context=None):
        return _count(context) * torch.logsumexp(total_input, -1)

    def potential(self, states, context=None):
        return torch.lgamma(states + 1).sum(-1) - torch.lgamma(states.sum(-1) + 1)

    def mean(self, total_input, *, context=None, out=None):
        mean = _count(context)[:, None] * torch.softmax(total_input, -1)
        return mean if out is None else out.copy_(mean)

    def variance(self, total_input, context=None):
        p = torch.softmax(total_input, -1)
        return _count(context)[:, None] * p * (1 - p)

    def sample(self, total_input, rng, *, context=None, out=None):
        p, count = torch.softmax(total_input, -1), _count(context).expand(len(total_input))
        longest = int(count.max())
        words = torch.multinomial(p, longest, replacement=True, generator=rng)
        drawn = (
            nn.functional.one_hot(words, self.size).to(p)
            * (torch.arange(longest) < count[:, None])[:, :, None]
        )
        states = drawn.sum(1)
        return states if out is None else out.copy_(states)

    def bias_scale(self, context):
        return _count(context)[:, None]

    def match(self, mean, variance=None, *, cases=None):
        p = mean if cases is None else mean + 1 / cases
        return torch.log(p / p.sum())

    def validate(self, cases, *, states=False):
        super().validate(cases)
        if bool((cases < 0).any()) or not torch.equal(cases, cases.round()):
            raise DataError("counts are whole numbers of 0 or more")

    def atoms(self, context=None):
        count = int(_count(context)[0])
        every = [
            state for state in product(range(count + 1), repeat=self.size) if sum(state) == count
        ]
        states = torch.tensor(every, dtype=torch.float64)
        return [Atom(states, -self.potential(states))]


def _count(context):
    if context is None or context.count is None:
        raise DataError("multinomial units want the count of each case: give a Context(count=...)")
    return context.count


@register
class OwnSpin(Units):
    """-1 or 1, 0 where the context's mask says that the site is absent: U(s) = 0, Gamma(x) = sum
    log 2 cosh x over the sites that are there.
    """

    def log_partition(self, total_input, context=None):
        return (torch.logaddexp(total_input, -total_input) * _there(total_input, context)).sum(-1)

    def mean(self, total_input, *, context=None, out=None):
        return torch.mul(torch.tanh(total_input), _there(total_input, context), out=out)

    def variance(self, total_input, context=None):
        return (1 - torch.tanh(total_input).square()) * _there(total_input, context)

    def sample(self, total_input, rng, *, context=None, out=None):
        up = torch.rand(total_input.shape, generator=rng, dtype=total_input.dtype) < torch.sigmoid(
            2 * total_input
        )
        return torch.mul(2 * up.to(total_input) - 1, _there(total_input, context), out=out)

    def match(self, mean, variance=None, *, cases=None):
        mean = mean if cases is None else mean * cases / (cases + 2)
        return torch.atanh(mean)

    def atoms(self, context=None):
        both, none = (
            torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
            torch.zeros(1, 1, dtype=torch.float64),
        )
        there = (
            [True] * self.size
            if context is None or context.mask is None
            else context.mask[0].tolist()
        )
        return [
            Atom(both, torch.zeros(2).double()) if each else Atom(none, torch.zeros(1).double())
            for each in there
        ]


def _there(values, context):
    return (
        torch.ones_like(values)
        if context is None or context.mask is None
        else context.mask.to(values)
    )
