"""Exact log Z of machines whose layers both have Gaussian units, perhaps beside units of finitely
many states: the finite ones are listed, the Gaussian ones integrated. Nats, float64.

With s all finite units of both layers and x all Gaussian ones, precisions g and the weights between
them make a matrix P, and biases and s a linear term c(s), so that

    log Z = log sum_s exp(-E(s) + c(s)'P^-1 c(s) / 2) + (n log 2 pi - log det P) / 2

by a Cholesky decomposition of P, which there is exactly where the integral is finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from wakesleep.foundation.errors import ConfigError
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM, Statistics
from wakesleep.units import Atom, Gaussian, Groups, Units
from wakesleep.units.base import product_states

LARGEST = 20
"""2^LARGEST states of the finite units of both layers are listed at most."""


class Layer(NamedTuple):
    """The columns of a layer that are Gaussian, and those that have finitely many states."""

    gaussian: Tensor
    """(size,), bool."""
    atoms: list[Atom]
    """Of the other columns, in order."""


class Joint(NamedTuple):
    """The Gaussian units of a machine given each state of its finite units."""

    states: Tensor
    """Of the finite units of both layers, visible first, (S, finite)."""
    log_weights: Tensor
    """log of each state's integral, (S,): their log sum exp is log Z."""
    means: Tensor
    """Of the Gaussian units of both layers, visible first, (S, n)."""
    cholesky: Tensor
    """Of the precision matrix P, (n, n)."""
    visible: Tensor
    """Which visible columns are Gaussian, bool."""
    hidden: Tensor
    """Which hidden ones."""


def layer(units: Units) -> Layer | None:
    """Return the Gaussian and the finite columns of a layer; None where some are neither."""
    if type(units) is Gaussian:
        return Layer(torch.ones(units.size, dtype=torch.bool), [])
    if isinstance(units, Groups):
        parts = [layer(part) for part in units.parts]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return Layer(
            torch.cat([part.gaussian for part in known]),
            [atom for part in known for atom in part.atoms],
        )
    try:
        return Layer(torch.zeros(units.size, dtype=torch.bool), units.atoms())
    except ConfigError:
        return None


def count(rbm: RBM) -> float:
    """Return how many states the finite units of both layers have together; infinity where units
    are neither finite nor Gaussian.
    """
    if rbm.visible.needs_count:
        return math.inf
    layers = (layer(rbm.visible), layer(rbm.hidden))
    return math.prod(
        math.inf if each is None else math.prod(len(atom.states) for atom in each.atoms)
        for each in layers
    )


def joint(rbm: RBM) -> Joint:
    """Return the states of the finite units, with the integral over the Gaussian ones of each.

    Raises:
        ConfigError: units that are neither, more than 2^20 states, or no normaliser.
    """
    below, above = layer(rbm.visible), layer(rbm.hidden)
    if below is None or above is None or count(rbm) > 2**LARGEST:
        raise ConfigError(
            f"{rbm.visible} beside {rbm.hidden}: expected Gaussian units and units of at most "
            f"2^{LARGEST} states in both layers; estimate log Z by AIS "
            "(wakesleep.likelihood.log_partition)"
        )
    normalisable.check(rbm)
    device = rbm.weight.device
    atoms = product_states([*below.atoms, *above.atoms])
    states, logs = atoms.states.to(device), atoms.log_measure.to(device)
    v, h = below.gaussian.to(device), above.gaussian.to(device)
    one, other = states[:, : int((~v).sum())], states[:, int((~v).sum()) :]
    weight, a, b = rbm.weight.double(), rbm.visible_bias.double(), rbm.hidden_bias.double()
    logs = logs + one @ a[~v] + other @ b[~h] + (one @ weight[~v][:, ~h] * other).sum(1)
    linear = torch.cat([a[v] + other @ weight[v][:, ~h].t(), b[h] + one @ weight[~v][:, h]], 1)
    between = weight[v][:, h]
    precisions = (
        units.tail_precision().to(device).double()[columns].diag()
        for units, columns in ((rbm.visible, v), (rbm.hidden, h))
    )
    g, k = precisions
    matrix = torch.cat([torch.cat([g, -between], 1), torch.cat([-between.t(), k], 1)])
    cholesky = torch.linalg.cholesky(matrix)
    means = torch.cholesky_solve(linear.t(), cholesky).t()
    half_log_det = cholesky.diagonal().log().sum()
    logs = logs + (linear * means).sum(1) / 2 + len(matrix) * math.log(2 * math.pi) / 2
    return Joint(states, logs - half_log_det, means, cholesky, v, h)


def log_partition(rbm: RBM) -> Tensor:
    """Return log Z, a scalar; autograd passes through it to weights and biases.

    Raises:
        ConfigError: as `joint`.
    """
    return torch.logsumexp(joint(rbm).log_weights, 0)


def statistics(rbm: RBM) -> Statistics:
    """Return <v h'>, <v> and <h> under the model, as `exact.model_statistics`."""
    law = joint(rbm)
    probs = torch.softmax(law.log_weights, 0)
    visible, hidden = _placed(law, law.means)
    products = (visible * probs[:, None]).t() @ hidden
    covariance = torch.cholesky_inverse(law.cholesky)
    n = int(law.visible.sum())
    products[torch.outer(law.visible, law.hidden)] += covariance[:n, n:].flatten()
    return Statistics(products, probs @ visible, probs @ hidden)


def sample(rbm: RBM, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` visible states drawn from the model, independently, (count, visible)."""
    law = joint(rbm)
    cumulative = torch.softmax(law.log_weights, 0).cumsum(0)
    uniform = torch.rand(count, generator=rng, device=rng.device, dtype=torch.float64)
    index = torch.searchsorted(cumulative, uniform * cumulative[-1])
    noise = torch.empty_like(law.means[index]).normal_(generator=rng)
    deviation = torch.linalg.solve_triangular(law.cholesky.t(), noise.t(), upper=True).t()
    picked = law._replace(states=law.states[index])
    return _placed(picked, law.means[index] + deviation)[0].to(rbm.weight.dtype)


def _placed(law: Joint, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of Gaussian units (S, n) beside the finite states (S, finite), in the
    columns of each layer.
    """
    layers, states = [], law.states
    for columns in (law.visible, law.hidden):
        placed = values.new_empty(len(values), len(columns))
        n, finite = int(columns.sum()), int((~columns).sum())
        placed[:, columns], values = values[:, :n], values[:, n:]
        placed[:, ~columns], states = states[:, :finite], states[:, finite:]
        layers.append(placed)
    return layers[0], layers[1]
