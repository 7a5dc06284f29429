"""Families defined in `families.py` alone, with a precision, a count and a mask, in Gibbs sampling,
exact sums, AIS, CD and files.
"""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from exact import SIGMAS, TIGHT, assert_frequencies, assert_mean, index_of
from families import OwnGaussian, OwnMultinomial, OwnSpin

import wakesleep as ws
from wakesleep.evaluation import ais, exact, likelihood
from wakesleep.evaluation.pseudo import pseudo_log_likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.models.rbm import RBM
from wakesleep.samplers import tempering
from wakesleep.samplers.gibbs import Clamp, random_hidden, run
from wakesleep.samplers.missing import impute
from wakesleep.units import Bernoulli, Categorical, Context, Groups

MASK = torch.tensor([[True, False, True, True, True]])


def machine(visible, hidden=3, seed=0, scale=0.6):
    """Return a float64 RBM whose weights and biases are all away from zero."""
    rng = generator(seed)
    rbm = RBM(deepcopy(visible), hidden, rng=rng, weight_std=scale).double()
    for bias in (rbm.visible_bias, rbm.hidden_bias):
        bias.copy_(torch.randn(bias.shape, generator=rng, dtype=torch.float64) * 0.5)
    return rbm


MACHINES = {
    "gaussian": (OwnGaussian(3, torch.tensor([0.2, -0.3, 0.6])), 3, None),
    "multinomial": (OwnMultinomial(3), 3, Context(count=torch.tensor([4.0]))),
    "spins and label, one absent": (
        Groups(spins=OwnSpin(3), label=Categorical(2)),
        3,
        Context(mask=MASK),
    ),
    "gaussian and label": (Groups(pixels=OwnGaussian(2), label=Categorical(2)), 3, None),
    "gaussian hidden": (4, OwnGaussian(2, torch.tensor([0.3, 0.8])), None),
}
FINITE = [
    name
    for name, (visible, *_) in MACHINES.items()
    if "gaussian" not in name or name == "gaussian hidden"
]


@pytest.fixture(params=MACHINES)
def case(request):
    visible, hidden, context = MACHINES[request.param]
    return machine(visible, deepcopy(hidden)), context


@pytest.fixture(params=FINITE)
def finite(request):
    visible, hidden, context = MACHINES[request.param]
    return machine(visible, deepcopy(hidden)), context


def visible_probs(rbm, context):
    """Return the visible states and p(v) of each, out of free energies."""
    states = rbm.visible.states(context)
    return states, torch.softmax(-rbm.free_energy(states, context), 0)


def samples(rbm, context, count=20_000, seed=1):
    return exact.sample(rbm, count, generator(seed), context)


def test_log_z_from_either_side(finite):
    rbm, context = finite
    states = rbm.visible.states(context)
    log_z = torch.logsumexp(-rbm.free_energy(states, context), 0)
    assert math.isclose(exact.log_partition(rbm, context), float(log_z), rel_tol=1e-10)
    if rbm.hidden.n_bernoulli:
        hidden = rbm.hidden.states()
        from_hidden = torch.logsumexp(-rbm.hidden_free_energy(hidden, context), 0)
        torch.testing.assert_close(from_hidden, log_z, **TIGHT)
        pairs = [rbm.energy(states, row.expand(len(states), -1), context) for row in hidden]
        torch.testing.assert_close(torch.logsumexp(-torch.cat(pairs), 0), log_z, **TIGHT)


def test_log_z_of_gaussian_units_by_quadrature():
    rbm = machine(OwnGaussian(2, torch.tensor([0.2, -0.3])))
    axis = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    log_z = torch.logsumexp(-rbm.free_energy(grid), 0) + 2 * math.log(float(axis[1] - axis[0]))
    assert math.isclose(exact.log_partition(rbm), float(log_z), rel_tol=1e-8)


def test_gibbs_leaves_the_distribution_as_it_is(case):
    """Chains that begin in the model's own distribution, drawn independently, are still in it three
    steps later.
    """
    rbm, context = case
    visible = samples(rbm, context)
    hidden = rbm.sample_hidden(visible, generator(2), context=context)
    after = run(rbm, hidden, 3, generator(3), context=context)
    statistics = exact.model_statistics(rbm, context)
    assert_mean(after.visible, statistics.visible_bias)
    # hidden biases count that often
    scale = 1 if context is None or context.count is None else float(context.count)
    assert_mean(after.hidden, statistics.hidden_bias / scale)
    assert_mean(after.visible[:, :, None] * after.hidden[:, None, :], statistics.weight)


def test_gibbs_visits_each_state_as_often_as_it_should(finite):
    rbm, context = finite
    hidden = rbm.sample_hidden(samples(rbm, context), generator(2), context=context)
    states, p = visible_probs(rbm, context)
    assert_frequencies(
        index_of(run(rbm, hidden, 2, generator(3), context=context).visible, states), p
    )


def test_parallel_tempering_leaves_the_distribution_as_it_is(case):
    rbm, context = case
    visible = samples(rbm, context, 8000)
    sampler = tempering.Tempered(torch.linspace(0, 1, 4))
    sampler(
        rbm,
        rbm.sample_hidden(visible, generator(2), context=context),
        12,
        generator(3),
        context=context,
    )
    replicas = sampler.replicas.visible
    own = exact.model_statistics(rbm, context)
    assert_mean(replicas[-1], own.visible_bias)
    assert (sampler.swap_rates > 0.05).all()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_weights_of_annealing_have_the_ratio_of_z_for_mean(case, reverse):
    """The mean weight is exp(log Z - log Z_base) without bias, with any few betas; the base has
    parameters of its own.
    """
    rbm, context = case
    data = samples(rbm, context, 400)
    base = ais.base_model(rbm, data)
    betas = torch.linspace(0, 1, 12)
    count = 20_000
    begun = (
        ais.init_reverse(betas, samples(rbm, context, count, 5))
        if reverse
        else ais.init_forward(rbm, base, betas, count, generator(6), context)
    )
    *_, last = ais.anneal(rbm, base, begun, rng=generator(7), context=context)
    actual, known = ais.estimate(rbm, base, last, context), exact.log_partition(rbm, context)
    assert actual.low < known < actual.high
    assert actual.high - actual.low < 0.3


def test_likelihood_both_ways(case):
    rbm, context = case
    data = samples(rbm, context, 500)
    actual = likelihood.log_partition(
        rbm,
        data,
        rng=generator(1),
        chains=200,
        target_error=0.05,
        reverse_steps=50,
        context=context,
    )
    known = exact.log_partition(rbm, context)
    assert actual.exact == known
    assert abs(actual.forward.log_z - known) < 5 * actual.forward.standard_error + 0.01
    assert abs(actual.reverse.log_z - known) < 5 * actual.reverse.standard_error + 0.01


def test_exact_gradients_are_autograds(finite):
    rbm, context = finite
    data = samples(rbm, context, 50)
    moving = deepcopy(rbm).requires_grad_()
    exact.log_likelihood(moving, data, context).mean().backward()
    by_hand = exact.gradient(rbm, data, context)
    states = rbm.visible.states(context)
    free = deepcopy(rbm).requires_grad_()
    (-free.free_energy(data, context)).mean().sub(
        torch.logsumexp(-free.free_energy(states, context), 0)
    ).backward()
    for name in by_hand._fields:
        torch.testing.assert_close(getattr(by_hand, name), getattr(moving, name).grad, **TIGHT)
        torch.testing.assert_close(getattr(by_hand, name), getattr(free, name).grad, **TIGHT)


@pytest.mark.parametrize("persistent", [False, True], ids=["CD", "PCD"])
def test_contrastive_divergence_learns_what_the_data_have(case, persistent):
    """From the independent model that fits the data, a machine gains at least a third of what the
    machine they came from is better by.
    """
    teacher, context = case
    teacher.weight *= 3
    # one hidden unit moves all visible ones, and is on in half of the cases
    if context is None and teacher.hidden.n_bernoulli:
        teacher.weight.zero_()[:, 0] = 2.5
        teacher.hidden_bias.copy_(
            -teacher.visible.log_partition_delta(teacher.visible_bias[None], teacher.weight.t())[0]
        )
    data = samples(teacher, context, 2000).float()
    rbm = RBM(
        deepcopy(teacher.visible).float(),
        deepcopy(teacher.hidden).float(),
        rng=generator(1),
        weight_std=0.01,
    )
    if context is None or context.mask is None:
        ws.cd.init_visible_bias(rbm, data)
    independent, best = (
        float(exact.log_likelihood(model, data, context).mean()) for model in (rbm, teacher)
    )
    config = ws.CDConfig(
        epochs=15,
        batch_size=50,
        learning_rate=0.05,
        final_learning_rate=0.005,
        gibbs_steps=2,
        persistent=persistent,
        sample_visible=True,
    )
    list(ws.cd.epochs(rbm, data, config=config, rng=generator(2), context=context))
    learned = float(exact.log_likelihood(rbm, data, context).mean())
    assert learned > independent + (best - independent) / 3


@pytest.mark.parametrize("persistent", [False, True], ids=["CD", "PCD"])
def test_a_machine_that_the_data_came_from_has_nothing_to_learn(case, persistent):
    """The expected gradients of weights, biases and the units' own parameters are zero where data
    and chains have the model's distribution.
    """
    rbm, context = case
    config = ws.CDConfig(
        batch_size=20_000, gibbs_steps=2, persistent=persistent, sample_visible=True
    )
    contrast = cd.Contrast(rbm, 20_000, config)
    contrast.data.copy_(samples(rbm, context))
    contrast.context = context
    contrast.bias_scale = None if context is None else rbm.visible.bias_scale(context)
    chains = (
        rbm.sample_hidden(samples(rbm, context, seed=5), generator(6), context=context)
        if persistent
        else None
    )
    contrast.run_phases(rbm, config, generator(7), chains)
    n, zero = contrast.size, torch.zeros((), dtype=torch.float64)
    products = contrast.visible[:, :, None] * contrast.hidden[:, None, :]
    assert_mean(products[:n] + products[n:], zero)
    assert_mean(contrast.difference, zero)
    assert_mean(contrast.positive + contrast.negative, zero)
    data, model = (rbm.visible.statistics(states) for states in (contrast.data, contrast.model))
    names = dict(rbm.named_parameters())
    assert set(contrast.own) == {name for name in names if name.startswith(("visible.", "hidden."))}
    for name, (term,) in contrast.own.items():
        assert term.value.shape == names[name].shape
        assert (
            float(term.value.abs().max()) < SIGMAS * 3 * float((data - model).std()) / n**0.5 + 0.01
        )


def test_precisions_learn_from_data_of_another_scale():
    data = 0.5 * torch.randn(1000, 2, generator=generator(0)) + 1
    rbm = RBM(OwnGaussian(2), 2, rng=generator(1), weight_std=0.01)
    config = ws.CDConfig(epochs=40, batch_size=50, learning_rate=0.1, final_learning_rate=0.01)
    for _ in ws.cd.epochs(rbm, data, config=config, rng=generator(2)):
        pass
    noise = (-rbm.visible.rho / 2).exp()
    assert bool((noise < 0.6).all()), "a precision of 1 where it began, of 4 in the data"


def test_cases_of_many_counts_learn_together():
    rng = generator(0)
    count = torch.randint(2, 9, (600,), generator=rng).float()
    topic = torch.tensor([[3.0, 0.0, -3.0], [-3.0, 0.0, 3.0]])[
        torch.randint(2, (600,), generator=rng)
    ]
    words = OwnMultinomial(3).sample(topic, rng, context=Context(count=count))
    assert torch.equal(words.sum(1), count)
    rbm = RBM(OwnMultinomial(3), 2, rng=rng, weight_std=0.1)
    config = ws.CDConfig(
        epochs=30, batch_size=50, learning_rate=0.03, momentum=0.5, sample_visible=True
    )
    list(ws.cd.epochs(rbm, words, config=config, rng=rng, context=Context(count=count)))
    chains = run(
        rbm, random_hidden(rbm, 400, rng), 50, rng, context=Context(count=torch.tensor([8.0]))
    )
    assert torch.equal(chains.visible.sum(1), torch.full((400,), 8.0))
    apart = (chains.visible[:, 0] - chains.visible[:, 2]).abs()
    assert float((apart >= 4).float().mean()) > 0.6, (
        "documents are of one topic or the other, never of both"
    )


def test_absent_sites_teach_nothing():
    """The weights of a site that is absent in every case stay where they were, and so does its
    bias.
    """
    mask = MASK.expand(200, -1)
    rbm = RBM(Groups(spins=OwnSpin(3), label=Categorical(2)), 3, rng=generator(0))
    before = deepcopy(rbm)
    data = rbm.visible.sample(torch.zeros(200, 5), generator(1), context=Context(mask=mask))
    config = ws.CDConfig(epochs=3, batch_size=20, learning_rate=0.1, weight_decay=0.0)
    list(ws.cd.epochs(rbm, data, config=config, rng=generator(2), context=Context(mask=mask)))
    assert torch.equal(rbm.weight[1], before.weight[1])
    assert rbm.visible_bias[1] == before.visible_bias[1]
    assert bool((rbm.weight[[0, 2, 3, 4]] != before.weight[[0, 2, 3, 4]]).any())


def test_clamped_groups_stay_and_the_others_follow(finite):
    rbm, context = finite
    if not isinstance(rbm.visible, Groups):
        return
    label = torch.eye(2, dtype=torch.float64)[torch.arange(8000) % 2]
    clamp = Clamp.of_groups(rbm, {"label": label})
    chains = run(
        rbm, random_hidden(rbm, 8000, generator(0)), 20, generator(1), clamp, context=context
    )
    assert torch.equal(rbm.visible.split(chains.visible)["label"], label)
    states, p = visible_probs(rbm, context)
    for level in (0, 1):
        here = states[:, 3 + level] == 1
        given = p[here] / p[here].sum()
        assert_frequencies(index_of(chains.visible[level::2], states[here]), given)


def test_pseudo_likelihood_is_made_of_conditionals():
    rbm = machine(Groups(spins=OwnSpin(2), label=Categorical(3)))
    states, p = visible_probs(rbm, None)
    expected = torch.zeros(len(states), dtype=torch.float64)
    for columns in ([0], [1], [2, 3, 4]):
        rest = [column for column in range(5) if column not in columns]
        same = (states[:, None, rest] == states[None, :, rest]).all(-1)
        expected += torch.log(p / (same * p).sum(1))
    torch.testing.assert_close(pseudo_log_likelihood(rbm, states), expected, **TIGHT)


def test_missing_values_are_filled_in():
    rbm = machine(OwnGaussian(3, torch.tensor([0.2, -0.3, 0.6])))
    cases = samples(rbm, None, 200)
    holes = cases.clone()
    holes[:, 1] = torch.nan
    filled = impute(rbm, holes, generator(1), steps=20)
    assert torch.equal(filled[:, [0, 2]], cases[:, [0, 2]])
    assert bool(filled.isfinite().all())


def test_save_and_load(case, tmp_path):
    rbm, context = case
    ws.save(rbm, tmp_path / "own.safetensors")
    again = ws.load(tmp_path / "own.safetensors")
    assert again.spec() == rbm.spec()
    data = samples(rbm, context, 20)
    assert torch.equal(again.free_energy(data, context), rbm.free_energy(data, context))


def test_own_units_stand_beside_bernoulli_ones():
    rbm = RBM(Groups(bits=Bernoulli(3), levels=OwnGaussian(2)), 4, rng=generator(0))
    visible = rbm.sample_visible(
        rbm.sample_hidden(torch.rand(50, 5, generator=generator(1)), generator(2)), generator(3)
    )
    assert set(visible[:, :3].unique().tolist()) <= {0.0, 1.0}
    assert len(visible[:, 3:].unique()) == 100
