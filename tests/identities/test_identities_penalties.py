"""Penalties of weights, the standardised gradient, and how the units' own parameters learn."""

from copy import deepcopy

import pytest
import torch
from exact import TIGHT, form, mean_log_likelihood, small_rbm, states

from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, centring, greedy, penalties
from wakesleep.learning.cd import CDConfig, Contrast
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.units import (
    Bernoulli,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Ordinal,
    ReLU,
)

CENTRED = CDConfig(centred=True, standardised=True, batch_size=40)


def bars_and_stripes():
    """Return the 14 pictures of 3 x 3 whose rows, or whose columns, are all alike: (14, 9)."""
    lines = states(Bernoulli(3)).float()
    rows = lines[:, :, None].expand(-1, -1, 3).reshape(-1, 9)
    columns = lines[:, None, :].expand(-1, 3, -1).reshape(-1, 9)
    return torch.cat([rows, columns]).unique(dim=0)


@pytest.mark.parametrize("factors", [None, (torch.rand(5).double(), torch.rand(4).double())])
def test_penalties_are_autograds(factors):
    weight = small_rbm(5, 4).weight
    config = CDConfig(l1_penalty=0.3, l2l1_penalty=0.7, weight_decay=0.2)
    (term,) = penalties.weight_terms(weight, config, factors)
    moving = weight.clone().requires_grad_()
    sums = moving.abs().sum(0)
    loss = 0.3 * sums.sum() + 0.7 / (2 * 5) * sums.square().sum()
    if factors is not None:  # else the update itself decays
        loss = loss + 0.2 / 2 * moving.square().sum()
    loss.backward()
    each = 1.0 if factors is None else torch.outer(*factors)
    torch.testing.assert_close(term.scale * term.value, -moving.grad * each, **TIGHT)
    assert penalties.weight_terms(weight, CDConfig(), None) == []


@pytest.mark.parametrize("standardised", [False, True])
def test_a_scale_of_a_group_is_a_machine_of_states_as_many_times_as_large(standardised):
    """With labels three times as large and a third of their weights, inputs move as much."""
    units = Groups(bits=4, numbers=Gaussian(3))
    rbm, config = (
        small_rbm(units, 5, scale=0.3),
        CDConfig(
            batch_size=20, centred=standardised, standardised=standardised, group_scales=(1.0, 3.0)
        ),
    )
    contrast = Contrast(rbm, 20, config)
    contrast.data.copy_(units.sample(torch.zeros(20, 7).double(), generator(1)))
    state = cd.init_state(rbm, config, generator(2))
    contrast.run_phases(rbm, config, generator(3), None)
    plain = form(contrast.gradients())["weight"]
    rows, columns = centring.precondition(contrast, state)
    term = centring.divided(contrast, (rows, columns))
    each = torch.tensor([1.0] * 4 + [9.0] * 3).double()
    if standardised:
        each = each / (state.visible_variance + centring.FLOOR)
    torch.testing.assert_close(rows, each, **TIGHT)
    scaled = term.scale * term.left.t() @ term.right
    torch.testing.assert_close(scaled, plain * torch.outer(rows, columns), **TIGHT)
    with pytest.raises(ConfigError, match="one a visible group"):
        Contrast(rbm, 20, CDConfig(group_scales=(1.0,)))


def l1_norms(**settings):
    """Return the sum of |w| of each hidden unit after learning, and the share of small weights."""
    cases = bars_and_stripes().repeat(10, 1)
    rbm = RBM(9, 6, rng=generator(0))
    config = CDConfig(epochs=60, batch_size=20, final_learning_rate=0.01, **settings)
    list(cd.epochs(rbm, cases, config=config, rng=generator(1)))
    return rbm.weight.abs().sum(0), float((rbm.weight.abs() < 0.02).float().mean())


def test_l1_makes_weights_small_and_l2l1_holds_the_largest_sums():
    (free, few), (_, many) = l1_norms(), l1_norms(l1_penalty=0.03)
    assert many > few + 0.2
    held, _ = l1_norms(l2l1_penalty=0.05)
    assert float(held.max()) < 0.8 * float(free.max())
    assert float(held.max() / held.min()) < float(free.max() / free.min())


@pytest.mark.parametrize(
    "pair", [(5, 4), (Gaussian(5), 4), (5, ReLU(4)), (Categorical(2, 3), DReLU(4))], ids=str
)
def test_the_standardised_gradient_is_the_centred_one_over_both_variances(pair):
    rbm = small_rbm(*deepcopy(pair), scale=0.3)
    data = rbm.sample_visible(rbm.weight.new_ones(40, 4), generator(3))
    state = cd.init_state(rbm, CENTRED, generator(4))
    contrast = Contrast(rbm, 40, CENTRED)
    contrast.data.copy_(data)
    contrast.run_phases(rbm, CENTRED, generator(5), None)
    inner = rbm.hidden_input(data)
    hidden = rbm.hidden.mean(inner)
    spread = rbm.hidden.variance(inner).mean(0) + (hidden - state.hidden_mean).square().mean(0)
    before = {name: each.clone() for name, each in vars(state).items() if torch.is_tensor(each)}
    centring.update_means(contrast, rbm, state)
    mean = before["hidden_mean"].lerp(hidden.mean(0), 0.01)
    torch.testing.assert_close(state.hidden_mean, mean, **TIGHT)
    spread = rbm.hidden.variance(inner).mean(0) + (hidden - mean).square().mean(0)
    torch.testing.assert_close(
        state.hidden_variance, before["hidden_variance"].lerp(spread, 0.01), **TIGHT
    )
    centring.centre(contrast, state)
    centred = form(contrast.gradients())["weight"]
    one, other = centring.precondition(contrast, state)
    term = centring.divided(contrast, (one, other))
    actual = term.scale * term.left.t() @ term.right
    torch.testing.assert_close(actual, centred * torch.outer(one, other), **TIGHT)
    torch.testing.assert_close(1 / one - centring.FLOOR, state.visible_variance, **TIGHT)


def test_the_standardised_gradient_learns_and_its_state_goes_on():
    cases = bars_and_stripes().repeat(10, 1)
    config = CDConfig(
        epochs=150,
        batch_size=20,
        learning_rate=0.01,
        final_learning_rate=0.001,
        momentum=0.5,
        persistent=True,
        weight_decay=0.0,
        centred=True,
        standardised=True,
    )
    rbm, half = RBM(9, 12, rng=generator(0)), RBM(9, 12, rng=generator(0))
    records = [r.state for r in cd.epochs(rbm, cases, config=config, rng=generator(1))]
    assert float(mean_log_likelihood(rbm, cases)) > -3.3  # the best is -2.64, unlearned -6.24
    assert records[-1].visible_variance.shape == (9,)
    assert records[-1].hidden_variance.shape == (12,)
    rng = generator(1)
    for record in cd.epochs(half, cases, config=config, rng=rng):
        if record.epoch == 3:
            break
    again = deepcopy(half)
    kept = deepcopy(record.state.to_tensors())
    going = cd.epochs(again, cases, config=config, rng=deepcopy_of(rng), state=kept)
    next(going)
    whole = RBM(9, 12, rng=generator(0))
    for record in cd.epochs(whole, cases, config=config, rng=generator(1)):
        if record.epoch == 4:
            break
    assert torch.equal(again.weight, whole.weight)


def deepcopy_of(rng):
    """Return a generator that stands where this one does."""
    copy = torch.Generator(device=rng.device)
    copy.set_state(rng.get_state())
    return copy


def test_centring_of_words_leaves_the_input_of_the_mean_document_alone():
    """Hidden inputs at D m, m the mean of one word, are v W + D b for documents of any length."""
    rbm = small_rbm(Multinomial(4), 3)
    config = CDConfig(centred=True, batch_size=8, epochs=1, momentum=0.0, initial_momentum=0.0)
    state = cd.init_state(rbm, config, generator(0))
    count = torch.tensor([2.0, 3, 4, 5, 6, 7, 8, 9]).double()
    contrast = Contrast(rbm, 8, config)
    contrast.context = Context(count=count)
    contrast.bias_scale = contrast.context.repeat(2).count[:, None]
    total = rbm.visible_bias.expand(8, -1).contiguous()
    contrast.data.copy_(rbm.visible.sample(total, generator(1), context=contrast.context))
    update = cd.update
    old_bias = rbm.hidden_bias.clone()
    old_weight = rbm.weight.clone()
    share = contrast.data.sum(0) / count.sum()
    mean = state.visible_mean.lerp(share, centring.NEW)
    update(rbm, contrast, config, 0, state, generator(2))
    torch.testing.assert_close(state.visible_mean, mean, **TIGHT)
    moved = rbm.weight - old_weight
    assert float(moved.abs().max()) > 0
    gradient = form(contrast.gradients())["hidden_bias"]
    assert torch.allclose(rbm.hidden_bias - old_bias + mean @ moved, 0.1 * gradient, atol=1e-12)


def learned(rbm, cases, **settings):
    config = CDConfig(epochs=4, batch_size=20, learning_rate=0.05, **settings)
    records = list(cd.epochs(rbm, cases, config=config, rng=generator(1)))
    return records[-1].state


def test_own_parameters_are_frozen_at_first_and_hidden_units_hold_their_scale():
    cases = torch.randn(200, 4, generator=generator(0)).sign().clamp(min=0)
    cases = torch.cat([cases, 3 * torch.randn(200, 1, generator=generator(3))], 1)
    visible, hidden = Groups(bits=4, number=Gaussian(1)), Groups(halves=DReLU(3), more=2)
    rbm = RBM(visible, hidden, rng=generator(1), weight_std=0.01)
    cd.init_visible_bias(rbm, cases)
    start = {name: p.clone() for name, p in rbm.named_parameters()}
    rbm.weight[4, :3] = 0.0  # no two real numbers pull each other
    learned(rbm, cases, units_frozen_epochs=4)
    for name, parameter in rbm.named_parameters():
        own = name.startswith(("visible.", "hidden."))
        assert torch.equal(parameter, start[name]) == own, name
    learned(rbm, cases, units_frozen_epochs=1)
    moved = {n for n, p in rbm.named_parameters() if not torch.equal(p, start[n])}
    assert moved >= {
        "visible.members.1.log_precision",
        "hidden.members.0.gap",
        "hidden.members.0.skew",
    }
    assert "hidden.members.0.log_precision" not in moved


def test_a_precision_stays_within_a_tenth_of_the_spread_of_the_data():
    cases = torch.randn(400, 3, generator=generator(0)) * torch.tensor([0.02, 1.0, 50.0])
    units = Groups(numbers=Gaussian(2), more=ReLU(1))
    cases[:, 2].abs_()
    rbm = RBM(units, 3, rng=generator(1), weight_std=0.01)
    cd.init_visible_bias(rbm, cases)
    state = learned(rbm, cases, units_rate=100.0, units_frozen_epochs=0)
    torch.testing.assert_close(state.visible_std, cases.std(0), rtol=0.01, atol=0)
    share = torch.cat([part.precision.rsqrt() for part in units.parts]) / state.visible_std
    assert float(share.min()) >= 0.0999
    assert float(share.max()) <= 1.101
    free = RBM(Groups(numbers=Gaussian(2), more=ReLU(1)), 3, rng=generator(1), weight_std=0.01)
    free.visible.keep_in_range(torch.ones(3))
    assert float(free.visible.parts[0].log_precision.abs().max()) == 0  # 1 is in the range
    free.visible.parts[0].log_precision.fill_(40.0)
    free.visible.keep_in_range(torch.tensor([1.0, 2.0, 1.0]))
    expected = -2 * torch.tensor([0.1, 0.2]).log()
    torch.testing.assert_close(free.visible.parts[0].log_precision.detach(), expected)


def test_a_gap_a_skew_and_level_biases_that_run_away_are_held():
    halves, answers = DReLU(2), Ordinal(1, 3)
    halves.gap.fill_(1e6)
    halves.skew.fill_(-1e6)
    halves.keep_in_range(None)
    assert halves.gap.tolist() == [20, 20]
    assert halves.skew.tolist() == [-20, -20]
    assert bool(torch.isfinite(halves.mean(torch.zeros(1, 2))).all())
    answers.level_bias.copy_(torch.tensor([[1e6, -2e6, 1e6]]))
    answers.keep_in_range(None)
    assert float(answers.level_bias.abs().max()) <= 40
    assert float(answers.level_bias.sum()) == pytest.approx(0, abs=1e-5)


def test_weights_and_masks_count_in_moments():
    cases = torch.rand(5, 3, generator=generator(0), dtype=torch.float64).float()
    weights = torch.tensor([2.0, 1.0, 0.0, 3.0, 1.0])
    repeated = cases.repeat_interleave(weights.long(), 0)
    for ours, plain in zip(arrays.moments(cases, weights), arrays.moments(repeated), strict=True):
        torch.testing.assert_close(ours, plain)
    mask = torch.tensor([[1, 0, 1], [1, 1, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]]).bool()
    mean, variance = arrays.moments(cases * mask, None, mask)
    assert float(mean[1]) == pytest.approx(float(cases[1:, 1].double().mean()))
    assert float(variance[1]) == pytest.approx(float(cases[1:, 1].double().var(correction=0)))
    assert float(variance[2]) == pytest.approx(0, abs=1e-12)


def test_weights_count_in_a_precision_too():
    """Of four numbers the first is shown three times as often."""
    cases = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    weights = torch.tensor([3.0, 1.0, 1.0, 1.0])
    rbm = RBM(Gaussian(1), 2, rng=generator(0))
    cd.init_visible_bias(rbm, cases, weights)
    repeated = torch.tensor([0.0, 0, 0, 1, 2, 5])
    assert float(rbm.visible.precision) == pytest.approx(1 / float(repeated.var(correction=0)))


def test_a_layer_learns_its_own_parameters_by_chunks():
    dbn = DBN((6, 5, 4), rng=generator(0))
    images = torch.rand(20, 6, generator=generator(1))
    states_ = greedy.chunk(dbn, images, config=GreedyConfig(), rng=generator(2))
    assert set(states_) == {0, 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"standardised": True}, "expected centred=True"),
        ({"l1_penalty": -1.0}, "l1_penalty = -1"),
        ({"group_scales": (1.0, 0.0)}, "group_scales"),
        ({"l2l1_penalty": float("nan")}, "l2l1_penalty = nan"),
        ({"units_rate": -0.1}, "units_rate"),
        ({"units_frozen_epochs": -1}, "units_frozen_epochs = -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CDConfig(**settings)
