"""The deep Boltzmann machine: mean field, bounds and gradients against enumeration, in float64."""

import json
from copy import deepcopy
from itertools import islice, pairwise

import pytest
import torch

import wakesleep as ws
from tests.identities.exact import SIGMAS, TIGHT, assert_same_state, form
from wakesleep.evaluation import ais, bound, exact
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.learning import backprop, cd, deep_boltzmann
from wakesleep.learning.cd import Contrast
from wakesleep.models.dbm import DBM
from wakesleep.samplers import deep
from wakesleep.sources import arrays
from wakesleep.units import Binomial, Gaussian

MACHINES = [((6, 4, 3), 0), ((6, 4, 3), 2), ((5, 4, 3, 3), 0), ((5, 4, 3, 3), 3)]


def small_dbm(sizes, labels=0, seed=0, scale=1.0):
    rng = ws.generator(seed)
    dbm = DBM(sizes, labels=labels, rng=rng, weight_std=scale).double()
    for bias in (dbm.rbm.visible_bias, dbm.rbm.hidden_bias):
        bias.copy_(torch.randn(bias.shape, generator=rng, dtype=torch.float64) * 0.5)
    return dbm


def binary(count, size, seed=1):
    return torch.randint(2, (count, size), generator=ws.generator(seed)).double()


def entropy(units, means):
    """Entropy of the hidden groups of a side at their means, (N,)."""
    total = torch.zeros(len(means), dtype=torch.float64)
    for name, columns in zip(units.names, units.slices, strict=True):
        part = means[:, columns]
        if name != "visible":
            total += torch.special.entr(part).sum(1)
        if name not in ("visible", "label"):
            total += torch.special.entr(1 - part).sum(1)
    return total


def exact_log_p(dbm, visible, labels=None):
    """log p(v), or log p(v, label), of each case: every state of both sides listed."""
    even, odd = dbm.even.states().double(), dbm.odd.states().double()
    pairs = even.repeat_interleave(len(odd), 0), odd.repeat(len(even), 1)
    log_p = -dbm.rbm.energy(*pairs)
    log_p -= torch.logsumexp(log_p, 0)
    parts = dbm.even.split(pairs[0]) | dbm.odd.split(pairs[1])
    result = []
    for number, case in enumerate(visible):
        there = (parts["visible"] == case).all(1)
        if labels is not None:
            there &= parts["label"].argmax(1) == labels[number]
        result.append(torch.logsumexp(log_p[there], 0))
    return torch.stack(result)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
def test_energy_is_that_of_neighbouring_layers(sizes, labels):
    dbm = small_dbm(sizes, labels)
    even, odd = dbm.even.states().double()[:40], dbm.odd.states().double()[:40]
    count = min(len(even), len(odd))
    parts = dbm.even.split(even[:count]) | dbm.odd.split(odd[:count])
    energy = -sum(parts[name] @ dbm.bias(name) for name in parts)
    pairs = list(pairwise(["visible", *[f"layer{n}" for n in range(1, len(sizes))]]))
    if labels:
        pairs.append(("label", f"layer{len(sizes) - 1}"))
    for lower, upper in pairs:
        energy -= ((parts[lower] @ dbm.block(lower, upper)) * parts[upper]).sum(1)
    torch.testing.assert_close(dbm.rbm.energy(even[:count], odd[:count]), energy, **TIGHT)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
def test_every_half_step_of_mean_field_raises_the_bound(sizes, labels):
    dbm, visible = small_dbm(sizes, labels), binary(8, sizes[0])
    hidden = slice(sizes[0], dbm.even.size)

    def value(even, odd):
        return -dbm.rbm.energy(even, odd) + entropy(dbm.even, even) + entropy(dbm.odd, odd)

    actual, before = [dbm.mean_field(visible, steps=steps) for steps in range(12)], None
    for one, after in pairwise(actual):
        now = value(one.even, one.odd)
        half = value(after.even, one.odd)
        assert (half >= now - 1e-10).all()
        assert (value(after.even, after.odd) >= half - 1e-10).all()
        before = now if before is None else before
    assert (value(actual[-1].even, actual[-1].odd) > before + 1e-6).any()
    settled = dbm.mean_field(visible, steps=500)
    means = dbm.rbm.visible_probs(settled.odd)[:, hidden]
    torch.testing.assert_close(settled.even[:, hidden], means, **TIGHT)
    assert torch.equal(settled.even[:, : sizes[0]], visible)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
@pytest.mark.parametrize("given", [False, True])
def test_bounds_lie_below_the_exact_likelihood_and_close_up(sizes, labels, given):
    if given and not labels:
        pytest.skip("no labels")
    dbm, visible = small_dbm(sizes, labels), binary(10, sizes[0])
    known = torch.arange(10) % labels if given else None
    truth = exact_log_p(dbm, visible, known)
    actual = bound.mean_field_bound(
        dbm,
        visible,
        exact.log_partition(dbm.rbm),
        labels=known,
        rng=ws.generator(0),
        samples=3000,
    )
    assert (actual.bound <= truth + 1e-9).all()
    assert (truth - actual.bound).max() < 1
    assert (actual.importance_weighted - truth).abs().max() < 0.1 * (
        truth - actual.bound
    ).max() + 0.02


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
def test_a_missing_value_is_one_more_hidden_unit(sizes, labels):
    """Bounds lie below the exact log p of what is known, and steps of mean field raise them."""
    dbm, visible = small_dbm(sizes, labels), binary(10, sizes[0])
    known = torch.rand(visible.shape, generator=ws.generator(2)) < 0.6
    every = dbm.even["visible"].states().double()
    agrees = ((every == visible[:, None]) | ~known[:, None]).all(2)
    log_p, log_z = exact_log_p(dbm, every), exact.log_partition(dbm.rbm)
    truth = torch.logsumexp(torch.where(agrees, log_p, -torch.inf), 1)
    cases = torch.where(known, visible, torch.nan)
    values = []
    for steps in (0, 1, 3, 300):
        values.append(bound.mean_field_bound(dbm, cases, log_z, steps=steps).bound)
        assert (values[-1] <= truth + 1e-9).all()
    assert all((later >= earlier - 1e-9).all() for earlier, later in pairwise(values))
    found = bound.mean_field_bound(dbm, cases, log_z, rng=ws.generator(0), samples=1000)
    assert (found.importance_weighted - truth).abs().max() < 0.2
    settled = dbm.mean_field(visible, steps=300, known=known)
    again = torch.where(known, visible, dbm.visible_means(settled.odd))
    torch.testing.assert_close(settled.even[:, : sizes[0]], again, **TIGHT)
    # what stands in the place of a missing value is of no account
    other = dbm.mean_field(torch.where(known, visible, 1 - visible), steps=300, known=known)
    assert torch.equal(other.even, settled.even)
    assert torch.equal(other.odd, settled.odd)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
def test_exact_likelihood_is_that_of_all_states(sizes, labels):
    dbm, visible = small_dbm(sizes, labels), binary(6, sizes[0])
    found = exact.dbm_log_likelihood(dbm, visible)
    torch.testing.assert_close(found, exact_log_p(dbm, visible), **TIGHT)
    if labels:
        known = torch.arange(6) % labels
        found = exact.dbm_log_likelihood(dbm, visible, known)
        torch.testing.assert_close(found, exact_log_p(dbm, visible, known), **TIGHT)


def test_binary_pixels_are_cases_of_a_likelihood():
    dbm, visible = small_dbm((6, 4, 3)), binary(6, 6)
    pixels = (255 * visible).to(torch.uint8)
    for judge in (
        exact.dbm_log_likelihood,
        lambda dbm, cases: bound.mean_field_bound(dbm, cases, 0.0).bound,
    ):
        torch.testing.assert_close(judge(dbm, pixels), judge(dbm, visible), **TIGHT)
        with pytest.raises(DataError, match="only 0 and 1"):
            judge(dbm, pixels // 2)


def test_probabilities_of_all_cases_add_up_to_one():
    dbm = small_dbm((4, 3, 3), labels=2)
    every = dbm.even["visible"].states().double()
    joint = torch.stack(
        [exact_log_p(dbm, every, torch.full((len(every),), label)) for label in range(2)]
    )
    assert float(torch.logsumexp(joint.flatten(), 0)) == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(torch.logsumexp(joint, 0), exact_log_p(dbm, every), **TIGHT)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
def test_gradient_is_that_of_the_bound(sizes, labels):
    """With exact model statistics in place of the chains', by autograd, q held fixed."""
    dbm, visible = small_dbm(sizes, labels), binary(10, sizes[0])
    known = torch.arange(10) % labels if labels else None
    config = ws.DBMConfig(mean_field_steps=7)
    state = deep_boltzmann.init_state(dbm, dbm, config, ws.generator(0))
    algorithm = deep_boltzmann.DeepBoltzmann(dbm, config, state, ws.generator(0), dbm)
    contrast = Contrast(dbm.rbm, 10, config)
    algorithm.phases(contrast, visible, known)
    model = {
        "weight": contrast.model.t() @ -contrast.negative / 10,
        "visible_bias": contrast.model.mean(0),
        "hidden_bias": -contrast.negative.mean(0),
    }
    q = dbm.mean_field(visible, known, steps=7)
    parameters = {n: p.detach().clone().requires_grad_() for n, p in dbm.rbm.named_parameters()}
    energy = (
        -((q.even @ parameters["weight"]) * q.odd).sum(1)
        - q.even @ parameters["visible_bias"]
        - q.odd @ parameters["hidden_bias"]
    )
    (-energy.mean()).backward()
    for name, gradient in form(contrast.gradients()).items():
        torch.testing.assert_close(gradient + model[name], parameters[name].grad, **TIGHT)


@pytest.mark.parametrize(("sizes", "labels"), MACHINES)
@pytest.mark.parametrize("centred", [False, True])
def test_learning_raises_the_exact_likelihood_and_leaves_gaps_at_zero(sizes, labels, centred):
    rng = ws.generator(3)
    prototypes = binary(3, sizes[0], seed=7)
    kind = torch.randint(3, (200,), generator=rng)
    noise = (torch.rand(200, sizes[0], generator=rng) < 0.05).double()
    cases, known = (prototypes[kind] - noise).abs(), kind % labels if labels else None
    dbm = DBM(sizes, labels=labels, rng=rng, weight_std=0.1).double()
    before = exact_log_p(dbm, cases[:100], None if known is None else known[:100]).mean()
    config = ws.DBMConfig(
        epochs=30, batch_size=20, learning_rate=0.1, final_learning_rate=0.01, centred=centred
    )
    for _ in deep_boltzmann.epochs(dbm, cases, known, config=config, rng=rng):
        pass
    after = exact_log_p(dbm, cases[:100], None if known is None else known[:100]).mean()
    assert after > before + 0.5
    cleared = dbm.rbm.weight.clone()
    dbm.clear_gaps(cleared)
    assert torch.equal(cleared, dbm.rbm.weight)


def test_centring_keeps_the_model_where_gaps_are():
    """Biases that follow the weights' move must not follow the part of it that is cleared."""
    dbm, config = small_dbm((5, 4, 3), labels=2), ws.DBMConfig(centred=True, momentum=0.5)
    state = deep_boltzmann.init_state(dbm, dbm, config, ws.generator(0))
    algorithm = deep_boltzmann.DeepBoltzmann(dbm, config, state, ws.generator(0), dbm)
    contrast = Contrast(dbm.rbm, 10, config)
    algorithm.phases(contrast, binary(10, 5), torch.arange(10) % 2)
    before = {name: p.clone() for name, p in dbm.rbm.named_parameters()}
    cd.ascend(dbm.rbm, contrast, config, 9, state, clear=dbm.clear_gaps)
    moved = dbm.rbm.weight - before["weight"]
    torch.testing.assert_close(
        dbm.rbm.visible_bias,
        before["visible_bias"] + state.velocity["visible_bias"] - moved @ state.hidden_mean,
        **TIGHT,
    )


def test_two_copies_of_a_layer_are_one_layer_of_counts():
    """What pretraining rests on: Binomial(2) units are the sums of two binary ones each."""
    rng = ws.generator(0)
    pair = ws.RBM(Binomial(4, 2), 3, rng=rng, weight_std=1.0).double()
    twice = ws.RBM(8, 3, rng=rng).double()
    twice.weight.copy_(torch.cat([pair.weight, pair.weight]))
    twice.visible_bias.copy_(torch.cat([pair.visible_bias, pair.visible_bias]))
    cases = binary(6, 4)
    both = torch.cat([cases, cases], 1)
    torch.testing.assert_close(pair.free_energy(2 * cases), twice.free_energy(both), **TIGHT)
    assert exact.log_partition(pair) == pytest.approx(exact.log_partition(twice), abs=1e-10)


def test_pretraining_makes_a_start_that_knows_the_cases():
    digits, rng = ws.load_data("digits").train, ws.generator(0)
    cases, labels = digits.images[:600], digits.labels[:600]
    dbm = DBM((64, 30, 40), labels=10, rng=rng)
    config = ws.CDConfig(epochs=8, batch_size=20)
    stages = [r.stage for r in deep_boltzmann.pretrain(dbm, cases, labels, config=config, rng=rng)]
    assert stages == ["layer 1"] * 8 + ["layer 2"] * 8
    images = arrays.as_probs(cases[:100])
    actual = dbm.mean_field(images, labels[:100])
    again = dbm.rbm.visible_probs(actual.odd)[:, :64]
    assert (again - images).square().mean() < 0.7 * images.var(0).mean()


def test_pretraining_halves_the_weights_between_layers_that_hear_two_others():
    dbm, images = DBM((60, 50, 40, 30), rng=ws.generator(0)), torch.rand(10, 60)
    config = ws.CDConfig(epochs=0)  # RBMs as they begin, N(0, 0.1^2)
    list(deep_boltzmann.pretrain(dbm, images, config=config, rng=ws.generator(1)))
    for (lower, upper), expected in zip(dbm.neighbours, (0.1, 0.05, 0.1), strict=True):
        assert float(dbm.block(lower, upper).std()) == pytest.approx(expected, rel=0.1)


def test_pretraining_learns_what_is_missing_from_the_rest():
    """Each case is one of two patterns and lacks two of six values."""
    rng = ws.generator(0)
    pattern = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0.0, 0, 0, 1, 1, 1]])
    whole = pattern[torch.arange(200) % 2]
    hidden = torch.rand(whole.shape, generator=rng).argsort(1) < 2
    cases, given = whole.masked_fill(hidden, torch.nan), {}
    config = ws.CDConfig(epochs=20, batch_size=20, learning_rate=0.05, centred=True)
    for name, filled in {"missing": cases, "zeros": torch.nan_to_num(cases)}.items():
        dbm = DBM((6, 5, 4), rng=ws.generator(1))
        *_, last = deep_boltzmann.pretrain(dbm, filled, config=config, rng=ws.generator(2))
        means = deep_boltzmann.features(dbm, cases)[:, :6]
        log_p = exact.dbm_log_likelihood(dbm.double(), pattern.double())
        given[name] = (float(log_p.exp().sum()), float((means - whole)[hidden].abs().mean()), last)
    assert given["missing"][0] > 0.9 > 0.6 > given["zeros"][0]
    assert given["missing"][1] < 0.02 < 0.1 < given["zeros"][1]
    assert given["zeros"][2].state.filled is None
    filled = given["missing"][2].state.filled  # two copies of a unit, of which one may be on
    assert set(filled.tolist()) <= {0.0, 0.5, 1.0}
    assert float((filled - whole[hidden]).abs().mean()) < 0.1
    assert torch.equal(cases.isnan(), hidden)


@pytest.mark.parametrize("holes", [False, True])
def test_pretraining_goes_on_to_the_same_bits_wherever_it_stopped(holes):
    cases, labels = binary(50, 6).float(), torch.where(torch.arange(50) < 30, 0, -1)
    labels[:15] = 1
    if holes:
        cases[torch.rand(cases.shape, generator=ws.generator(3)) < 0.3] = torch.nan
    config = ws.CDConfig(epochs=3, batch_size=10, centred=True)

    def start(dbm, rng, state=None):
        return deep_boltzmann.pretrain(dbm, cases, labels, config=config, rng=rng, state=state)

    whole, rng = DBM((6, 5, 4, 3), labels=2, rng=ws.generator(0)), ws.generator(1)
    stages = [(record.stage, record.epoch) for record in start(whole, rng)]
    assert stages == [(f"layer {layer}", epoch) for layer in (1, 2, 3) for epoch in (1, 2, 3)]
    drawn = torch.rand(1, generator=rng)
    for count in range(1, 10):
        part, rng = DBM((6, 5, 4, 3), labels=2, rng=ws.generator(0)), ws.generator(1)
        state = deepcopy(list(islice(start(part, rng), count))[-1].state.to_tensors())
        part = DBM((6, 5, 4, 3), labels=2, rng=ws.generator(0))
        assert [(r.stage, r.epoch) for r in start(part, rng, state)] == stages[count:]
        for name, parameter in whole.named_parameters():
            assert torch.equal(parameter, part.get_parameter(name)), (count, name)
        assert torch.equal(torch.rand(1, generator=rng), drawn)
    with pytest.raises(CheckpointError, match="rbms"):
        next(start(DBM((6, 4, 4, 3), labels=2, rng=rng), rng, state))
    cases[0, 0] = 1.0 if holes else torch.nan
    with pytest.raises(CheckpointError, match="values are missing, and the state is of cases of"):
        next(start(DBM((6, 5, 4, 3), labels=2, rng=ws.generator(0)), rng, state))


def test_the_model_is_the_running_mean_and_minibatches_are_balanced(monkeypatch):
    asked, order = [], arrays.order
    monkeypatch.setattr(
        arrays, "order", lambda classes, *more: asked.append(classes) or order(classes, *more)
    )
    cases, labels = binary(80, 6).float(), torch.arange(80) % 4 - 1  # a quarter without label
    last = {}
    for average in (0.0, 1.0):
        dbm = DBM((6, 5, 4), labels=3, rng=ws.generator(0))
        config = ws.DBMConfig(epochs=1, batch_size=2, learning_rate=0.1, average=average)
        (record,) = deep_boltzmann.epochs(dbm, cases, labels, config=config, rng=ws.generator(1))
        last[average] = (dict(dbm.named_parameters()), record.state)
    for name, learning in last[0.0][0].items():
        assert torch.equal(learning, last[1.0][1].mean.mean[name])
        assert not torch.equal(learning, last[1.0][0][name])
    assert len(asked) == 2
    for classes in asked:  # unknown ones are a class of their own
        assert torch.equal(classes, labels + 1)


def test_a_classifier_with_labels_begins_at_the_machines_own():
    for sizes in ((6, 4, 3), (5, 4, 3, 3)):
        dbm = small_dbm(sizes, labels=3, seed=4).float()
        net, top = deep_boltzmann.classifier(dbm, rng=ws.generator(0)), dbm.layers[-1]
        linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
        into_label = dbm.block("label", top)
        assert torch.equal(linear[-1].weight[:, -sizes[-1] :], into_label)
        assert torch.equal(linear[-1].bias, dbm.bias("label"))
        expected = dbm.bias(top) + into_label.mean(0)  # of labels that are all as likely
        torch.testing.assert_close(linear[-2].bias[-sizes[-1] :], expected)


def test_a_classifier_begins_where_mean_field_stands():
    for sizes in ((6, 4, 3), (5, 4, 3, 3)):
        dbm = small_dbm(sizes, seed=4).float()
        visible = binary(12, sizes[0]).float()
        q = dbm.mean_field(visible, steps=500)
        features = deep_boltzmann.features(dbm, visible, steps=500)
        assert torch.equal(features, q.even)
        net = deep_boltzmann.classifier(dbm, classes=3, rng=ws.generator(0))
        torch.testing.assert_close(net[:2](features), q.odd, rtol=1e-4, atol=1e-5)
        if len(sizes) == 3:
            torch.testing.assert_close(net[:4](features), q.even[:, 6:], rtol=1e-4, atol=1e-5)
        for _ in backprop.epochs(
            net,
            features,
            torch.arange(12) % 3,
            config=ws.BackpropConfig(epochs=1),
            rng=ws.generator(0),
        ):
            pass


@pytest.mark.parametrize(("sizes", "labels"), [((6, 4, 3), 0), ((5, 4, 3, 3), 0), ((5, 4, 3), 3)])
def test_a_net_of_mean_field_is_mean_field_and_differentiates_it(sizes, labels):
    dbm = small_dbm(sizes, labels=labels, seed=4)
    visible, classes = binary(8, sizes[0]), torch.arange(8) % 3
    for steps in (1, 2, 5):
        net = deep_boltzmann.mean_field_classifier(dbm, rng=ws.generator(0), classes=3, steps=steps)
        if not labels:
            means = dbm.mean_field(visible, steps=steps)
            top = (means.odd if len(sizes) % 2 == 0 else means.even)[:, -sizes[-1] :]
            torch.testing.assert_close(net[0](visible), top, **TIGHT)
    if labels:
        assert torch.equal(net[1].weight, dbm.block("label", dbm.layers[-1]))
        into_top = dbm.block("label", dbm.layers[-1]).mean(0)
        torch.testing.assert_close(net[0].joined[-1].bias, dbm.bias(dbm.layers[-1]) + into_top)
    names = [name for name, _ in net.named_parameters()]

    def loss(*values):
        outputs = torch.func.functional_call(net, dict(zip(names, values, strict=True)), visible)
        return backprop.mean_loss(outputs, classes)

    assert torch.autograd.gradcheck(loss, tuple(net.parameters()))  # by finite differences
    net, visible, weights = net.float(), visible.float(), dbm.rbm.weight.clone()
    before = float(loss(*net.parameters()).detach())
    config = ws.BackpropConfig(method="cg", epochs=20, cg_top_epochs=2, sample_pixels=False)
    for _ in backprop.epochs(net, visible, classes, config=config, rng=ws.generator(0)):
        pass
    assert float(loss(*net.parameters()).detach()) < 0.1 * before
    assert torch.equal(net[1:](net[:1](visible)), net(visible))
    assert torch.equal(weights, dbm.rbm.weight)


def test_a_net_of_mean_field_is_saved_and_loaded(tmp_path):
    dbm, visible = small_dbm((6, 4, 3)), binary(8, 6)
    net = deep_boltzmann.mean_field_classifier(dbm, rng=ws.generator(0), classes=3, steps=2)
    ws.checkpoint.save(net, tmp_path / "net.safetensors")
    loaded = ws.checkpoint.load(tmp_path / "net.safetensors")
    assert torch.equal(loaded(visible), net(visible))
    assert torch.equal(backprop.log_probs(loaded, visible), net(visible).log_softmax(1))


def test_annealing_finds_log_z():
    for seed in range(3):
        dbm = small_dbm((8, 6, 5), labels=3, seed=seed)
        cases = dbm.mean_field(binary(50, 8)).even
        base = ais.base_model(dbm.rbm, cases)
        rng = ws.generator(seed)
        chains = ais.init_forward(dbm.rbm, base, torch.linspace(0, 1, 300), 200, rng)
        for actual in ais.anneal(dbm.rbm, base, chains, rng=rng):
            chains = actual
        estimate = ais.estimate(dbm.rbm, base, chains)
        error = abs(estimate.log_z - exact.log_partition(dbm.rbm))
        assert error < SIGMAS * estimate.standard_error


@pytest.mark.parametrize(("sizes", "seed"), [((4, 3, 3), 2), ((4, 3, 3, 3), 7)])
def test_dreams_of_a_label_follow_its_exact_law(sizes, seed):
    dbm = small_dbm(sizes, labels=2, seed=seed)
    dbm.block("label", dbm.layers[-1]).copy_(torch.tensor([[4.0], [-4.0]]))
    for lower, upper in pairwise(dbm.layers):
        dbm.block(lower, upper).mul_(3)
    every, truths = dbm.even["visible"].states().double(), []
    for label in range(2):
        weights = torch.exp(exact_log_p(dbm, every, torch.full((len(every),), label)))
        truths.append((weights[:, None] * every).sum(0) / weights.sum())
        labels = torch.full((4000,), label)
        dreams = deep.dream(dbm, labels, steps=30, rng=ws.generator(label))
        assert (dreams.mean(0) - truths[-1]).abs().max() < SIGMAS * 0.5 / 4000**0.5
    assert (truths[0] - truths[1]).abs().max() > 0.2


def test_dreams_and_filled_in_states_follow_the_exact_laws():
    dbm = small_dbm((4, 3, 3), labels=2, seed=2)
    every = dbm.even["visible"].states().double()
    free = torch.exp(exact_log_p(dbm, every))
    dreams = deep.dream(dbm, count=4000, steps=30, rng=ws.generator(5))
    assert (dreams.mean(0) - free @ every).abs().max() < SIGMAS * 0.5 / 4000**0.5
    known = torch.tensor([True, True, False, False])
    case = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    agrees = (every[:, known] == case[0, known]).all(1)
    truth = (free[agrees, None] * every[agrees]).sum(0) / free[agrees].sum()
    actual = deep.fill_in(
        dbm, case.expand(400, -1), known, steps=120, burn_in=20, rng=ws.generator(1)
    )
    assert torch.equal(actual[:, :2], case[:, :2].expand(400, -1))
    assert (actual.mean(0) - truth).abs().max() < 0.02


def test_goes_on_to_the_same_bits_and_comes_back_from_a_file(tmp_path):
    cases, labels = binary(50, 6), torch.where(torch.arange(50) < 20, torch.arange(50) % 3, -1)
    config = ws.DBMConfig(epochs=4, batch_size=20, centred=True)

    def run(dbm, rng, state, count):
        records = deep_boltzmann.epochs(
            dbm, cases.float(), labels, config=config, rng=rng, state=state
        )
        return list(islice(records, count))[-1]

    whole, rng = DBM((6, 5, 4), labels=3, rng=ws.generator(0)), ws.generator(1)
    last = run(whole, rng, None, 4)
    part, rng = DBM((6, 5, 4), labels=3, rng=ws.generator(0)), ws.generator(1)
    record = run(part, rng, None, 2)
    path = tmp_path / "machine.safetensors"
    ws.save(part, path)
    loaded = ws.load(path)
    assert json.dumps(loaded.spec()) == json.dumps(part.spec())
    assert_same_state(run(loaded, rng, deepcopy(record.state.to_tensors()), 4).state, last.state)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name))


def test_missing_values_learn_what_whole_cases_teach():
    """Each case is one of two patterns and lacks two of six values: without them a machine of the
    rest would not know which values go together.
    """
    rng = ws.generator(0)
    pattern = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0.0, 0, 0, 1, 1, 1]])
    whole = pattern[torch.arange(200) % 2]
    hidden = torch.rand(whole.shape, generator=rng).argsort(1) < 2
    cases = whole.masked_fill(hidden, torch.nan)
    found = {}
    for name, given in {"missing": cases, "zeros": torch.nan_to_num(cases)}.items():
        dbm = DBM((6, 5, 4), rng=ws.generator(1))
        deep_boltzmann.init_visible_bias(dbm, given)
        config = ws.DBMConfig(
            epochs=80,
            batch_size=20,
            learning_rate=0.05,
            centred=True,
            gibbs_steps=1,
            mean_field_steps=4,
        )
        records = list(deep_boltzmann.epochs(dbm, given, config=config, rng=ws.generator(2)))
        found[name] = exact.dbm_log_likelihood(dbm.double(), pattern.double()).exp().sum()
    assert found["missing"] > 0.8 > 0.5 > found["zeros"]
    filled = deep_boltzmann.features(dbm.float(), cases)
    assert filled.shape == (200, 6 + 4)
    assert records[-1].metrics["reconstruction_error"] < 0.2


def test_the_error_is_that_of_what_is_known():
    cases, dbm = binary(12, 6).float(), small_dbm((6, 5, 4)).float()
    known = torch.rand(cases.shape, generator=ws.generator(2)) < 0.6
    odd = dbm.mean_field(cases, steps=3, known=known).odd
    expected = (cases - dbm.visible_means(odd)).square()[known].mean()
    config = ws.DBMConfig(
        epochs=1,
        batch_size=12,
        learning_rate=1e-9,
        final_learning_rate=1e-9,
        mean_field_steps=3,
    )
    given = cases.masked_fill(~known, torch.nan)
    record = next(deep_boltzmann.epochs(dbm, given, config=config, rng=ws.generator(0)))
    assert record.metrics["reconstruction_error"] == pytest.approx(float(expected), rel=1e-4)


def test_missing_real_values_leave_the_spread_that_is_there():
    """Means of what is missing would make the visible units surer than the data are."""
    rng = ws.generator(0)
    cases = torch.randn(400, 3, generator=rng)
    cases[torch.rand(cases.shape, generator=rng) < 0.5] = torch.nan
    dbm = DBM((Gaussian(3), 3, 2), rng=rng)
    deep_boltzmann.init_visible_bias(dbm, cases)
    config = ws.DBMConfig(
        epochs=40,
        batch_size=40,
        learning_rate=0.1,
        units_rate=1.0,
        centred=True,
        gibbs_steps=1,
        mean_field_steps=2,
        weight_decay=0.1,
    )
    for _ in deep_boltzmann.epochs(dbm, cases, config=config, rng=rng):
        pass
    drawn = dbm.even["visible"].sample(dbm.bias("visible").expand(4000, -1), rng)
    assert (drawn.std(0) - 1).abs().max() < 0.2


def test_real_valued_pixels_learn():
    rng = ws.generator(0)
    cases = torch.randn(300, 1, generator=rng) + 0.3 * torch.randn(300, 5, generator=rng)
    dbm = DBM((Gaussian(5), 6, 4), rng=rng)
    deep_boltzmann.init_visible_bias(dbm, cases)
    config = ws.DBMConfig(epochs=15, batch_size=20, learning_rate=0.02, centred=True)
    records = list(deep_boltzmann.epochs(dbm, cases, config=config, rng=rng))
    errors = [record.metrics["reconstruction_error"] for record in records]
    assert errors[-1] < 0.7 * errors[0]


def test_refused_in_words():
    rng, dbm = ws.generator(0), small_dbm((6, 4, 3), labels=2).float()
    for sizes in ((6, 4), (6, 0, 3), (6, 4, Gaussian(3)), ()):
        with pytest.raises(ConfigError, match="layer sizes"):
            DBM(sizes, rng=rng)
    with pytest.raises(ConfigError, match="label group"):
        DBM((6, 4, 3), labels=1, rng=rng)
    with pytest.raises(ConfigError, match="weights between"):
        dbm.block("visible", "layer2")
    for wrong in ({"persistent": False}, {"temperatures": 3}, {"mean_field_steps": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ws.DBMConfig(**wrong)
    plain, real, config = (
        DBM((6, 4, 3), rng=rng),
        DBM((Gaussian(6), 4, 3), rng=rng),
        ws.DBMConfig(epochs=1),
    )
    cases, labels = binary(4, 6).float(), torch.zeros(4, dtype=torch.long)

    def learn(dbm, cases, labels=None, config=config, state=None):
        return next(deep_boltzmann.epochs(dbm, cases, labels, config=config, rng=rng, state=state))

    def start(dbm):
        list(deep_boltzmann.pretrain(dbm, cases, config=ws.CDConfig(epochs=1), rng=rng))

    with pytest.raises(DataError, match="holds none"):
        learn(plain, cases, labels)
    with pytest.raises(DataError, match="expected"):
        learn(plain, cases[:, :5])
    with pytest.raises(DataError, match="no case has one"):
        start(dbm)
    with pytest.raises(ConfigError, match="binary visible"):
        start(real)
    with pytest.raises(DataError, match="only 0 and 1"):
        bound.mean_field_bound(dbm, cases * 0.5, 0.0)
    with pytest.raises(ConfigError, match="holds none"):
        bound.mean_field_bound(plain, cases, 0.0, labels=labels)
    with pytest.raises(ConfigError, match="number of classes"):
        deep_boltzmann.classifier(plain, rng=rng)
    with pytest.raises(ConfigError, match="number of classes"):
        deep_boltzmann.mean_field_classifier(plain, rng=rng)
    with pytest.raises(ConfigError, match="steps = 0"):
        deep_boltzmann.mean_field_classifier(plain, rng=rng, classes=3, steps=0)
    with pytest.raises(ConfigError, match="one of the two"):
        deep.dream(dbm, rng=rng)
    state = learn(dbm, cases).state
    other = DBM((6, 5, 3), labels=2, rng=rng)
    with pytest.raises(CheckpointError, match="chains"):
        learn(other, cases, config=ws.DBMConfig(epochs=2), state=state)
