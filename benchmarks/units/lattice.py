"""The 2-D Ising model on a small torus, exactly: E(v) = - sum of v_i v_j over neighbours,
p(v) = exp(-E(v) / T) / Z.

A row of L spins has 2^L states. With M the transfer matrix between the states of two rows,
Z = trace M^L, and a sample is drawn row by row from products of M's powers: independent and exact,
with no chain that could be too short.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 8
"""Rows and columns of the torus."""


class Expectations(NamedTuple):
    """Exact means under p."""

    energy: float
    """E(v) a spin."""
    magnetisation: float
    """The absolute value of the mean spin."""


def row_states() -> Tensor:
    """Return the states of a row, (2^SIDE, SIDE), -1 or 1, float64."""
    bits = torch.arange(2**SIDE)[:, None] >> torch.arange(SIDE) & 1
    return (2 * bits - 1).double()


def transfer(beta: Tensor) -> Tensor:
    """Return M, (2^SIDE, 2^SIDE): exp of beta times the bonds between two rows, and half of those
    within each.
    """
    rows = row_states()
    within = (rows * rows.roll(1, 1)).sum(1)
    return torch.exp(beta * (rows @ rows.t() + (within[:, None] + within) / 2))


def log_partition(temperature: float) -> float:
    """Return log Z, nats."""
    return float(_log_partition(torch.tensor(1 / temperature).double()))


def _log_partition(beta: Tensor) -> Tensor:
    """Return log trace M^SIDE, which can be differentiated."""
    total: Tensor = torch.linalg.matrix_power(transfer(beta), SIDE).trace()
    return total.log()


def expectations(temperature: float) -> Expectations:
    """Return the exact means: E = - d log Z / d beta, and |m| from the law of the number of spins
    up.

    The generating function of that number is trace (M D)^SIDE, D = diag(z^number of the row), at
    the roots of unity z; its Fourier transform is the law.
    """
    beta = torch.tensor(1 / temperature).double().requires_grad_()
    (slope,) = torch.autograd.grad(_log_partition(beta), beta)
    spins, matrix = SIDE * SIDE, transfer(beta.detach()).to(torch.complex128)
    up = (row_states() > 0).sum(1)
    roots = torch.exp(-2j * torch.pi * torch.arange(spins + 1, dtype=torch.float64) / (spins + 1))
    traces = [torch.linalg.matrix_power(matrix * root**up, SIDE).trace() for root in roots]
    law = torch.fft.ifft(torch.stack(traces)).real
    mean = (2 * torch.arange(spins + 1).double() - spins).abs() / spins
    return Expectations(-float(slope) / spins, float((law * mean).sum() / law.sum()))


def sample(temperature: float, count: int, rng: torch.Generator) -> Tensor:
    """Return independent samples of p, (count, SIDE^2), -1 or 1.

    The first row has the law diag(M^L); each next one, given the last and the first, M(last, .)
    M^left(., first).
    """
    matrix = transfer(torch.tensor(1 / temperature).double())
    powers = [torch.linalg.matrix_power(matrix, power) for power in range(SIDE + 1)]
    columns = [torch.multinomial(powers[SIDE].diagonal(), count, replacement=True, generator=rng)]
    for row in range(1, SIDE):
        weights = matrix[columns[-1]] * powers[SIDE - row][:, columns[0]].t()
        rising = weights.cumsum(1)
        at = torch.rand(count, 1, generator=rng, dtype=torch.float64) * rising[:, -1:]
        columns.append(torch.searchsorted(rising, at).squeeze(1))
    return torch.cat([row_states()[index] for index in columns], 1).float()


def energies(spins: Tensor) -> Tensor:
    """Return E(v) of spins (N, SIDE^2), (N,)."""
    torus = spins.view(-1, SIDE, SIDE)
    return -(torus * (torus.roll(1, 1) + torus.roll(1, 2))).sum((1, 2))
