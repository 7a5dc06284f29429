"""The normal distribution on s >= 0: exp(x s - g s^2 / 2) over its integral. Elementwise; worked
out in float64, for a = x / sqrt(g) far below 0 makes small differences of large numbers.

Below a = -30 moments come from the continued fraction of Mills' ratio (Abramowitz & Stegun,
26.2.14) and samples from an inverse that is solved for on the logarithmic scale; above, from erfcx
and from the inverse of the normal distribution function. No sample is rejected.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import erfc, erfcx, ndtri

FAR = 30.0
"""How far below 0 a may lie before the tail's own formulas are used."""
LEVELS = 8
"""Levels of the continued fraction: beyond a = -FAR the rest is below the rounding error."""


def log_partition(x: Tensor, g: Tensor) -> Tensor:
    """Return log of the integral of exp(x s - g s^2 / 2) over s >= 0, nats:
    log erfcx(-a / sqrt 2) + log(pi / 2g) / 2.
    """
    a, root = _standard(x, g)
    below = torch.log(erfcx((-a / math.sqrt(2)).clamp(min=0)))
    above = a.square() / 2 + torch.log1p(torch.erf(a.clamp(min=0) / math.sqrt(2)))
    log_z = torch.where(a < 0, below, above) + math.log(math.pi / 2) / 2 - torch.log(root)
    return log_z.to(x.dtype)


def moments(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance, float64: (a + r) / sqrt g and (1 - r (a + r)) / g, with r the ratio
    of the normal density to its distribution function at a.
    """
    a, root = _standard(x, g)
    near, t = a.clamp(min=-FAR), -a.clamp(max=-FAR)
    negative = math.sqrt(2 / math.pi) / erfcx((-near / math.sqrt(2)).clamp(min=0))
    density = math.sqrt(2 / math.pi) * torch.exp(-near.clamp(min=0).square() / 2)
    ratio = torch.where(
        near < 0, negative, density / (1 + torch.erf(near.clamp(min=0) / math.sqrt(2)))
    )
    mean, variance = near + ratio, 1 - ratio * (near + ratio)
    q = torch.zeros_like(t)  # the mean is 1 / (t + q), q = 2 / (t + 3 / (t + ...))
    for level in range(LEVELS, 1, -1):
        q = level / (t + q)
    tail = 1 / (t + q)
    far = a < -FAR
    mean = torch.where(far, tail, mean)
    variance = torch.where(far, tail * (q - tail), variance)
    return mean / root, variance / root.square()


def sample(x: Tensor, g: Tensor, rng: torch.Generator) -> Tensor:
    """Return states, in the type of x, by the inverse of the distribution function."""
    a, root = _standard(x, g)
    u = torch.empty_like(a).uniform_(generator=rng).clamp_(2.0**-54, 1 - 2.0**-53)
    near = a.clamp(min=-FAR)
    # torch.special.ndtr is 0 below -8.3, where half of erfc still has all digits
    inside = near - ndtri(u * erfc(-near / math.sqrt(2)) / 2)
    outside = _tail(-a.clamp(max=-FAR), -torch.log(u))
    states = torch.where(a < -FAR, outside, inside).clamp_(min=0) / root
    return states.to(x.dtype)


def _tail(t: Tensor, e: Tensor) -> Tensor:
    """Return s with P(z > t + s | z > t) = exp(-e), z standard normal: by Newton's method from
    sqrt(t^2 + 2e) - t, the tail without its ratio of Mills' ratios R.
    """
    s = 2 * e / (t + torch.sqrt(t.square() + 2 * e))
    start = torch.log(erfcx(t / math.sqrt(2)))
    for _ in range(3):
        mills = erfcx((t + s) / math.sqrt(2))
        wrong = s * t + s.square() / 2 + start - torch.log(mills) - e
        s = s - wrong * mills * math.sqrt(math.pi / 2)  # the slope is 1 / R(t + s)
    return s.clamp(min=0)


def _standard(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return a = x / sqrt(g) and sqrt(g), float64."""
    root = g.double().sqrt()
    return x.double() / root, root
