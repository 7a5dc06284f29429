"""Contrastive divergence against tempered chains: the model's law is left as it is at every
temperature, and modes are crossed.
"""

from dataclasses import replace

import pytest
import torch
from exact import (
    SIGMAS,
    assert_frequencies,
    draw,
    expected_statistics,
    form,
    index_of,
    joint,
    labelled,
    small_rbm,
    states,
)

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig, Contrast
from wakesleep.models.rbm import RBM
from wakesleep.samplers import tempering
from wakesleep.units import Bernoulli

COUNT = 20_000
TEMPERED = CDConfig(persistent=True, temperatures=4, batch_size=COUNT)


def tempered_law(rbm, betas):
    """Return p_beta(v) of every visible state, (R, states)."""
    every = states(rbm.visible)
    logs = tempering.log_probs(rbm, rbm.visible_bias, betas, every.expand(len(betas), -1, -1))
    return torch.softmax(logs, 1)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("visible", [Bernoulli(3), labelled(2, 3)], ids=["binary", "with labels"])
def test_the_negative_phase_leaves_the_law_of_every_temperature_as_it_is(visible, steps):
    rbm, every = small_rbm(visible, 3), states(visible)
    law = tempered_law(rbm, torch.linspace(0, 1, 4, dtype=torch.float64))
    torch.testing.assert_close(law[-1], joint(rbm).sum(1))
    chains = torch.stack([every[draw(p, COUNT, seed)] for seed, p in enumerate(law)])
    contrast, before = Contrast(rbm, COUNT, TEMPERED), chains.clone()
    contrast.data.copy_(every[draw(torch.full((len(every),), 1 / len(every)), COUNT, 9)])
    data = contrast.data.clone()
    contrast.run_phases(rbm, replace(TEMPERED, gibbs_steps=steps), generator(7), chains)
    for p, replicas in zip(law, chains, strict=True):
        assert_frequencies(index_of(replicas, every), p)
    assert not torch.equal(chains, before)
    assert torch.equal(contrast.model, chains[-1])
    expected = expected_statistics(
        rbm, torch.bincount(index_of(data, every), minlength=len(every)).double() / COUNT
    )
    model = expected_statistics(rbm, law[-1])
    spread = 0.5 / COUNT**0.5
    for actual, one, other in zip(
        form(contrast.gradients()).values(), expected, model, strict=True
    ):
        assert float((actual - (one - other)).abs().max()) < SIGMAS * spread


def two_modes():
    """Return a machine whose first or last three units are on on both sides, with equal chances,
    and all but never anything between.
    """
    rbm, side = RBM(6, 6, rng=generator(0)), torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    rbm.weight.copy_(2 * side[:, None] * side)
    return rbm


def test_tempered_chains_cross_where_plain_ones_stay():
    rbm, crossed = two_modes(), {}
    for temperatures in (1, 10):
        config = CDConfig(persistent=True, temperatures=temperatures, batch_size=500)
        contrast = Contrast(rbm, 500, config)
        contrast.data.fill_(1.0)
        first = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        chains = first.repeat(500, 1) if temperatures == 1 else first.repeat(temperatures, 500, 1)
        for update in range(60):
            contrast.run_phases(rbm, config, generator(update), chains)
        crossed[temperatures] = float(
            (contrast.model[:, 3:].sum(1) > contrast.model[:, :3].sum(1)).float().mean()
        )
    assert crossed[1] < 0.1
    assert abs(crossed[10] - 0.5) < SIGMAS * 0.5 / 500**0.5


def learned(config, epochs, *, state=None, rng=None, rbm=None):
    rbm, rng = rbm or RBM(5, 4, rng=generator(1)), rng or generator(2)
    cases = torch.rand(23, 5, generator=generator(3)).round()
    records = list(
        cd.epochs(rbm, cases, config=replace(config, epochs=epochs), rng=rng, state=state)
    )
    return rbm, records[-1].state, rng


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_it_learns_stops_and_goes_on_as_if_nothing_had_been(dtype):
    config = CDConfig(persistent=True, temperatures=3, batch_size=5, gibbs_steps=2)
    whole, state, _ = learned(config, 4)
    assert state.chains.shape == (3, 5, 5)
    rbm, state, rng = learned(config, 2)
    again, _, _ = learned(config, 4, state=state, rng=rng, rbm=rbm)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert bool(((state.chains == 0) | (state.chains == 1)).all())
    record = next(
        cd.epochs(
            RBM(5, 4, rng=generator(1)),
            torch.rand(20, 5, generator=generator(4)),
            config=config,
            rng=generator(2),
            dtype=dtype,
        )
    )
    assert record.state.chains.dtype == (dtype or torch.float32)


def test_temperatures_are_those_of_persistent_chains():
    with pytest.raises(ConfigError, match="temperatures = 0"):
        CDConfig(temperatures=0)
    with pytest.raises(ConfigError, match="temperatures = 5 and persistent = False"):
        CDConfig(temperatures=5)
