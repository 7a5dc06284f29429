"""Monitors against what they stand for."""

from __future__ import annotations

import pytest
import torch
from exact import joint, labelled, log_z, small_rbm, states

from wakesleep.evaluation import monitor
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.units import Categorical


def test_the_gap_is_that_of_exact_log_likelihoods() -> None:
    rbm = small_rbm(5, 4)
    every = states(rbm.visible)
    log_p = torch.logsumexp((joint(rbm)).log(), 1)
    gap = monitor.free_energy_gap(rbm.float(), every[:6].float(), every[20:].float())
    assert gap == pytest.approx(float(log_p[:6].mean() - log_p[20:].mean()), abs=1e-4)
    assert float(log_z(rbm.double())) > 0


@pytest.mark.parametrize("visible", [5, labelled(4, 3)])
def test_pseudo_likelihood_is_the_mean_of_exact_conditionals(visible) -> None:
    rbm = small_rbm(visible, 3, scale=1.5)
    every, p = states(rbm.visible), joint(rbm).sum(1)
    binary = 5 if visible == 5 else 4
    for case, chance in ((3, p[3]), (len(every) - 2, p[len(every) - 2])):
        expected = 0.0
        for unit in range(binary):
            turned = every[case].clone()
            turned[unit] = 1 - turned[unit]
            other = p[(every == turned).all(1)].sum()
            expected += float(torch.log(chance / (chance + other))) / binary
        actual = monitor.pseudo_log_likelihood(
            rbm.float(), every[case].float().expand(20_000, -1), generator(1)
        )
        rbm = rbm.double()
        assert actual == pytest.approx(expected, abs=0.06)


def test_dead_and_saturated_units_are_counted() -> None:
    probs = torch.tensor([[0.0, 1.0, 0.5, 0.02], [0.001, 0.999, 0.1, 0.03]])
    assert monitor.activity(probs) == pytest.approx(
        {"hidden_activity": float(probs.mean()), "dead_units": 0.25, "saturated_units": 0.25}
    )


def test_update_ratio_is_of_mean_sizes() -> None:
    assert monitor.update_ratio(
        torch.tensor([[0.1, -0.3]]), torch.tensor([[-4.0, 0.0]])
    ) == pytest.approx(0.1)


def test_measure_says_what_can_be_had() -> None:
    rbm = small_rbm(4, 3).float()
    cases = states(rbm.visible).float()
    watched = {"hidden_activity", "dead_units", "saturated_units", "pseudo_log_likelihood"}
    assert set(monitor.measure(rbm, cases, None, rng=generator(0))) == watched
    full = monitor.measure(rbm, cases, cases, rng=generator(0), increment=rbm.weight)
    assert set(full) == watched | {"free_energy_gap", "update_ratio"}
    assert full["free_energy_gap"] == 0.0
    assert full["update_ratio"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="binary"):
        monitor.pseudo_log_likelihood(small_rbm(Categorical(4), 3).float(), cases, generator(0))
