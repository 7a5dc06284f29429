"""Parallel tempering leaves the exact distribution as it is, and crosses walls that Gibbs sampling
does not.
"""

from __future__ import annotations

import pytest
import torch
from exact import (
    SIGMAS,
    TIGHT,
    assert_frequencies,
    draw,
    index_of,
    joint,
    labelled,
    small_rbm,
    states,
)
from families import OwnGaussian

from wakesleep.evaluation import ais, exact
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs, tempering
from wakesleep.samplers.annealed import Independent, Path
from wakesleep.samplers.gibbs import Clamp
from wakesleep.samplers.tempering import Replicas, Tempered, log_probs, step

BETAS = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)


def tempered_probs(rbm: RBM, base: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """p_beta(v) of every v by listing hidden states too, (states,)."""
    v, h = states(rbm.visible), states(rbm.hidden)
    pairs = (
        beta * (v @ rbm.weight @ h.t() + (v @ rbm.visible_bias)[:, None] + h @ rbm.hidden_bias)
        + (1 - beta) * (v @ base)[:, None]
    )
    return torch.softmax(torch.logsumexp(pairs, 1), 0)


@pytest.mark.parametrize("visible", [4, labelled(2, 3)])
@pytest.mark.parametrize("parity", [0, 1])
def test_a_step_leaves_every_temperature_as_it_is(visible, parity: int) -> None:
    rbm, n = small_rbm(visible, 3, scale=1.5), 40_000
    every = states(rbm.visible)
    base = torch.linspace(-0.6, 0.6, rbm.visible.size, dtype=torch.float64)
    probs = [tempered_probs(rbm, base, beta) for beta in BETAS]
    start = torch.stack([every[draw(p, n, seed)] for seed, p in enumerate(probs)])
    none = torch.zeros(2)
    moved = step(rbm, base, BETAS, Replicas(start, none, none), generator(9), parity)
    for replica, p in zip(moved.visible, probs, strict=True):
        assert_frequencies(index_of(replica, every), p)
    assert moved.tried.tolist() == [n * (parity == 0), n * (parity == 1)]
    ratio = (
        probs[parity][None, :]
        * probs[parity + 1][:, None]
        / (probs[parity][:, None] * probs[parity + 1][None, :])
    )
    expected = float(
        (probs[parity][:, None] * probs[parity + 1][None, :] * ratio.clamp(max=1.0)).sum()
    )
    rate = float(moved.swap_rates[parity])
    assert abs(rate - expected) < SIGMAS * (expected * (1 - expected) / n) ** 0.5


def test_log_probs_are_those_of_the_listed_model() -> None:
    rbm, base = small_rbm(4, 3), torch.linspace(-1, 1, 4, dtype=torch.float64)
    actual = log_probs(rbm, base, BETAS, states(rbm.visible).expand(3, -1, -1))
    for row, beta in zip(actual, BETAS, strict=True):
        torch.testing.assert_close(torch.softmax(row, 0), tempered_probs(rbm, base, beta), **TIGHT)


@pytest.mark.parametrize("visible", [4, labelled(2, 3), "gaussian"])
def test_annealing_and_tempering_go_through_the_same_models(visible) -> None:
    if visible == "gaussian":
        rbm = RBM(OwnGaussian(4), 3, rng=generator(1)).double()
        base = Independent(OwnGaussian(4, torch.full((4,), 0.7)), torch.linspace(-1, 1, 4))
    else:
        rbm = small_rbm(visible, 3, scale=1.5)
        base = Independent(rbm.visible, torch.linspace(-1, 1, rbm.visible.size))
    rbm, base = rbm.double(), Independent(base.units.double(), base.bias.double())
    states = rbm.visible.sample(rbm.visible_bias.expand(20, -1).contiguous(), generator(2))
    path, annealer = Path(rbm, base), ais._Annealer(rbm, base, len(states))

    def beta(value: float) -> torch.Tensor:
        return torch.full((len(states), 1), value, dtype=torch.float64)

    logs = [path.log_probs(states, beta(value)) for value in (0.3, 0.4)]
    torch.testing.assert_close(annealer.log_ratio(states, 0.3, 0.4), logs[1] - logs[0], **TIGHT)
    moved = torch.empty_like(states)
    annealer.step(0.4, generator(3), moved)
    torch.testing.assert_close(moved, path.gibbs_step(states, beta(0.4), generator(3)), **TIGHT)


def wall(units: int = 12, strength: float = 1.5) -> RBM:
    """An RBM with two far-apart modes of about equal weight: all units on, and all off."""
    rbm = RBM(units, 4, rng=generator(0)).double()
    rbm.weight.fill_(strength)
    rbm.visible_bias.fill_(-2 * strength)
    rbm.hidden_bias.fill_(-strength * units / 2)
    return rbm


def test_tempering_crosses_a_wall_that_gibbs_sampling_does_not() -> None:
    rbm = wall()
    truth = float(exact.model_statistics(rbm).visible_bias.mean())
    off = torch.zeros(400, 4, dtype=torch.float64)
    stuck = gibbs.run(rbm, off, 200, generator(1)).visible.mean()
    sampler = Tempered(base=torch.zeros(12, dtype=torch.float64))
    moved = sampler(rbm, off, 200, generator(1)).visible.mean()
    assert abs(float(stuck) - truth) > 0.3
    assert abs(float(moved) - truth) < 0.1
    assert sampler.swap_rates.shape == (9,)
    assert bool((sampler.swap_rates > 0.05).all())


def test_clamped_units_stay_and_the_others_have_their_conditional() -> None:
    rbm, n = small_rbm(labelled(2, 3), 3), 20_000
    every, p = states(rbm.visible), joint(rbm).sum(1)
    mask = torch.tensor([False, False, True, True, True])
    values = torch.zeros(n, 5, dtype=torch.float64)
    values[:, 3] = 1.0
    hidden = torch.zeros(n, 3, dtype=torch.float64)
    actual = Tempered(BETAS)(rbm, hidden, 30, generator(2), Clamp(mask, values)).visible
    assert bool((actual[:, 2:] == values[:, 2:]).all())
    given = p * (every[:, 3] == 1)
    assert_frequencies(index_of(actual, every), given / given.sum())


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("visible", [4, labelled(2, 3)], ids=["binary", "with labels"])
def test_at_another_temperature_the_coldest_chain_has_the_energy_divided_by_it(
    visible, temperature: float
) -> None:
    rbm, n = small_rbm(visible, 3), 10_000
    every, (v, h) = states(rbm.visible), (states(rbm.visible), states(rbm.hidden))
    energy = -(v @ rbm.weight @ h.t() + (v @ rbm.visible_bias)[:, None] + h @ rbm.hidden_bias)
    p = torch.softmax(-energy.flatten() / temperature, 0).view(energy.shape)
    base = torch.linspace(-0.6, 0.6, rbm.visible.size, dtype=torch.float64)
    for sampler in (Tempered(BETAS), Tempered(BETAS, base)):
        actual = sampler(
            rbm, torch.zeros(n, 3, dtype=torch.float64), 20, generator(3), temperature=temperature
        )
        assert_frequencies(index_of(actual.visible, every), p.sum(1))
        assert_frequencies(index_of(actual.hidden, h), p.sum(0))


def test_replicas_go_on_in_the_next_call() -> None:
    rbm, sampler = small_rbm(4, 3), Tempered(BETAS)
    chains = sampler(rbm, torch.zeros(5, 3, dtype=torch.float64), 2, generator(0))
    tried = sampler.replicas.tried.sum()
    sampler(rbm, chains.hidden, 2, generator(0))
    assert float(sampler.replicas.tried.sum()) == 2 * float(tried)


@pytest.mark.parametrize("betas", [[1.0], [0.0, 0.5], [0.5, 0.2, 1.0], [-0.1, 1.0]])
def test_betas_that_do_not_rise_to_1_are_refused(betas: list[float]) -> None:
    with pytest.raises(ConfigError, match="rise to 1"):
        Tempered(torch.tensor(betas))


def test_no_steps_and_no_swaps_yet_are_refused() -> None:
    sampler = Tempered()
    with pytest.raises(ConfigError, match="at least 1"):
        sampler(small_rbm(4, 3), torch.zeros(1, 3), 0, generator(0))
    with pytest.raises(ConfigError, match="first"):
        _ = sampler.swap_rates


def test_temperatures_that_are_chosen_swap_where_even_ones_meet_a_wall() -> None:
    rng = generator(0)
    rbm = RBM(60, 30, rng=rng, weight_std=0.0)
    rbm.weight.fill_(0.4)  # all units on or all off: the path turns where they begin to agree
    rbm.visible_bias.copy_(-rbm.weight.sum(1) / 2)
    rbm.hidden_bias.copy_(-rbm.weight.sum(0) / 2)
    base, hidden = torch.zeros(60), torch.zeros(50, 30)
    even = Tempered(torch.linspace(0, 1, 6), base)
    chosen = tempering.choose(rbm, rng=rng, base=base, chains=50)
    for sampler in (even, chosen):
        sampler(rbm, hidden, 200, rng)
    assert float(even.betas[0]) == float(chosen.betas[0]) == 0.0
    assert float(even.swap_rates.min()) < 0.02
    assert float(chosen.swap_rates.min()) > 0.1
