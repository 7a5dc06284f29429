"""Contrastive divergence: its statistics against autograd, its expectation and its laws against
enumeration.
"""

from dataclasses import replace

import pytest
import torch
from exact import (
    TIGHT,
    assert_frequencies,
    assert_mean,
    differentiable,
    draw,
    expected_statistics,
    form,
    given_hidden,
    given_visible,
    index_of,
    joint,
    kernel,
    labelled,
    relabel,
    small_rbm,
    states,
)

import wakesleep as ws
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig, Contrast
from wakesleep.units import Bernoulli, Categorical, Gaussian, Groups

LABEL = slice(3, 6)


def fill(rbm, data, config, seed=1, chains=None):
    contrast = Contrast(rbm, len(data), config)
    contrast.visible[: len(data)] = data
    contrast.run_phases(rbm, config, generator(seed), chains)
    return contrast


def some_cases(rbm, count=64, seed=2):
    v = states(rbm.visible)
    return v[torch.randint(len(v), (count,), generator=generator(seed))]


@pytest.mark.parametrize("label_first", [False, True])
@pytest.mark.parametrize("sample_visible", [False, True])
@pytest.mark.parametrize("gibbs_steps", [1, 3])
@pytest.mark.parametrize("visible", [5, labelled(3, 3)], ids=["bernoulli", "label"])
def test_gradient_is_autograd_of_the_free_energy_difference(
    visible, label_first, sample_visible, gibbs_steps
):
    rbm = small_rbm(visible, 4)
    config = CDConfig(
        label_first=label_first, sample_visible=sample_visible, gibbs_steps=gibbs_steps
    )
    data = some_cases(rbm)
    contrast = fill(rbm, data, config)
    assert torch.equal(contrast.visible[:64], data)
    moving = differentiable(rbm)
    (
        moving.free_energy(contrast.visible[64:].detach()) - moving.free_energy(data)
    ).mean().backward()
    for name, gradient in form(contrast.gradients()).items():
        torch.testing.assert_close(gradient, getattr(moving, name).grad, rtol=1e-12, atol=1e-14)


def test_gradient_is_positive_minus_negative_statistics():
    rbm = small_rbm(labelled(3, 3), 4)
    contrast = fill(rbm, some_cases(rbm), CDConfig())
    data, model = contrast.visible.chunk(2)
    positive, negative = (rbm.statistics(rows, rbm.hidden_probs(rows)) for rows in (data, model))
    for ours, plus, minus in zip(
        form(contrast.gradients()).values(), positive, negative, strict=True
    ):
        torch.testing.assert_close(ours, plus - minus, **TIGHT)


def expected_cd(rbm, p, steps, label_first):
    """The exact expectation of a CD-k update from data with the distribution `p` (visible states,),
    visible units sampled.
    """
    moved = p @ relabel(rbm, LABEL) if label_first else p
    for _ in range(steps):
        moved = moved @ kernel(rbm)
    return [
        plus - minus
        for plus, minus in zip(
            expected_statistics(rbm, p), expected_statistics(rbm, moved), strict=True
        )
    ]


def wrong_labels(rbm):
    """Return data in which each pattern of pixels comes once, with the label that fits it least:
    (visible states,).
    """
    p = joint(rbm).sum(1).reshape(-1, 3)
    return torch.zeros_like(p).scatter_(1, p.argmin(1, keepdim=True), 1 / len(p)).flatten()


def assert_gradient(contrast, expected):
    """Check the gradient and that it lies within the standard error (over cases) of the expected
    one.
    """
    n = contrast.size
    v, h = contrast.visible, contrast.hidden
    per_case = (
        v[:n, :, None] * h[:n, None, :] + v[n:, :, None] * h[n:, None, :],
        v[:n] - v[n:],
        h[:n] + h[n:],
    )
    for samples, exact, ours in zip(
        per_case, expected, form(contrast.gradients()).values(), strict=True
    ):
        torch.testing.assert_close(ours, samples.mean(0), **TIGHT)
        assert_mean(samples, exact)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("label_first", [False, True])
def test_expected_update(steps, label_first):
    rbm = small_rbm(labelled(3, 3), 3, scale=1.5)
    p = wrong_labels(rbm)
    data = states(rbm.visible)[p > 0].repeat(8_000, 1)
    config = CDConfig(sample_visible=True, gibbs_steps=steps, label_first=label_first)
    assert_gradient(fill(rbm, data, config), expected_cd(rbm, p, steps, label_first))


def test_expected_updates_tell_label_first_from_plain_cd():
    rbm = small_rbm(labelled(3, 3), 3, scale=1.5)
    plain, first = (
        expected_cd(rbm, wrong_labels(rbm), 1, label_first)[0] for label_first in (False, True)
    )
    assert float((plain - first).abs().max()) > 0.05, "the two tests above could not fail"


@pytest.mark.parametrize("visible", [4, labelled(3, 3)], ids=["bernoulli", "label"])
def test_expected_update_with_visible_probabilities(visible):
    rbm = small_rbm(visible, 3, scale=1.5)
    case = states(rbm.visible)[5:6]
    seen = rbm.visible_probs(states(rbm.hidden))
    back = rbm.hidden_probs(seen)
    p = given_visible(rbm)[5]
    h = rbm.hidden_probs(case)[0]
    expected = [
        torch.outer(case[0], h) - torch.einsum("a,ai,aj->ij", p, seen, back),
        case[0] - p @ seen,
        h - p @ back,
    ]
    assert_gradient(fill(rbm, case.repeat(40_000, 1), CDConfig(label_first=False)), expected)


def test_several_label_groups_are_redrawn_in_turn():
    rbm = small_rbm(
        Groups(label=Categorical(2), features=Bernoulli(1), label2=Categorical(3)), 3, scale=1.5
    )
    start = torch.zeros(12, dtype=torch.float64)
    start[7] = 1
    moved = start @ relabel(rbm, slice(0, 2)) @ relabel(rbm, slice(3, 6)) @ kernel(rbm)
    contrast = fill(rbm, states(rbm.visible)[7:8].repeat(60_000, 1), CDConfig(sample_visible=True))
    assert_frequencies(index_of(contrast.visible[60_000:], states(rbm.visible)), moved)


def plain_scores(rbm, total_input, columns):
    """The scores as the formula says them: a difference of log-partitions for each label."""
    without = rbm.hidden.log_partition(total_input)
    scores = [rbm.hidden.log_partition(total_input + row) - without for row in rbm.weight[columns]]
    return torch.stack(scores, 1) + rbm.visible_bias[columns]


@pytest.mark.parametrize(
    "hidden", [1, 2, 3, 4, 5, 6, 7, 8, Categorical(3), labelled(2, 3)], ids=str
)
def test_group_scores_three_ways(hidden):
    rbm = small_rbm(labelled(3, 4), hidden, scale=2.0)
    pixels = states(Bernoulli(3))
    total_input = pixels @ rbm.weight[:3] + rbm.hidden_bias
    p = joint(rbm).sum(1).reshape(len(pixels), 4)
    exact = torch.log(p / p.sum(1, keepdim=True))
    before = total_input.clone()
    fast = rbm.group_scores(total_input, slice(3, 7))
    assert torch.equal(total_input, before)
    torch.testing.assert_close(fast, plain_scores(rbm, total_input, slice(3, 7)), **TIGHT)
    torch.testing.assert_close(torch.log_softmax(fast, 1), exact, **TIGHT)


def test_group_scores_hold_up_in_float32():
    rbm = small_rbm(labelled(3, 10), 2000, scale=0.3)
    total_input = torch.randn(20, 2000, generator=generator(3), dtype=torch.float64) * 4
    exact = plain_scores(rbm, total_input, slice(3, 13))
    fast = rbm.float().group_scores(total_input.float(), slice(3, 13))
    torch.testing.assert_close(fast.double(), exact, rtol=1e-4, atol=2e-3)


def test_drawn_labels_have_the_exact_conditional():
    rbm = small_rbm(labelled(2, 3), 3, scale=1.5)
    columns, n = slice(2, 5), 50_000
    pixels, wrong = (
        torch.tensor([1.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
    )
    contrast = Contrast(rbm, n, CDConfig())
    contrast.visible[:n] = torch.cat([pixels, wrong])
    total_input = cd.draw_labels(
        contrast, rbm, rbm.hidden_input(contrast.visible[:n]), generator(4)
    )
    each = (pixels @ rbm.weight[:2] + rbm.hidden_bias) + rbm.weight[columns]
    distance, label = torch.cdist(
        total_input, each, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    assert float(distance.max()) < 1e-9
    p = joint(rbm).sum(1).reshape(4, 3)[2]
    assert_frequencies(label, p / p.sum())


def test_redrawing_the_label_leaves_the_model_alone():
    rbm = small_rbm(labelled(3, 3), 3)
    p = joint(rbm).sum(1)
    torch.testing.assert_close(p @ relabel(rbm, LABEL), p, **TIGHT)
    torch.testing.assert_close(p @ relabel(rbm, LABEL) @ kernel(rbm), p, **TIGHT)


@pytest.mark.parametrize("label_first", [False, True])
def test_data_from_the_model_come_back_as_the_model(label_first):
    rbm = small_rbm(labelled(3, 3), 3)
    p, n = joint(rbm).sum(1), 100_000
    contrast = fill(
        rbm,
        states(rbm.visible)[draw(p, n, 5)],
        CDConfig(sample_visible=True, label_first=label_first),
    )
    assert_frequencies(index_of(contrast.visible[n:], states(rbm.visible)), p)


def test_persistent_chains_from_the_model_give_the_models_statistics():
    rbm = small_rbm(labelled(3, 3), 3)
    p, n = joint(rbm), 100_000
    chains = states(rbm.hidden)[draw(p.sum(0), n, 6)]
    contrast = fill(
        rbm, some_cases(rbm, n), CDConfig(persistent=True, gibbs_steps=2), chains=chains
    )
    model = expected_statistics(rbm, p.sum(1))
    v, h = contrast.visible[n:], -contrast.hidden[n:]
    assert_mean(v[:, :, None] * h[:, None, :], model.weight)
    assert_mean(h, model.hidden_bias)
    assert_frequencies(index_of(v, states(rbm.visible)), p.sum(1))
    assert_frequencies(index_of(chains, states(rbm.hidden)), p.sum(0))
    pair = index_of(v, states(rbm.visible)) * 8 + index_of(chains, states(rbm.hidden))
    assert_frequencies(pair, p.flatten())


@pytest.mark.parametrize("steps", [1, 2])
def test_the_negative_phase_of_pcd_starts_at_the_chains_not_at_the_data(steps):
    rbm = small_rbm(4, 3, scale=1.5)
    n = 60_000
    chains = states(rbm.hidden)[6:7].repeat(n, 1)
    contrast = fill(
        rbm,
        states(rbm.visible)[3:4].repeat(n, 1),
        CDConfig(persistent=True, gibbs_steps=steps),
        chains=chains,
    )
    law = given_hidden(rbm)[6]
    for _ in range(steps - 1):
        law = law @ kernel(rbm)
    assert_frequencies(index_of(contrast.visible[n:], states(rbm.visible)), law)
    assert_frequencies(index_of(chains, states(rbm.hidden)), law @ given_visible(rbm))


def test_chains_persist_and_move():
    rbm = small_rbm(5, 4)
    config = CDConfig(persistent=True, batch_size=30)
    state = cd.init_state(rbm, config, generator(0))
    chains, before = state.chains, state.chains.clone()
    assert chains.shape == (30, 4)
    assert bool(((chains == 0) | (chains == 1)).all())
    contrast = Contrast(rbm, 20, config)
    contrast.visible[:20] = some_cases(rbm, 20)
    cd.update(rbm, contrast, config, 0, state, generator(1))
    assert state.chains is chains
    assert not torch.equal(chains[:20], before[:20])
    assert torch.equal(chains[20:], before[20:]), (
        "a short last minibatch leaves the other chains where they are"
    )
    assert bool(((chains == 0) | (chains == 1)).all())


def test_no_chains_without_pcd():
    assert cd.init_state(small_rbm(3, 2), CDConfig(), generator(0)).chains is None


@pytest.mark.parametrize(
    "config",
    [CDConfig(), CDConfig(label_first=False), CDConfig(persistent=True, batch_size=40)],
    ids=str,
)
def test_update_moves_the_weights_by_the_gradient_it_measured(config):
    rbm = small_rbm(labelled(3, 3), 4)
    data = some_cases(rbm, 40)
    state = cd.init_state(rbm, config, generator(0))
    for name in ("weight", "visible_bias", "hidden_bias"):
        state.velocity[name].normal_(generator=generator(3))
    before = {name: (p.clone(), state.velocity[name].clone()) for name, p in rbm.named_parameters()}
    contrast = Contrast(rbm, 40, config)
    contrast.visible[:40] = data
    cd.update(rbm, contrast, config, 0, state, generator(4))
    for name, gradient in form(contrast.gradients()).items():
        parameter, velocity = before[name]
        decay = config.weight_decay if name == "weight" else 0.0
        expected = 0.5 * velocity + 0.1 * (gradient - decay * parameter)
        torch.testing.assert_close(state.velocity[name], expected, **TIGHT)
        torch.testing.assert_close(getattr(rbm, name), parameter + expected, **TIGHT)


def test_sparsity_adds_the_cross_entropys_gradient():
    rbm = small_rbm(5, 4)
    config = CDConfig(
        sparsity_cost=0.3,
        sparsity_target=0.2,
        weight_decay=0.0,
        momentum=0.0,
        initial_momentum=0.0,
        learning_rate=1.0,
    )
    data = some_cases(rbm, 40)
    plain = form(fill(rbm, data, config, seed=4).gradients())
    before = {name: parameter.clone() for name, parameter in rbm.named_parameters()}
    running = 0.9 * 0.2 + 0.1 * rbm.hidden_probs(data).mean(0)
    state = cd.init_state(rbm, config, generator(0))
    contrast = Contrast(rbm, 40, config)
    contrast.visible[:40] = data
    cd.update(rbm, contrast, config, 0, state, generator(4))
    push = 0.3 * (0.2 - running)
    torch.testing.assert_close(state.activity, running, **TIGHT)
    torch.testing.assert_close(
        rbm.hidden_bias - before["hidden_bias"], plain["hidden_bias"] + push, **TIGHT
    )
    torch.testing.assert_close(
        rbm.visible_bias - before["visible_bias"], plain["visible_bias"], **TIGHT
    )
    torch.testing.assert_close(
        rbm.weight - before["weight"], plain["weight"] + torch.outer(data.mean(0), push), **TIGHT
    )


def test_rates_and_momenta_of_each_pass():
    config = CDConfig(
        epochs=5, learning_rate=0.1, final_learning_rate=0.02, initial_momentum_epochs=2
    )
    assert [round(config.learning_rate_at(epoch), 10) for epoch in range(5)] == [
        0.1,
        0.08,
        0.06,
        0.04,
        0.02,
    ]
    assert [config.momentum_at(epoch) for epoch in range(4)] == [0.5, 0.5, 0.9, 0.9]
    assert CDConfig(epochs=1).learning_rate_at(0) == 0.1


@pytest.mark.parametrize("persistent", [False, True])
def test_centring_measures_the_statistics_from_the_means(persistent: bool) -> None:
    """dW = rate <(v - m)(h - l)'> in data less model; a + W l and b + m W move as biases do without
    centring (Montavon & Muller 2012).
    """
    plain, centred = small_rbm(6, 4), small_rbm(6, 4)
    before = small_rbm(6, 4)
    moves = {}
    for rbm, on in ((plain, False), (centred, True)):
        config = CDConfig(
            learning_rate=0.1,
            initial_momentum=0.0,
            weight_decay=0.0,
            persistent=persistent,
            centred=on,
        )
        rng = generator(3)
        state, contrast = cd.init_state(rbm, config, rng), Contrast(rbm, 100, config)
        contrast.visible[:100] = draw_states(100)
        cd.update(rbm, contrast, config, 0, state, rng)
        moves[on] = (
            [now - then for now, then in zip(rbm.parameters(), before.parameters(), strict=True)],
            state,
        )
    (weight, visible, hidden), _ = moves[False]
    (weight_c, visible_c, hidden_c), state = moves[True]
    m, h = state.visible_mean, state.hidden_mean
    assert not torch.allclose(m, torch.zeros_like(m))
    torch.testing.assert_close(
        weight_c, weight - torch.outer(m, hidden) - torch.outer(visible, h), **TIGHT
    )
    torch.testing.assert_close(visible_c + weight_c @ h, visible, **TIGHT)
    torch.testing.assert_close(hidden_c + m @ weight_c, hidden, **TIGHT)


def draw_states(count: int) -> torch.Tensor:
    return torch.bernoulli(torch.full((count, 6), 0.3, dtype=torch.float64), generator=generator(8))


def test_centring_follows_the_means_of_the_data() -> None:
    rbm = small_rbm(6, 4)
    config = CDConfig(
        epochs=40, batch_size=20, centred=True, learning_rate=1e-9, final_learning_rate=1e-9
    )
    cases = draw_states(400)
    *_, record = cd.epochs(rbm, cases.float(), config=config, rng=generator(0))
    torch.testing.assert_close(record.state.visible_mean, cases.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(
        record.state.hidden_mean, rbm.hidden_probs(cases).mean(0), rtol=0, atol=0.05
    )


def test_a_low_rank_start_has_the_covariance_of_the_cases():
    """Exactly, where all units are Gaussian: (D^-1 - W W')^-1 along the first components."""
    rng = ws.generator(0)
    cases = (torch.randn(500, 2, generator=rng) * 2) @ torch.randn(2, 6, generator=rng)
    cases = cases + torch.randn(500, 6, generator=rng) + 3
    rbm = ws.RBM(Gaussian(6), Gaussian(4), rng=rng, weight_std=0.0)
    ws.cd.init_visible_bias(rbm, cases)
    ws.cd.init_low_rank(rbm, cases, 2, rng=rng)
    precision = rbm.visible.log_precision.exp()
    model = torch.linalg.inv(torch.diag(precision) - rbm.weight @ rbm.weight.t())
    standard = precision.sqrt()
    values, vectors = torch.linalg.eigh(torch.corrcoef(cases.t()))
    along = vectors[:, -2:].t() @ (standard[:, None] * model * standard) @ vectors[:, -2:]
    torch.testing.assert_close(along, torch.diag(values[-2:]), rtol=0.02, atol=0.02)
    mean = torch.linalg.solve(
        torch.diag(precision) - rbm.weight @ rbm.weight.t(),
        rbm.visible_bias + rbm.weight @ rbm.hidden_bias,
    )
    torch.testing.assert_close(mean, cases.mean(0), rtol=0.02, atol=0.05)


def test_a_low_rank_start_counts_how_hidden_units_vary_and_leaves_inputs_where_they_were():
    """A binary unit without input has the standard deviation 1/2 and the mean 1/2."""
    cases = (torch.rand(200, 6, generator=ws.generator(0)) < 0.3).float()
    cases[:, 1] = cases[:, 0]
    weights = {}
    for hidden in (Bernoulli(4), Gaussian(4)):
        rbm = ws.RBM(6, hidden, rng=ws.generator(0), weight_std=0.0)
        ws.cd.init_visible_bias(rbm, cases)
        before = rbm.visible_bias.clone()
        ws.cd.init_low_rank(rbm, cases, 2, rng=ws.generator(1))
        mean = hidden.mean(torch.zeros(1, 4))
        torch.testing.assert_close(rbm.visible_input(mean)[0], before)
        torch.testing.assert_close(rbm.hidden_input(cases.mean(0)[None])[0], torch.zeros(4))
        weights[type(hidden)] = rbm.weight
    assert bool(weights[Gaussian].any())
    torch.testing.assert_close(weights[Bernoulli], 2 * weights[Gaussian])


def test_cases_in_clusters_are_learned_sooner_from_a_low_rank():
    rng = ws.generator(0)
    centres = (torch.rand(6, 12, generator=rng) < 0.5).float()
    flipped = torch.rand(600, 12, generator=rng) < 0.05
    cases = centres[torch.arange(600) % 6]
    cases = torch.where(flipped, 1 - cases, cases)
    cases[:, 0] = 1  # a column that does not vary
    config = ws.CDConfig(
        epochs=10,
        batch_size=20,
        centred=True,
        persistent=True,
        momentum=0.0,
        initial_momentum=0.0,
        final_learning_rate=0.01,
    )
    scores = {}
    for rank in (0, 4):
        rbm = ws.RBM(12, 10, rng=ws.generator(0), weight_std=0.1)
        ws.cd.init_visible_bias(rbm, cases)
        before = rbm.weight.clone()
        if rank:
            ws.cd.init_low_rank(rbm, cases, rank, rng=ws.generator(1))
            assert torch.equal(rbm.weight[0], before[0])
            singular = torch.linalg.svdvals(rbm.weight - before)
            assert int((singular > 1e-4).sum()) == rank
        for _ in ws.cd.epochs(rbm, cases, config=config, rng=ws.generator(2)):
            pass
        log_z = ws.exact.log_partition(rbm)
        scores[rank] = -float(rbm.free_energy(cases).double().mean()) - log_z
    assert scores[4] > scores[0] + 0.1
    for rank in (0, 11):
        with pytest.raises(ConfigError, match="rank = "):
            ws.cd.init_low_rank(rbm, cases, rank, rng=rng)


def test_a_learning_rate_alone_stays_what_it_is() -> None:
    config = CDConfig(epochs=5, learning_rate=0.02)
    assert [config.learning_rate_at(epoch) for epoch in range(5)] == [0.02] * 5
    falling = replace(config, final_learning_rate=0.01)
    assert falling.learning_rate_at(0) == 0.02
    assert falling.learning_rate_at(4) == 0.01
