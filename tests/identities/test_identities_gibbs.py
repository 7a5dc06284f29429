"""Laws of sampling: a Gibbs step leaves the model's distribution as it is, clamped or free."""

import pytest
import torch
from exact import (
    TIGHT,
    assert_frequencies,
    chance,
    draw,
    index_of,
    joint,
    labelled,
    small_rbm,
    states,
)

from wakesleep.evaluation import ais
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.samplers import gibbs, tempering
from wakesleep.samplers.gibbs import Clamp, gibbs_step, random_hidden, run

MANY = 200_000
NAN = float("nan")


def pair_index(rbm, chains):
    return index_of(chains.visible, states(rbm.visible)) * len(states(rbm.hidden)) + index_of(
        chains.hidden, states(rbm.hidden)
    )


@pytest.mark.parametrize("visible", [3, labelled(2, 3)], ids=["bernoulli", "label"])
def test_transition_matrix_leaves_the_joint_invariant(visible):
    rbm = small_rbm(visible, 3)
    v, h = states(rbm.visible), states(rbm.hidden)
    p = joint(rbm)
    down, up = (
        chance(rbm.visible, rbm.visible_probs(h), v),
        chance(rbm.hidden, rbm.hidden_probs(v), h),
    )
    torch.testing.assert_close((p.sum(0) @ down)[:, None] * up, p, **TIGHT)


@pytest.mark.parametrize("visible", [3, labelled(2, 3)], ids=["bernoulli", "label"])
@pytest.mark.parametrize("steps", [1, 3])
def test_chains_that_start_in_the_model_stay_there(visible, steps):
    rbm = small_rbm(visible, 3)
    p = joint(rbm)
    hidden = states(rbm.hidden)[draw(p.sum(0), MANY, 1)]
    assert_frequencies(pair_index(rbm, run(rbm, hidden, steps, generator(2))), p.flatten())


def test_one_step_from_a_known_state_has_the_exact_law():
    rbm = small_rbm(3, 3, seed=4)
    v, h = states(rbm.visible), states(rbm.hidden)
    start = h[5:6]
    law = chance(rbm.visible, rbm.visible_probs(start), v).t() * chance(
        rbm.hidden, rbm.hidden_probs(v), h
    )
    assert_frequencies(
        pair_index(rbm, gibbs_step(rbm, start.expand(MANY, -1), generator(3))), law.flatten()
    )


def clamped_law(rbm, columns, value):
    p = joint(rbm).clone()
    p[(states(rbm.visible)[:, columns] != value).any(1)] = 0
    return p / p.sum()


@pytest.mark.parametrize("per_row", [False, True], ids=["one mask", "a mask a row"])
def test_clamped_chains_keep_the_conditional(per_row):
    rbm = small_rbm(labelled(2, 3), 3)
    value = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    p = clamped_law(rbm, slice(2, 5), value)
    hidden = states(rbm.hidden)[draw(p.sum(0), MANY, 5)]
    mask = torch.zeros(5, dtype=torch.bool)
    mask[2:] = True
    values = torch.zeros(MANY, 5, dtype=torch.float64)
    values[:, 2:] = value
    chains = run(
        rbm, hidden, 2, generator(6), Clamp(mask.expand(MANY, -1) if per_row else mask, values)
    )
    assert bool((chains.visible[:, 2:] == value).all())
    assert_frequencies(pair_index(rbm, chains), p.flatten())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_is_that_many_steps(steps):
    rbm = small_rbm(labelled(2, 3), 3)
    hidden, rng = random_hidden(rbm, 500, generator(0)), generator(1)
    expected = gibbs_step(rbm, hidden, rng)
    for _ in range(1, steps):
        expected = gibbs_step(rbm, expected.hidden, rng)
    for ours, theirs in zip(run(rbm, hidden, steps, generator(1)), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_chains_find_the_model_from_random_states():
    rbm = small_rbm(3, 3, scale=0.7)
    chains = run(rbm, random_hidden(rbm, 100_000, generator(7)), 40, generator(8))
    assert_frequencies(pair_index(rbm, chains), joint(rbm).flatten())


def test_random_hidden_is_a_fair_coin():
    rbm = small_rbm(3, 4)
    hidden = random_hidden(rbm, 100_000, generator(9))
    assert_frequencies(
        index_of(hidden, states(rbm.hidden)), torch.full((16,), 1 / 16, dtype=torch.float64)
    )


def test_the_generator_decides():
    rbm = small_rbm(3, 3)
    hidden = random_hidden(rbm, 50, generator(0))
    again = [run(rbm, hidden, 5, generator(seed)).visible for seed in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_is_refused(steps):
    rbm = small_rbm(2, 2)
    with pytest.raises(ConfigError, match=str(steps)):
        run(rbm, random_hidden(rbm, 1, generator(0)), steps, generator(0))


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN, float("inf")])
def test_a_temperature_is_a_number_above_0(temperature):
    rbm, hidden = small_rbm(4, 3), torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ConfigError, match="temperature"):
        gibbs.gibbs_step(rbm, hidden, generator(0), temperature=temperature)


NAN_STATES = torch.tensor([[0.0, NAN, 1.0]] * 2, dtype=torch.float64)
NAN_CLAMP = gibbs.Clamp(
    torch.tensor([True, False, False, False]), torch.full((2, 4), NAN, dtype=torch.float64)
)
BETAS = torch.linspace(0, 1, 3)


@pytest.mark.parametrize(
    "use",
    [
        lambda rbm: gibbs.run(rbm, NAN_STATES, 1, generator(0)),
        lambda rbm: gibbs.run(rbm, torch.zeros_like(NAN_STATES), 1, generator(0), NAN_CLAMP),
        lambda rbm: tempering.Tempered()(rbm, NAN_STATES, 1, generator(0)),
        lambda rbm: tempering.Tempered(base=rbm.visible_bias * NAN)(
            rbm, torch.zeros_like(NAN_STATES), 1, generator(0)
        ),
        lambda rbm: tempering.Tempered(base=rbm.visible_bias[:2])(
            rbm, torch.zeros_like(NAN_STATES), 1, generator(0)
        ),
        lambda rbm: ais.init_forward(rbm, rbm.visible_bias * NAN, BETAS, 3, generator(0)),
        lambda rbm: ais.init_reverse(BETAS, NAN_CLAMP.values),
    ],
    ids=["run", "clamp", "tempered", "base", "base of another shape", "forward", "reverse"],
)
def test_chains_begin_with_finite_states(use):
    with pytest.raises(DataError, match="finite"):
        use(small_rbm(4, 3))
