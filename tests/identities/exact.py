"""Small nets worked out in full: every state listed, every probability exact, in float64."""

from copy import deepcopy
from itertools import product

import torch

from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM, Statistics
from wakesleep.units import Bernoulli, Categorical, Groups

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
SIGMAS = 5.0  # a true identity fails less than once in a million looks


def form(gradients):
    """Return each gradient of `learning.momentum.Gradients`, a sum of terms, written out, by the
    name of its parameter.
    """

    def one(term):
        if hasattr(term, "left"):
            return term.scale * (term.left.t() @ term.right)
        return term.scale * (term.rows.sum(0) if hasattr(term, "rows") else term.value)

    return {name: sum(one(term) for term in terms) for name, terms in gradients.items()}


def assert_same_state(one, other):
    """Check that two states of a loop, or what their `to_tensors` returned, hold the same names,
    numbers and tensors, to the bit.
    """
    one, other = (
        state if isinstance(state, dict) else state.to_tensors() for state in (one, other)
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same_state(value, other[name])
        else:
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name


def small_rbm(visible, hidden, seed=0, scale=1.0):
    """Return a float64 RBM whose weights and biases are all away from zero."""
    rng = generator(seed)
    rbm = RBM(visible, hidden, rng=rng, weight_std=scale).double()
    for bias in (rbm.visible_bias, rbm.hidden_bias):
        bias.copy_(torch.randn(bias.shape, generator=rng, dtype=torch.float64) * 0.7)
    return rbm


def labelled(pixels=3, labels=3):
    """Return a visible layer of `pixels` binary units and a softmax of `labels`."""
    return Groups(features=Bernoulli(pixels), label=Categorical(labels))


def states(units):
    """Return every state of `units`, (states, size)."""
    if isinstance(units, Groups):
        rows = [torch.cat(parts) for parts in product(*(states(part) for part in units.parts))]
        return torch.stack(rows)
    if isinstance(units, Categorical):
        return torch.eye(units.size, dtype=torch.float64)
    return torch.tensor(list(product([0.0, 1.0], repeat=units.size)), dtype=torch.float64)


def energies(rbm):
    """Return E(v, h) of every pair written out, (visible states, hidden states)."""
    v, h = states(rbm.visible), states(rbm.hidden)
    pairs = torch.einsum("ai,ij,bj->ab", v, rbm.weight, h)
    return -pairs - (v @ rbm.visible_bias)[:, None] - (h @ rbm.hidden_bias)[None, :]


def log_z(rbm):
    """Return log Z over all pairs of states, nats."""
    return torch.logsumexp(-energies(rbm).flatten(), 0)


def joint(rbm):
    """Return p(v, h) of every pair, (visible states, hidden states)."""
    return torch.exp(-energies(rbm) - log_z(rbm))


def given_visible(rbm):
    """Return p(h | v), (visible states, hidden states), out of the joint."""
    p = joint(rbm)
    return p / p.sum(1, keepdim=True)


def given_hidden(rbm):
    """Return p(v | h), (hidden states, visible states), out of the joint."""
    p = joint(rbm).t()
    return p / p.sum(1, keepdim=True)


def kernel(rbm):
    """Return the chance of going v -> h -> v', (visible states, visible states)."""
    return given_visible(rbm) @ given_hidden(rbm)


def relabel(rbm, columns):
    """Return the chance of going v -> v' when the group `columns` is redrawn given all other
    visible units, out of the joint.
    """
    v, p = states(rbm.visible), joint(rbm).sum(1)
    rest = torch.ones(v.shape[1], dtype=torch.bool)
    rest[columns] = False
    same = (v[:, None, rest] == v[None, :, rest]).all(-1)
    moves = same * p[None, :]
    return moves / moves.sum(1, keepdim=True)


def chance(units, mean, state):
    """Return p(state | mean) for every pair of rows, (means, states), by multiplying over the
    units.
    """
    if isinstance(units, Groups):
        parts = zip(units.parts, units.slices, strict=True)
        return torch.stack(
            [chance(part, mean[:, columns], state[:, columns]) for part, columns in parts]
        ).prod(0)
    if isinstance(units, Categorical):
        return mean @ state.t()
    mean, state = mean[:, None, :], state[None, :, :]
    return torch.where(state == 1, mean, 1 - mean).prod(-1)


def index_of(rows, every):
    """Return which of `every` (states, size) each row is."""
    match = torch.zeros(len(rows), dtype=torch.long)
    for number, state in enumerate(every):
        match[(rows == state.to(rows.dtype)).all(1)] = number + 1
    assert bool((match > 0).all()), "a row is no state at all"
    return match - 1


def draw(p, count, seed):
    """Return `count` indices drawn from the distribution `p` (states,)."""
    return torch.multinomial(p, count, replacement=True, generator=generator(seed))


def assert_frequencies(indices, p, sigmas=SIGMAS):
    """Check that each of the states came as often as `p` (states,) says."""
    n = len(indices)
    counts = torch.bincount(indices, minlength=len(p)).double()
    assert bool((counts[p < 1e-12] == 0).all())
    seen = p >= 1e-12
    z = (counts - n * p)[seen] / torch.sqrt(n * p * (1 - p) + 1e-9)[seen]
    assert float(z.abs().max()) < sigmas, f"{float(z.abs().max()):.1f} standard errors off"


def assert_mean(samples, expected, sigmas=SIGMAS):
    """Check that the mean over the first axis of `samples` is `expected` within its standard
    error.
    """
    error = samples.std(0) / len(samples) ** 0.5
    z = (samples.mean(0) - expected).abs() / (error + 1e-12)
    assert float(z.max()) < sigmas, f"{float(z.max()):.1f} standard errors off"


def expected_statistics(rbm, p):
    """Return <v h'>, <v>, <h> where v has the distribution `p` (visible states,) and h its
    conditional probabilities.
    """
    v = states(rbm.visible)
    h = given_visible(rbm) @ states(rbm.hidden)
    return Statistics(torch.einsum("a,ai,aj->ij", p, v, h), p @ v, p @ h)


def mean_log_likelihood(rbm, cases):
    """Return mean log p(v) of `cases` (N, visible), nats."""
    return (-rbm.free_energy(cases)).mean() - torch.logsumexp(
        -rbm.free_energy(states(rbm.visible).to(cases.dtype)), 0
    )


def differentiable(rbm):
    """Return a copy of `rbm` that autograd follows."""
    return deepcopy(rbm).requires_grad_(True)
