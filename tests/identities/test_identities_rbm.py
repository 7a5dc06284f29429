"""The RBM against full enumeration: energies, partition functions, conditionals, likelihood
gradient.
"""

import json

import pytest
import torch
from exact import (
    TIGHT,
    chance,
    differentiable,
    energies,
    expected_statistics,
    given_hidden,
    given_visible,
    joint,
    labelled,
    log_z,
    mean_log_likelihood,
    small_rbm,
    states,
)

from wakesleep import units as units_module
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical, Groups, as_units, from_spec

SIDES = {
    "bernoulli": (4, 3),
    "with a label": (labelled(3, 3), 4),
    "two softmaxes": (
        Groups(label=Categorical(2), features=Bernoulli(2), label2=Categorical(3)),
        3,
    ),
    "softmax hidden": (4, Categorical(5)),
    "groups within groups": (
        Groups(features=Groups(yes=Bernoulli(2), kind=Categorical(2)), label=Categorical(2)),
        3,
    ),
}
UNITS = {
    "bernoulli": Bernoulli(5),
    "softmax": Categorical(5),
    "groups": Groups(features=Bernoulli(3), label=Categorical(4)),
    "softmax first": Groups(label=Categorical(3), features=Bernoulli(2), label2=Categorical(2)),
}


@pytest.fixture(params=SIDES, ids=str)
def rbm(request):
    return small_rbm(*SIDES[request.param])


def test_energy_of_every_pair(rbm):
    v, h = states(rbm.visible), states(rbm.hidden)
    for pair in range(len(h)):
        torch.testing.assert_close(
            rbm.energy(v, h[pair].expand(len(v), -1)), energies(rbm)[:, pair], **TIGHT
        )


def test_energy_by_hand():
    rbm = RBM(2, 2, rng=generator(0))
    rbm.weight.copy_(torch.tensor([[1.0, 2.0], [4.0, 8.0]]))
    rbm.visible_bias.copy_(torch.tensor([16.0, 32.0]))
    rbm.hidden_bias.copy_(torch.tensor([64.0, 128.0]))
    assert rbm.energy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == -(
        2 + 16 + 128
    )


def test_log_z_from_either_side_and_from_the_joint(rbm):
    from_visible = torch.logsumexp(-rbm.free_energy(states(rbm.visible)), 0)
    from_hidden = torch.logsumexp(-rbm.hidden_free_energy(states(rbm.hidden)), 0)
    torch.testing.assert_close(from_visible, log_z(rbm), **TIGHT)
    torch.testing.assert_close(from_hidden, log_z(rbm), **TIGHT)


def test_free_energies_are_the_marginals_of_the_joint(rbm):
    p = joint(rbm)
    torch.testing.assert_close(
        torch.exp(-rbm.free_energy(states(rbm.visible)) - log_z(rbm)), p.sum(1), **TIGHT
    )
    torch.testing.assert_close(
        torch.exp(-rbm.hidden_free_energy(states(rbm.hidden)) - log_z(rbm)), p.sum(0), **TIGHT
    )


def test_conditional_means_and_probabilities(rbm):
    v, h = states(rbm.visible), states(rbm.hidden)
    hidden, visible = rbm.hidden_probs(v), rbm.visible_probs(h)
    torch.testing.assert_close(hidden, given_visible(rbm) @ h, **TIGHT)
    torch.testing.assert_close(visible, given_hidden(rbm) @ v, **TIGHT)
    torch.testing.assert_close(chance(rbm.hidden, hidden, h), given_visible(rbm), **TIGHT)
    torch.testing.assert_close(chance(rbm.visible, visible, v), given_hidden(rbm), **TIGHT)


def test_buffers_change_nothing(rbm):
    v, h = states(rbm.visible), states(rbm.hidden)
    into = torch.empty(len(v), rbm.hidden.size, dtype=torch.float64)
    assert rbm.hidden_probs(v, out=into).data_ptr() == into.data_ptr()
    assert torch.equal(into, rbm.hidden_probs(v))
    into = torch.empty(len(h), rbm.visible.size, dtype=torch.float64)
    assert rbm.visible_probs(h, out=into).data_ptr() == into.data_ptr()
    assert torch.equal(into, rbm.visible_probs(h))


def test_likelihood_gradient_is_data_minus_model(rbm):
    v = states(rbm.visible)
    cases = v[torch.tensor([0, 1, 1, 2, len(v) - 1])]
    moving = differentiable(rbm)
    (-moving.free_energy(cases)).mean().sub(log_z(moving)).backward()
    positive = rbm.statistics(cases, rbm.hidden_probs(cases))
    negative = expected_statistics(rbm, joint(rbm).sum(1))
    for name in positive._fields:
        by_hand = getattr(positive, name) - getattr(negative, name)
        torch.testing.assert_close(by_hand, getattr(moving, name).grad, **TIGHT)


def test_mean_log_likelihood_of_the_model_itself_is_its_negative_entropy(rbm):
    v, p = states(rbm.visible), joint(rbm).sum(1)
    each = torch.stack([mean_log_likelihood(rbm, row[None]) for row in v])
    torch.testing.assert_close(p @ each, (p * p.log()).sum(), **TIGHT)


def test_statistics_of_a_weighted_list_of_states(rbm):
    v, p = states(rbm.visible), given_visible(rbm) @ states(rbm.hidden)
    every = torch.full((len(v),), 1 / len(v), dtype=torch.float64)
    for ours, theirs in zip(rbm.statistics(v, p), expected_statistics(rbm, every), strict=True):
        torch.testing.assert_close(ours, theirs, **TIGHT)


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_log_partition_mean_and_sample_of_units(units):
    rng = generator(1)
    x = torch.randn(6, units.size, generator=rng, dtype=torch.float64) * 2
    many = x[:1].expand(40_000, -1).contiguous()
    every = states(units)
    scores = x @ every.t()
    torch.testing.assert_close(units.log_partition(x), torch.logsumexp(scores, 1), **TIGHT)
    mean = units.mean(x)
    torch.testing.assert_close(mean, torch.softmax(scores, 1) @ every, **TIGHT)
    into = torch.empty_like(x)
    assert torch.equal(units.mean(x, out=into), mean)
    assert torch.equal(units.mean(x.clone(), out=x), mean)
    drawn = units.sample(many, rng)
    torch.testing.assert_close(drawn.mean(0), mean[0], rtol=0, atol=5 * 0.5 / 200)
    assert bool(((drawn == 0) | (drawn == 1)).all())
    for columns in units.one_hot_columns or (
        [slice(None)] if isinstance(units, Categorical) else []
    ):
        assert bool((drawn[:, columns].sum(1) == 1).all())


def test_in_place_mean():
    for units in UNITS.values():
        x = torch.randn(3, units.size, generator=generator(2), dtype=torch.float64)
        expected = units.mean(x)
        assert torch.equal(units.mean(x, out=x), expected)


def test_group_scores_are_log_conditionals_of_a_label():
    rbm = small_rbm(labelled(3, 4), 5)
    columns = slice(3, 7)
    pixels = states(Bernoulli(3))
    p = joint(rbm).sum(1).reshape(len(pixels), 4)
    scores = rbm.group_scores(pixels @ rbm.weight[:3] + rbm.hidden_bias, columns)
    torch.testing.assert_close(
        torch.log_softmax(scores, 1), torch.log(p / p.sum(1, keepdim=True)), **TIGHT
    )


def test_extreme_inputs_stay_finite():
    x = torch.tensor([[-2e4, 2e4, 0.0, 500.0]])
    for units in (
        Bernoulli(4),
        Categorical(4),
        Groups(features=Bernoulli(2), label=Categorical(2)),
    ):
        assert bool(torch.isfinite(units.log_partition(x)).all())
        assert bool(torch.isfinite(units.mean(x)).all())


def test_initial_weights_are_small_and_biases_zero():
    rbm = RBM(300, 400, rng=generator(3))
    assert abs(float(rbm.weight.std()) - 0.1) < 0.002
    assert abs(float(rbm.weight.mean())) < 0.002
    assert not rbm.visible_bias.any()
    assert not rbm.hidden_bias.any()
    assert not any(parameter.requires_grad for parameter in rbm.parameters())


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_spec_round_trip(units):
    again = from_spec(json.loads(json.dumps(units.spec())))
    assert again.spec() == units.spec()
    assert type(again) is type(units)


def test_bad_specs_name_the_value():
    with pytest.raises(ConfigError, match=r"'Gamma'.*Bernoulli.*register"):
        from_spec({"family": "Gamma", "size": 3})
    with pytest.raises(ConfigError, match="colour"):
        from_spec({"family": "Bernoulli", "size": 3, "colour": 4})
    with pytest.raises(ConfigError, match="units = 0"):
        as_units(0)


OLD = {
    "softmax": "Softmax",
    "delta": "log_partition_shifts",
    "hidden": "draw_hidden",
    "visible": "draw_visible",
}


def test_names_of_older_versions_warn():
    with pytest.warns(DeprecationWarning, match="Categorical"):
        assert getattr(units_module, OLD["softmax"]) is Categorical
    with pytest.warns(DeprecationWarning, match="names"):
        old = Groups([Bernoulli(2), Categorical(3)])
    assert old.slices == [slice(0, 2), slice(2, 5)]
    with pytest.warns(DeprecationWarning, match="spec"):
        assert old.kinds == [("bernoulli", 2), ("softmax", 3)]
    with pytest.warns(DeprecationWarning, match="from_spec"):
        assert units_module.from_kinds([("bernoulli", 2), ("softmax", 3)]).spec() == old.spec()
    x, rows = torch.randn(3, 5, generator=generator(0)), torch.randn(2, 5, generator=generator(1))
    with pytest.warns(DeprecationWarning, match="log_partition_delta"):
        assert torch.equal(getattr(old, OLD["delta"])(x, rows), old.log_partition_delta(x, rows))
    rbm = RBM(3, 2, rng=generator(0))
    with pytest.warns(DeprecationWarning, match="sample_hidden"):
        assert torch.equal(
            getattr(rbm, OLD["hidden"])(torch.ones(4, 3), generator(1)),
            rbm.sample_hidden(torch.ones(4, 3), generator(1)),
        )
    with pytest.warns(DeprecationWarning, match="sample_visible"):
        assert torch.equal(
            getattr(rbm, OLD["visible"])(torch.ones(4, 2), generator(1)),
            rbm.sample_visible(torch.ones(4, 2), generator(1)),
        )


@pytest.mark.parametrize("size", [0.1, 4.9, 5.1, 19.9])
@pytest.mark.parametrize("sign", [-1, 1])
def test_units_that_share_a_logarithm_stay_within_float32(size, sign):
    """All units on and all shifts of one sign: a product of too many factors would overflow or
    vanish.
    """
    inputs, shifts = torch.full((3, 64), 30.0), torch.full((2, 64), size * sign)
    reported = Bernoulli(64).log_partition_delta(inputs, shifts)
    x, w = inputs.double()[:, None], shifts.double()
    exact = (torch.nn.functional.softplus(x + w) - torch.nn.functional.softplus(x)).sum(2)
    torch.testing.assert_close(reported.double(), exact, rtol=1e-5, atol=1e-5)
