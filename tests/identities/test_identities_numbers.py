"""Numbers beside their enumeration: means of what is filled in, exact sums with softmax groups,
large shifts, pseudo-likelihood of groups.
"""

import math

import numpy as np
import pytest
import torch
from exact import (
    TIGHT,
    differentiable,
    joint,
    labelled,
    log_z,
    mean_log_likelihood,
    small_rbm,
    states,
)
from torch.nn.functional import one_hot, softplus

from wakesleep.estimators import BernoulliRBM
from wakesleep.evaluation import exact, pseudo
from wakesleep.evaluation.ais import Estimate
from wakesleep.evaluation.likelihood import LogZ
from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.configs import CDConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.samplers import dreams, gibbs, missing
from wakesleep.units import Bernoulli, Categorical, Groups

NAN = float("nan")


def given_some(rbm, case, known):
    """Return E[v | what is known of `case`], (visible,), by enumeration."""
    v, p = states(rbm.visible), joint(rbm).sum(1)
    p = p * (v[:, known] == case[known]).all(1)
    return p @ v / p.sum()


def strong(visible, hidden, seed=1):
    """Return a machine whose weights are large enough that E[v | mean h] is far from E[v | h] on
    average.
    """
    return small_rbm(visible, hidden, seed=seed, scale=2.5)


@pytest.mark.parametrize("visible", [Bernoulli(5), labelled(3, 3)], ids=["binary", "with labels"])
def test_the_mean_of_what_is_missing_is_that_of_the_model(visible):
    rbm = strong(visible, 4)
    known = torch.arange(visible.size) < 2
    case = states(visible)[3]
    cases = torch.where(known, case, NAN).repeat(4000, 1)
    actual = missing.impute(rbm, cases, generator(0), steps=60, mean=True)
    assert torch.equal(actual[:, known], cases[:, known])
    error = actual.std(0) / len(actual) ** 0.5 + 1e-9
    z = ((actual.mean(0) - given_some(rbm, case, known)).abs() / error)[~known]
    assert float(z.max()) < 5


@pytest.mark.parametrize("label", [None, 1])
def test_the_mean_of_inpainting_a_net_of_one_layer_is_that_of_the_model(label):
    dbn = DBN((4, 4), labels=0 if label is None else 3, rng=generator(3), weight_std=2.5).double()
    for bias in (dbn.memory.visible_bias, dbn.memory.hidden_bias):
        bias.normal_(0, 0.7, generator=generator(5))
    known = torch.arange(4) < 2
    case = torch.zeros(dbn.memory.visible.size, dtype=torch.float64)
    case[0] = 1
    everything = torch.arange(dbn.memory.visible.size) < 2
    if label is not None:
        case[4 + label], everything[4:] = 1, True
    labels = None if label is None else torch.full((4000,), label)
    images = torch.where(known, case[:4], NAN).repeat(4000, 1)
    actual = dreams.inpaint(dbn, images, known, rng=generator(0), labels=labels, sweeps=60)
    error = actual.std(0) / len(actual) ** 0.5 + 1e-9
    z = ((actual.mean(0) - given_some(dbn.memory, case, everything)[:4]).abs() / error)[~known]
    assert float(z.max()) < 5


@pytest.mark.parametrize("size", [-140.0, 140.0])
def test_softmax_groups_with_large_biases_neither_vanish_nor_overflow(size):
    visible = Groups(**{f"site{n}": Categorical(3) for n in range(8)})
    rbm = RBM(visible, 4, rng=generator(0)).double()
    rbm.weight.mul_(10)
    rbm.visible_bias.fill_(size)
    h = states(rbm.hidden)
    expected = torch.logsumexp(
        h @ rbm.hidden_bias + rbm.visible.log_partition(h @ rbm.weight.t() + rbm.visible_bias), 0
    )
    assert exact.log_partition(rbm) == pytest.approx(float(expected), rel=1e-12)
    assert bool(exact.model_statistics(rbm).weight.isfinite().all())


@pytest.mark.parametrize("size", [10.0, 79.0, 81.0, 100.0, 3000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shifts_of_any_size_are_differences_of_softplus(size, dtype):
    rng = generator(0)
    total = torch.randn(7, 32, generator=rng, dtype=torch.float64) * 20
    rows = (torch.rand(3, 32, generator=rng, dtype=torch.float64) * 2 - 1) * size
    rows[0, 0] = size
    expected = (
        softplus(total[:, None] + rows, threshold=700) - softplus(total[:, None], threshold=700)
    ).sum(2)
    actual = Bernoulli(32).log_partition_delta(total.to(dtype), rows.to(dtype))
    torch.testing.assert_close(
        actual.double(),
        expected,
        rtol=1e-5 if dtype == torch.float32 else 1e-8,
        atol=1e-3 if dtype == torch.float32 else 1e-7,
    )


@pytest.mark.parametrize(
    "visible",
    [
        Bernoulli(4),
        labelled(3, 3),
        Categorical(4),
        Groups(label=Categorical(3), features=Bernoulli(2), label2=Categorical(2)),
    ],
    ids=str,
)
def test_pseudo_likelihood_is_the_sum_of_the_conditionals(visible):
    rbm = small_rbm(visible, 3)
    v, p = states(visible), joint(rbm).sum(1)
    parts = visible.parts if isinstance(visible, Groups) else (visible,)
    ends = np.cumsum([part.size for part in parts])
    units = []
    for part, end in zip(parts, ends, strict=True):
        columns = range(end - part.size, end)
        units += (
            [list(columns)] if isinstance(part, Categorical) else [[column] for column in columns]
        )
    expected = torch.zeros(len(v), dtype=torch.float64)
    for unit in units:
        rest = [column for column in range(visible.size) if column not in unit]
        same = (v[:, None, rest] == v[None, :, rest]).all(-1)
        expected += torch.log(p / (same * p).sum(1))
    torch.testing.assert_close(
        pseudo.pseudo_log_likelihood(rbm, v, checked=True), expected, **TIGHT
    )
    torch.testing.assert_close(pseudo.pseudo_log_likelihood(rbm, v), expected, **TIGHT)


@pytest.mark.parametrize("label", [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
def test_pseudo_likelihood_is_that_of_states(label):
    rbm = small_rbm(Groups(x=Bernoulli(2), label=Categorical(3)), 3)
    cases = states(rbm.visible)[:4].clone()
    cases[2, 2:] = torch.tensor(label)
    with pytest.raises(DataError, match=r"columns 2 to 4.* 1 of 4 cases.*\(case 2 "):
        pseudo.pseudo_log_likelihood(rbm, cases)


def test_scores_of_several_sites_are_the_conditionals_of_each():
    units = Groups(x=Bernoulli(2), tone=Categorical(3, sites=2))
    rbm = small_rbm(units, 3)
    x, site = states(Bernoulli(2)), torch.eye(3, dtype=torch.float64)
    for case in (torch.cat([x[1], site[0], site[2]]), torch.cat([x[2], site[1], site[1]])):
        actual = rbm.score(case[None], "tone")[0]
        for columns in (slice(2, 5), slice(5, 8)):
            rows = case.repeat(3, 1)
            rows[:, columns] = site
            expected = torch.log_softmax(-rbm.free_energy(rows), 0)
            torch.testing.assert_close(
                actual[columns.start - 2 : columns.stop - 2], expected, **TIGHT
            )
            torch.testing.assert_close(rbm.score(case[None], columns)[0], expected, **TIGHT)


@pytest.mark.parametrize(
    "group", ["x", slice(0, 5), slice(3, 8), slice(2, 4), slice(2, 2), slice(None)]
)
def test_scores_of_other_columns_than_whole_sites_are_refused(group):
    rbm = small_rbm(Groups(x=Bernoulli(2), tone=Categorical(3, sites=2)), 3)
    with pytest.raises(ConfigError, match="categorical site"):
        rbm.score(torch.zeros(1, 8, dtype=torch.float64), group)


@pytest.mark.parametrize(
    "hidden", [Categorical(3), Groups(features=Bernoulli(2), label=Categorical(3))], ids=str
)
def test_chains_start_at_states_of_the_units(hidden):
    rbm = small_rbm(4, hidden)
    starts = [
        gibbs.random_hidden(rbm, 3000, generator(0)),
        cd.init_state(rbm, CDConfig(persistent=True, batch_size=3000), generator(1)).chains,
    ]
    for start in starts:
        assert bool((start[:, -3:].sum(1) == 1).all())
        assert float((start[:, -3:].mean(0) - 1 / 3).abs().max()) < 5 * (2 / 9 / 3000) ** 0.5
        if hidden.size > 3:
            assert float((start[:, :2].mean(0) - 1 / 2).abs().max()) < 5 * (1 / 4 / 3000) ** 0.5


def test_missing_labels_begin_as_labels_and_one_known_in_part_is_refused():
    rbm = small_rbm(labelled(2, 3), 3)
    label = one_hot(torch.tensor([0, 0, 1]).repeat(1000), 3).double()
    cases = torch.cat([torch.zeros(3000, 2, dtype=torch.float64), label], 1)
    cases[:1500, 2:] = NAN
    known = missing.init_missing(cases, generator(0), rbm.visible)
    assert bool((cases[:, 2:].sum(1) == 1).all())
    assert (
        float((cases[:1500, 2:].mean(0) - torch.tensor([2 / 3, 1 / 3, 0])).abs().max())
        < 5 * (2 / 9 / 1500) ** 0.5
    )
    assert not bool(known[:1500, 2:].any())
    cases[0, 2:] = torch.tensor([0.0, NAN, NAN])
    with pytest.raises(DataError, match=r"label, columns 2 to 4: 1 of 3000 cases.*in part"):
        missing.init_missing(cases, generator(0), rbm.visible)


def test_a_likelihood_is_that_of_states():
    rbm = small_rbm(labelled(2, 3), 3)
    assert float(exact.log_likelihood(rbm, states(rbm.visible)).exp().sum()) == pytest.approx(1)
    grey, none, two = (states(rbm.visible)[:2].clone() for _ in range(3))
    grey[1, 0], none[1, 2:], two[1, 2:] = 0.5, 0, torch.tensor([1.0, 1.0, 0.0])
    for cases, message in (
        (grey, "a value of 0.5"),
        (none, "label, columns 2 to 4: 1 of 2 cases.*.case 1 has 0"),
        (two, "case 1 has 2"),
    ):
        with pytest.raises(DataError, match=message):
            exact.log_likelihood(rbm, cases)
    X = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    model = BernoulliRBM(2, random_state=0, n_iter=1).fit(X)
    assert np.isfinite(model.log_likelihood(X)).all()
    with pytest.raises(DataError, match=r"a value of 0\.3"):
        model.log_likelihood(X * 0.3)


@pytest.mark.parametrize("visible", [Bernoulli(4), labelled(3, 3)], ids=str)
@pytest.mark.parametrize("hidden", [2, 6])
def test_autograd_passes_through_the_exact_log_likelihood(visible, hidden):
    rbm = small_rbm(visible, hidden)
    cases = states(visible)[[0, 3, 3, 5]]
    moving, written = differentiable(rbm), differentiable(rbm)
    weights = torch.tensor([1.0, 2.0, -0.5, 3.0], dtype=torch.float64)
    (exact.log_likelihood(moving, cases) * weights).sum().backward()
    sums = -written.free_energy(cases) - torch.logsumexp(-written.free_energy(states(visible)), 0)
    (sums * weights).sum().backward()
    for actual, expected in zip(moving.parameters(), written.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, **TIGHT)
    gradient = exact.gradient(rbm, cases)
    moving.zero_grad()
    exact.log_likelihood(moving, cases).mean().backward()
    for name, parameter in moving.named_parameters():
        torch.testing.assert_close(parameter.grad, getattr(gradient, name), **TIGHT)


def test_weights_of_float32_get_gradients_and_an_optimiser_climbs():
    rbm = RBM(4, 3, rng=generator(0)).requires_grad_()
    cases = states(Bernoulli(4))[[0, 5, 5, 15]].float()
    optimizer, before = (
        torch.optim.LBFGS(rbm.parameters(), max_iter=50),
        float(exact.log_likelihood(rbm, cases).mean().detach()),
    )

    def loss():
        optimizer.zero_grad()
        value = -exact.log_likelihood(rbm, cases).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert float(exact.log_likelihood(rbm, cases).mean().detach()) > before + 1
    plain = RBM(4, 3, rng=generator(0))
    assert not exact.log_likelihood(plain, cases).requires_grad
    assert float(exact.log_likelihood(plain, cases).mean()) == pytest.approx(
        float(mean_log_likelihood(plain.double(), cases.double()))
    )


def test_log_z_is_a_number_whatever_learns():
    rbm = small_rbm(4, 3)
    assert exact.log_partition(differentiable(rbm)) == pytest.approx(float(log_z(rbm)), rel=1e-12)


def estimate(log_z, error=0.1, effective=50.0, chains=100):
    return Estimate(log_z, log_z - 3 * error, log_z + 3 * error, effective, chains, 1000)


def test_what_speaks_against_an_estimate_is_told():
    assert LogZ(estimate(10.0), estimate(10.1)).disagreement is None
    assert "differ by 5.00 nats" in LogZ(estimate(10.0), estimate(15.0)).disagreement
    crossed = LogZ(estimate(12.0), estimate(10.0)).disagreement
    assert "reverse AIS lies 2.00 nats below forward AIS" in crossed
    assert "differ" not in crossed
    few = LogZ(estimate(10.0, error=math.inf, effective=5.0), estimate(10.1)).disagreement
    assert few.startswith("5.0 of 100 chains carry the forward estimate")
    assert (
        "carry the reverse estimate"
        in LogZ(estimate(10.0), estimate(10.1, effective=5.0)).disagreement
    )
    assert LogZ(estimate(10.0)).disagreement is None
    assert "2.0 of 100 chains" in LogZ(estimate(10.0, effective=2.0)).disagreement
