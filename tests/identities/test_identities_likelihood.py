"""log Z, likelihoods, gradients and bounds against every state listed."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from exact import (
    SIGMAS,
    TIGHT,
    assert_frequencies,
    differentiable,
    energies,
    expected_statistics,
    given_visible,
    index_of,
    joint,
    labelled,
    log_z,
    mean_log_likelihood,
    small_rbm,
    states,
)

from wakesleep.evaluation import ais, exact, likelihood
from wakesleep.evaluation.bound import lower_bound
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical, Groups

LAYERS = [
    (5, 4),
    (4, 7),
    (labelled(), 6),
    (labelled(), 2),
    (4, Categorical(3)),
    (Groups(label=Categorical(3), features=Bernoulli(2), label2=Categorical(2)), 8),
]


@pytest.mark.parametrize(("visible", "hidden"), LAYERS)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_log_z_is_the_sum_over_all_pairs_of_states(visible, hidden, scale: float) -> None:
    rbm = small_rbm(visible, hidden, scale=scale)
    assert exact.log_partition(rbm) == pytest.approx(float(log_z(rbm)), rel=1e-12)


def test_inputs_too_large_for_products_take_the_slow_way_to_the_same_sum() -> None:
    rbm = small_rbm(5, 4, scale=1.0)
    rbm.weight.mul_(300.0)
    assert exact.log_partition(rbm) == pytest.approx(float(log_z(rbm)), rel=1e-12)


@pytest.mark.parametrize("safe", [0.0, 60.0])
def test_the_fast_and_the_slow_way_agree_on_many_units(
    safe: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rbm = small_rbm(Groups(features=Bernoulli(211), label=Categorical(10)), 9, scale=0.5)
    fast = exact.log_partition(rbm)
    monkeypatch.setattr(exact, "SAFE", safe)  # 0: no products at all; 60: many logarithms
    assert exact.log_partition(rbm) == pytest.approx(fast, rel=1e-12)


@pytest.mark.parametrize(("visible", "hidden"), LAYERS)
def test_likelihood_and_gradient_are_those_of_all_states(visible, hidden) -> None:
    rbm = small_rbm(visible, hidden)
    cases = states(rbm.visible)[::2]
    assert exact.log_likelihood(rbm, states(rbm.visible)).exp().sum() == pytest.approx(
        1.0, rel=1e-12
    )
    followed = differentiable(rbm)
    mean_log_likelihood(followed, cases.double()).backward()
    actual = exact.gradient(rbm, cases)
    for name in ("weight", "visible_bias", "hidden_bias"):
        # cases pass in float32
        torch.testing.assert_close(
            getattr(actual, name), getattr(followed, name).grad, rtol=1e-5, atol=1e-7
        )
    for mine, listed in zip(
        exact.model_statistics(rbm), expected_statistics(rbm, joint(rbm).sum(1)), strict=True
    ):
        torch.testing.assert_close(mine, listed, **TIGHT)


@pytest.mark.parametrize(("visible", "hidden"), [(4, 6), (labelled(2, 3), 3)])
def test_exact_samples_have_the_exact_frequencies(visible, hidden) -> None:
    rbm = small_rbm(visible, hidden)
    assert_frequencies(
        index_of(exact.sample(rbm, 20_000, generator(3)), states(rbm.visible)), joint(rbm).sum(1)
    )


def test_a_machine_too_large_to_list_is_refused_and_ais_named() -> None:
    with pytest.raises(ConfigError, match="AIS"):
        exact.log_partition(RBM(30, 26, rng=generator(0)))


@pytest.mark.parametrize(("visible", "hidden"), [(6, 5), (labelled(), 5), (5, Categorical(4))])
@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("reverse", [False, True])
def test_mean_ais_weight_is_exact_in_both_directions(
    visible, hidden, count: int, reverse: bool
) -> None:
    rbm = small_rbm(visible, hidden, scale=0.8)
    base = torch.linspace(-0.5, 0.5, rbm.visible.size, dtype=torch.float64)
    rng, betas = generator(1), torch.linspace(0, 1, count).double()
    start = (
        ais.init_reverse(betas, exact.sample(rbm, 20_000, rng))
        if reverse
        else ais.init_forward(rbm, base, betas, 20_000, rng)
    )
    *_, actual = ais.anneal(rbm, base, start, rng=rng)
    still = rbm.hidden.log_partition(torch.zeros(1, rbm.hidden.size, dtype=torch.float64))
    log_base = rbm.visible.log_partition(base[None]) + still
    log_mean = (log_base - log_z(rbm)) if reverse else (log_z(rbm) - log_base)
    weights = torch.exp(actual.log_weights[-1] - log_mean)
    assert abs(float(weights.mean()) - 1) < SIGMAS * float(weights.std()) / math.sqrt(20_000)
    estimate = ais.estimate(rbm, base, actual)
    assert estimate.low < estimate.log_z < estimate.high
    assert estimate.log_z == pytest.approx(
        float(
            log_base - weights.mean().log() - log_mean
            if reverse
            else log_base + weights.mean().log() + log_mean
        )
    )
    assert 1 <= estimate.effective_chains <= 20_000


def test_fine_steps_and_coarse_steps_weigh_alike() -> None:
    rbm = small_rbm(7, 6)
    annealer = ais._Annealer(rbm, torch.zeros(7, dtype=torch.float64), 5)
    visible = exact.sample(rbm, 5, generator(0))
    fine = annealer.log_ratio(visible, 0.5, 0.6)
    annealer.steepest = math.inf  # as if a step this large could not be taken the fast way
    torch.testing.assert_close(annealer.log_ratio(visible, 0.5, 0.6), fine, **TIGHT)
    annealer.steepest = 0.0
    parts = sum(annealer.log_ratio(visible, 0.5 + k / 100, 0.51 + k / 100) for k in range(10))
    torch.testing.assert_close(parts, fine, **TIGHT)


@pytest.mark.parametrize("reverse", [False, True])
def test_stopped_annealing_goes_on_to_the_same_weights(reverse: bool) -> None:
    rbm = small_rbm(6, 5)
    base, betas = torch.zeros(6, dtype=torch.float64), torch.linspace(0, 1, 101).double()
    rng = generator(4)
    start = (
        ais.init_reverse(betas, exact.sample(rbm, 10, rng))
        if reverse
        else ais.init_forward(rbm, base, betas, 10, rng)
    )
    before = rng.get_state()
    *_, whole = ais.anneal(rbm, base, start, rng=rng, every=10)
    rng.set_state(before)
    for half in ais.anneal(rbm, base, start, rng=rng, every=10):
        if half.step == 50:
            break
    *_, again = ais.anneal(rbm, base, half, rng=rng, every=10)
    for mine, other in zip(again, whole, strict=True):
        assert torch.equal(mine, other)
    assert whole.steps.tolist() == [1, *range(10, 101, 10), 101]


@pytest.mark.parametrize(
    ("scale", "target"), [pytest.param(1.0, 0.012, marks=pytest.mark.slow), (3.0, 0.04)]
)
def test_search_meets_its_target_and_says_what_it_expects(scale: float, target: float) -> None:
    rbm = small_rbm(30, 10, scale=scale)
    base = torch.zeros(30, dtype=torch.float64)
    records = list(ais.search(rbm, base, rng=generator(2), target_error=target))
    actual = ais.estimate(rbm, base, records[-1])
    # the first, coarse round was not enough
    assert len({len(record.betas) for record in records}) > 1
    assert actual.standard_error <= target
    assert actual.low < exact.log_partition(rbm) < actual.high


def test_search_stops_at_its_limit() -> None:
    rbm = small_rbm(30, 10, scale=2.0)
    base = torch.zeros(30, dtype=torch.float64)
    records = list(ais.search(rbm, base, rng=generator(2), target_error=1e-4, limit=50))
    assert max(len(record.betas) for record in records) <= 50


def test_published_betas_are_the_published_ones() -> None:
    betas = ais.published_betas()
    ais.check_betas(betas)
    assert len(betas) == 14_501
    assert [
        int(((betas >= low) & (betas < high)).sum())
        for low, high in ((0, 0.49999), (0.49999, 0.89999), (0.89999, 1.1))
    ] == [
        500,
        4000,
        10_001,
    ]


@pytest.mark.parametrize(
    "betas", [[0.0, 0.5, 0.4, 1.0], [0.1, 1.0], [0.0, 0.9], [0.0], [1.0, 0.0], [0.0, math.nan, 1.0]]
)
def test_betas_that_do_not_rise_from_0_to_1_are_refused(betas: list[float]) -> None:
    rbm = small_rbm(3, 2)
    with pytest.raises(ConfigError, match="begins with 0 and ends with 1"):
        ais.init_forward(rbm, torch.zeros(3).double(), torch.tensor(betas), 10, generator(0))


def test_one_chain_and_unfinished_chains_are_refused() -> None:
    rbm = small_rbm(3, 2)
    base, betas = torch.zeros(3).double(), torch.linspace(0, 1, 5)
    with pytest.raises(ConfigError, match="at least 2"):
        ais.init_forward(rbm, base, betas, 1, generator(0))
    with pytest.raises(ConfigError, match="at least 2"):
        ais.init_reverse(betas, torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="go on"):
        ais.estimate(rbm, base, ais.init_forward(rbm, base, betas, 2, generator(0)))


def test_base_rates_are_the_log_odds_of_the_cases() -> None:
    rbm = small_rbm(labelled(2, 3), 2)
    cases = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 1, 0], [1, 0, 0, 1, 0.0]])
    p = (cases.sum(0) + 1) / 6
    base = ais.base_rates(rbm, cases)
    torch.testing.assert_close(
        base[:2], torch.log(p[:2] / (1 - p[:2])).double(), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        torch.softmax(base[2:], 0), (p[2:] / p[2:].sum()).double(), rtol=1e-5, atol=1e-6
    )


def test_both_directions_agree_on_an_easy_machine_and_a_gap_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rbm = small_rbm(12, 5, scale=0.5)
    cases = exact.sample(rbm, 500, generator(0))
    actual = likelihood.log_partition(rbm, cases, rng=generator(1))
    assert actual.exact is not None
    assert actual.reverse is not None
    assert actual.disagreement is None
    assert actual.forward.low < actual.exact < actual.forward.high
    assert actual.reverse.low < actual.exact < actual.reverse.high
    apart = actual._replace(reverse=actual.reverse._replace(log_z=99.0, low=98.0, high=100.0))
    assert "differ by" in (apart.disagreement or "")
    frozen = small_rbm(200, 8, scale=1.0)  # two betas cannot bridge this
    likelihood.log_partition(
        frozen,
        exact.sample(frozen, 500, generator(0)),
        rng=generator(1),
        betas=torch.tensor([0.0, 1.0]),
    )
    assert "differ by" in caplog.text


def deep_net(labels: int = 0) -> DBN:
    """A stack of 4-3-4 whose pathways differ, in float64."""
    dbn = DBN((4, 3, 4), labels=labels, rng=generator(5)).double()
    dbn.untie()
    rng = generator(6)
    for parameter in dbn.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * 0.7)
    return dbn


def exact_log_p(dbn: DBN) -> torch.Tensor:
    """log p(v) of every v, or log p(v, label), (states, labels or 1), by summing over all hidden
    states.
    """
    v, h = states(Bernoulli(4)), states(Bernoulli(3))
    p = dbn.generative[0].probs(h)
    log_v = v @ torch.log(p).t() + (1 - v) @ torch.log1p(-p).t()
    top = (-dbn.memory.free_energy(states(dbn.memory.visible)) - log_z(dbn.memory)).view(len(h), -1)
    return torch.logsumexp(log_v[:, :, None] + top[None], 1)


@pytest.mark.parametrize("labels", [0, 3])
def test_the_bound_lies_below_the_exact_likelihood_by_the_divergence_of_q(labels: int) -> None:
    dbn, rng = deep_net(labels), generator(7)
    v, h = states(Bernoulli(4)).float(), states(Bernoulli(3))
    exact_p = torch.logsumexp(exact_log_p(dbn), 1)
    actual = lower_bound(dbn, v, float(log_z(dbn.memory)), rng=rng, samples=4000)
    q = dbn.recognition[0].probs(v.double())
    log_q = torch.log(q) @ h.t() + torch.log1p(-q) @ (1 - h).t()
    p = dbn.generative[0].probs(h)
    log_joint = (
        v.double() @ torch.log(p).t()
        + (1 - v.double()) @ torch.log1p(-p).t()
        - dbn.memory_free_energy(h)
        - log_z(dbn.memory)
    )
    expected = (log_q.exp() * (log_joint - log_q)).sum(1)
    assert bool((expected <= exact_p + 1e-9).all())
    assert bool(((actual.bound - expected).abs() < SIGMAS * actual.error + 1e-9).all())
    assert float((actual.importance_weighted - exact_p).abs().max()) < 0.1


def test_with_labels_the_bound_is_on_the_pair() -> None:
    dbn = deep_net(3)
    v = states(Bernoulli(4)).float()
    for label in range(3):
        actual = lower_bound(
            dbn,
            v,
            float(log_z(dbn.memory)),
            rng=generator(1),
            samples=4000,
            labels=torch.full((16,), label),
        )
        assert float((actual.importance_weighted - exact_log_p(dbn)[:, label]).abs().max()) < 0.1
        assert bool((actual.bound <= exact_log_p(dbn)[:, label] + SIGMAS * actual.error).all())


def test_the_lowest_depth_of_a_stack_is_an_rbm_and_exact() -> None:
    dbn = DBN((5, 3, 4), rng=generator(0), weight_std=1.0).double()
    v = states(Bernoulli(5)).float()
    actual = lower_bound(dbn, v, exact.log_partition(dbn.rbm(0)), rng=generator(1), depth=1)
    torch.testing.assert_close(
        actual.bound, exact.log_likelihood(dbn.rbm(0), v), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(actual.importance_weighted, actual.bound)


def test_a_layer_that_mirrors_the_one_below_leaves_the_bound_where_it_was() -> None:
    """Hinton, Osindero & Teh (2006), section 4: the transposed RBM on top is the same model; its
    bound is exact where q is.
    """
    dbn = DBN((5, 3, 5), rng=generator(0), weight_std=1.0).double()
    first = dbn.rbm(0)
    dbn.memory.weight.copy_(first.weight.t())
    dbn.memory.visible_bias.copy_(first.hidden_bias)
    dbn.memory.hidden_bias.copy_(first.visible_bias)
    v = states(Bernoulli(5)).float()
    z = exact.log_partition(first)
    actual = lower_bound(dbn, v, z, rng=generator(1), samples=2000)
    alone = lower_bound(dbn, v, z, rng=generator(1), depth=1).bound
    assert bool(((actual.bound - alone).abs() < SIGMAS * actual.error + 1e-5).all())


def test_a_memory_on_the_pixels_is_scored_with_its_labels_summed_out() -> None:
    dbn = DBN((4, 5), labels=3, rng=generator(0), weight_std=1.0).double()
    v = states(Bernoulli(4)).float()
    z = exact.log_partition(dbn.memory)
    assert float(lower_bound(dbn, v, z, rng=generator(0)).bound.exp().sum()) == pytest.approx(
        1.0, rel=1e-5
    )


def test_grey_cases_and_impossible_wishes_are_refused() -> None:
    dbn = DBN((4, 5, 3), rng=generator(0))
    with pytest.raises(DataError, match=r"value of 0\.5"):
        lower_bound(dbn, torch.full((2, 4), 0.5), 0.0, rng=generator(0))
    for wrong in ({"depth": 3}, {"samples": 0}, {"labels": torch.zeros(2, dtype=torch.long)}):
        with pytest.raises(ConfigError):
            lower_bound(dbn, torch.zeros(2, 4), 0.0, rng=generator(0), **wrong)
    untied = deepcopy(dbn)
    untied.untie()
    with pytest.raises(ConfigError, match="untied"):
        lower_bound(untied, torch.zeros(2, 4), 0.0, rng=generator(0), depth=1)


def test_the_helpers_of_this_page_agree_with_each_other() -> None:
    rbm = small_rbm(4, 3)
    torch.testing.assert_close(given_visible(rbm).sum(1), torch.ones(16, dtype=torch.float64))
    assert float(torch.logsumexp(-energies(rbm).flatten(), 0)) == pytest.approx(float(log_z(rbm)))
