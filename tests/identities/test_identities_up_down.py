"""Up-down: what the phases teach against autograd and enumeration, the memory's law, untied
pathways, and that it learns.
"""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise

import pytest
import torch
from exact import (
    TIGHT,
    assert_frequencies,
    assert_mean,
    assert_same_state,
    chance,
    differentiable,
    draw,
    expected_statistics,
    form,
    given_hidden,
    given_visible,
    index_of,
    joint,
    kernel,
    relabel,
    states,
)
from torch.nn.functional import one_hot, softplus

from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError, DataError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy, loop, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.up_down import UNLABELLED, UpDownConfig
from wakesleep.models.dbn import DBN
from wakesleep.samplers import dreams
from wakesleep.units import Bernoulli, Gaussian
from wakesleep.units.quadratic import NARROWEST

SAMPLED = UpDownConfig(sample_labels=True)
IMAGE = torch.tensor([[0.9, 0.0, 0.4]], dtype=torch.float64)
N = 40_000


def small_net(sizes=(3, 2, 2, 3), labels=2, seed=0, scale=1.2, dtype=torch.float64):
    """Return an untied net whose weights and biases are all away from zero."""
    rng = generator(seed)
    dbn = DBN(sizes, labels=labels, rng=rng).double()
    dbn.untie()
    for parameter in dbn.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * scale)
    return dbn.to(dtype)


def some_images(count=64, pixels=3, seed=2, dtype=torch.float64):
    return torch.rand(count, pixels, generator=generator(seed), dtype=dtype)


def some_labels(count=64, labels=2, seed=3):
    return torch.randint(labels, (count,), generator=generator(seed))


def above(layer, rows):
    """The chance of each unit of a recognition layer, written out."""
    return torch.sigmoid(rows @ layer.weight + layer.bias)


def below(layer, rows):
    """The chance of each unit of a generative layer, written out."""
    return torch.sigmoid(rows @ layer.weight.t() + layer.bias)


def every(size):
    return states(Bernoulli(size))


def recognised(dbn, image):
    """Exact q of each hidden layer's states (states,), and of the pairs of neighbours (lower
    states, upper states).
    """
    marginals, pairs = (
        [chance(Bernoulli(dbn.sizes[1]), above(dbn.recognition[0], image), every(dbn.sizes[1]))[0]],
        [],
    )
    for layer, (low, high) in zip(dbn.recognition[1:], pairwise(dbn.sizes[1:-1]), strict=True):
        pairs.append(
            marginals[-1][:, None] * chance(Bernoulli(high), above(layer, every(low)), every(high))
        )
        marginals.append(pairs[-1].sum(0))
    return marginals, pairs


def posterior(dbn):
    """Exact p(label | features) of the memory, (feature states, labels)."""
    p = joint(dbn.memory).sum(1).reshape(-1, dbn.labels)
    return p / p.sum(1, keepdim=True)


def seen(dbn, image, label):
    """Exact distribution of the memory's visible units in the wake phase, label clamped or (None)
    inferred: (visible states,).
    """
    features = recognised(dbn, image)[0][-1]
    if not dbn.labels:
        return features
    group = (
        posterior(dbn)
        if label is None
        else one_hot(torch.tensor(label), dbn.labels).double().expand(len(features), -1)
    )
    return (features[:, None] * group).flatten()


def outer(left, right):
    return left[:, :, None] * right[:, None, :]


def update(dbn, phases, config, epoch, state):
    """Learn what a minibatch gave, as the loop does in that epoch."""
    algorithm = up_down.UpDown(dbn, config, state, generator(0), None)
    algorithm.begin_epoch(epoch)
    algorithm.update(up_down.gradients(phases))


def split(phases):
    """The memory's (positive visible, positive hidden, negative visible, negative hidden)."""
    visible, hidden = phases.memory
    n = len(visible) // 2
    return visible[:n], hidden[:n], visible[n:], -hidden[n:]


# ------------------------------------------------------------------------------
# oracle


def test_the_label_gradient_is_that_of_log_p_label_given_the_features():
    dbn, many = small_net((5, 3, 4), 2), 40_000
    images = torch.eye(5, dtype=torch.float64)[:3].repeat(many, 1)
    labels = torch.tensor([0, 1, 1]).repeat(many)
    both = [
        up_down.phases(
            dbn,
            images,
            labels,
            steps=1,
            config=UpDownConfig(label_weight=weight),
            rng=generator(2),
            complete=True,
        )
        for weight in (1.0, 0.0)
    ]
    with_labels, without = (form(up_down.gradients(phases)) for phases in both)
    memory = differentiable(dbn.memory)
    features = split(both[0])[0][:, :3]
    group = torch.eye(2, dtype=torch.float64)
    each = [memory.free_energy(torch.cat([features, row.expand(3 * many, 2)], 1)) for row in group]
    log_probs = torch.log_softmax(-torch.stack(each), 0)
    log_probs[labels, torch.arange(3 * many)].mean().backward()
    for name in ("weight", "visible_bias", "hidden_bias"):
        found = with_labels[f"memory.{name}"] - without[f"memory.{name}"]
        torch.testing.assert_close(found, getattr(memory, name).grad, atol=0.006, rtol=0)
    others = [name for name in without if not name.startswith("memory.")]
    assert all(torch.equal(with_labels[name], without[name]) for name in others)


@pytest.mark.parametrize("labels", [0, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_pair_is_autograd_of_its_layers_log_probability(labels, seed):
    dbn, images = small_net((5, 4, 3, 4), labels), some_images(pixels=5)
    known = some_labels() if labels else None
    phases = up_down.phases(dbn, images, known, steps=2, config=UpDownConfig(), rng=generator(seed))
    wake_states = dbn.up(images, generator(seed))
    fantasies = split(phases)[2][:, :3]
    sleep_states = [pair[0] for pair in phases.sleep] + [fantasies]
    torch.testing.assert_close(sleep_states[0], below(dbn.generative[0], sleep_states[1]), **TIGHT)
    assert all(
        bool(((layer == 0) | (layer == 1)).all()) for layer in wake_states[1:] + sleep_states[1:]
    )
    for depth in range(2):
        for pathway, source, target, pair in (
            ("generative", wake_states[depth + 1], wake_states[depth], phases.wake[depth]),
            ("recognition", sleep_states[depth], sleep_states[depth + 1], phases.sleep[depth]),
        ):
            layer = deepcopy(getattr(dbn, pathway)[depth]).requires_grad_(True)
            total_input = (
                source @ (layer.weight.t() if pathway == "generative" else layer.weight)
                + layer.bias
            )
            (target * total_input - softplus(total_input)).sum(1).mean().backward()
            left, right = pair
            torch.testing.assert_close(left.t() @ right / len(left), layer.weight.grad, **TIGHT)
            error = left if pathway == "generative" else right
            torch.testing.assert_close(error.mean(0), layer.bias.grad, **TIGHT)


@pytest.mark.parametrize("sample_labels", [False, True])
@pytest.mark.parametrize("labels", [0, 2])
def test_the_memorys_pair_is_autograd_of_the_free_energy_difference(labels, sample_labels):
    dbn, images = small_net((5, 4, 3, 4), labels), some_images(pixels=5)
    known = some_labels() if labels else None
    phases = up_down.phases(
        dbn,
        images,
        known,
        steps=2,
        config=UpDownConfig(sample_labels=sample_labels),
        rng=generator(4),
    )
    positive, _, negative, _ = split(phases)
    if labels:
        assert torch.equal(positive[:, 3:], one_hot(known, 2).double())
        assert torch.equal(positive[:, :3], dbn.up(images, generator(4))[-1])
        assert bool(((negative[:, 3:] == 0) | (negative[:, 3:] == 1)).all()) == sample_labels
    memory = differentiable(dbn.memory)
    (memory.free_energy(negative) - memory.free_energy(positive)).mean().backward()
    visible, hidden = phases.memory
    torch.testing.assert_close(visible.t() @ hidden / 64, memory.weight.grad, **TIGHT)
    torch.testing.assert_close(hidden.sum(0) / 64, memory.hidden_bias.grad, **TIGHT)


# ------------------------------------------------------------------------------
# expectations


@pytest.mark.parametrize("labels", [0, 2])
def test_expected_wake_gradients(labels):
    dbn = small_net(labels=labels)
    phases = up_down.phases(
        dbn, IMAGE.repeat(N, 1), None, steps=1, config=UpDownConfig(), rng=generator(1)
    )
    (hid, penultimate), (pair,) = recognised(dbn, IMAGE)
    h, p = every(2), every(2)
    wrong = [IMAGE - below(dbn.generative[0], h), h[:, None, :] - below(dbn.generative[1], p)[None]]
    exact = [
        torch.einsum("a,ai,aj->ij", hid, wrong[0], h),
        torch.einsum("ab,abi,bj->ij", pair, wrong[1], p),
    ]
    bias = [hid @ wrong[0], torch.einsum("ab,abi->i", pair, wrong[1])]
    for (left, right), weight, exact_bias in zip(phases.wake, exact, bias, strict=True):
        assert_mean(outer(left, right), weight)
        assert_mean(left, exact_bias)
    assert_frequencies(index_of(split(phases)[0][:, :2], p), penultimate)


@pytest.mark.parametrize(("labels", "label"), [(0, None), (2, None), (2, 1)])
def test_expected_positive_statistics(labels, label):
    dbn = small_net(labels=labels)
    known = None if label is None else torch.full((N,), label)
    visible, hidden, _, _ = split(
        up_down.phases(
            dbn, IMAGE.repeat(N, 1), known, steps=1, config=UpDownConfig(), rng=generator(2)
        )
    )
    exact = expected_statistics(dbn.memory, seen(dbn, IMAGE, label))
    assert_mean(outer(visible, hidden), exact.weight)
    assert_mean(visible, exact.visible_bias)
    assert_mean(hidden, exact.hidden_bias)


def moved(dbn, p, steps, label_first):
    """Exact distribution of the memory's visible units after the negative phase, labels sampled:
    (visible states,).
    """
    p = p @ relabel(dbn.memory, dbn.label_columns) if dbn.labels and label_first else p
    for _ in range(steps):
        p = p @ kernel(dbn.memory)
    return p


def decided_net(labels=2):
    """Return a net whose memory settles slowly enough to tell one Gibbs step from two, and label
    first from label kept.
    """
    return small_net(labels=labels, seed=7, scale=2.0)


def unlikely_label(dbn):
    return int((recognised(dbn, IMAGE)[0][-1] @ posterior(dbn)).argmin())


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize(("labels", "label_first"), [(0, True), (2, False), (2, True)])
def test_expected_negative_statistics_and_sleep_gradients(labels, label_first, steps):
    dbn = decided_net(labels)
    label = unlikely_label(dbn) if labels else None
    known = torch.full((N,), label) if labels else None
    config = UpDownConfig(sample_labels=True, label_first=label_first)
    phases = up_down.phases(
        dbn, IMAGE.repeat(N, 1), known, steps=steps, config=config, rng=generator(3)
    )
    _, _, visible, hidden = split(phases)
    law = moved(dbn, seen(dbn, IMAGE, label), steps, label_first)
    exact = expected_statistics(dbn.memory, law)
    assert_mean(outer(visible, hidden), exact.weight)
    assert_mean(hidden, exact.hidden_bias)
    assert_frequencies(index_of(visible, states(dbn.memory.visible)), law)
    assert_frequencies(
        index_of(phases.top, states(dbn.memory.hidden)), law @ given_visible(dbn.memory)
    )

    penultimate, p, h = law.reshape(4, -1).sum(1), every(2), every(2)
    pair = penultimate[:, None] * chance(Bernoulli(2), below(dbn.generative[1], p), h)
    pixels = below(dbn.generative[0], h)
    recognition_error = [
        h - above(dbn.recognition[0], pixels),
        p[:, None, :] - above(dbn.recognition[1], h)[None],
    ]
    exact = [
        torch.einsum("b,bi,bj->ij", pair.sum(0), pixels, recognition_error[0]),
        torch.einsum("ab,bi,abj->ij", pair, h, recognition_error[1]),
    ]
    bias = [
        pair.sum(0) @ recognition_error[0],
        torch.einsum("ab,abj->j", pair, recognition_error[1]),
    ]
    for (left, right), weight, exact_bias in zip(phases.sleep, exact, bias, strict=True):
        assert_mean(outer(left, right), weight)
        assert_mean(right, exact_bias)


def test_the_expectations_tell_label_first_and_the_steps_apart():
    dbn = decided_net()
    p = seen(dbn, IMAGE, unlikely_label(dbn))
    laws = [moved(dbn, p, steps, first) for steps in (1, 2) for first in (False, True)]
    assert min(float((a - b).abs().max()) for i, a in enumerate(laws) for b in laws[:i]) > 0.05, (
        "the test above could not fail"
    )


# ------------------------------------------------------------------------------
# the memory's law


def published_kernel(dbn):
    """Chance of top -> top' of the published listing: features drawn, label probabilities in place
    of a drawn label.
    """
    memory, penultimate = dbn.memory, dbn.sizes[-2]
    h, features = states(memory.hidden), every(penultimate)
    p = chance(
        Bernoulli(penultimate),
        torch.sigmoid(h @ memory.weight[:penultimate].t() + memory.visible_bias[:penultimate]),
        features,
    )
    label = torch.softmax(
        h @ memory.weight[penultimate:].t() + memory.visible_bias[penultimate:], 1
    )
    total_input = (
        (features @ memory.weight[:penultimate])[None]
        + (label @ memory.weight[penultimate:])[:, None]
        + memory.hidden_bias
    )
    back = torch.stack([chance(memory.hidden, torch.sigmoid(rows), h) for rows in total_input])
    return torch.einsum("hp,hpt->ht", p, back)


def memory_net():
    return small_net((3, 2, 3), labels=3, seed=5, scale=1.5)


@pytest.mark.parametrize("steps", [1, 3])
def test_sampled_labels_leave_the_models_distribution_alone(steps):
    dbn = memory_net()
    p = joint(dbn.memory)
    torch.testing.assert_close(
        p.sum(0) @ given_hidden(dbn.memory) @ given_visible(dbn.memory), p.sum(0), **TIGHT
    )
    n = 100_000
    chains = states(dbn.memory.hidden)[draw(p.sum(0), n, 6)]
    phases = up_down.phases(
        dbn,
        some_images(n),
        some_labels(n, 3),
        steps=steps,
        config=SAMPLED,
        rng=generator(7),
        chains=chains,
    )
    visible = index_of(split(phases)[2], states(dbn.memory.visible))
    assert_frequencies(visible, p.sum(1))
    assert_frequencies(visible * 8 + index_of(phases.top, states(dbn.memory.hidden)), p.flatten())


def test_label_probabilities_bend_the_models_distribution():
    """The published listing is not the model's own chain.

    One step from the exact distribution of the top states moves it 0.0200 in total variation here
    (weights of std 1.5, 3 labels); where label weights vanish, it does not move at all.
    """
    dbn = memory_net()
    p = joint(dbn.memory).sum(0)
    bent = p @ published_kernel(dbn)
    distance = float((bent - p).abs().sum()) / 2
    print(f"total variation of one published step from the model: {distance:.4f}")
    assert 0.01 < distance < 0.05
    n = 200_000
    chains = states(dbn.memory.hidden)[draw(p, n, 8)]
    config = UpDownConfig(sample_labels=False)
    top = index_of(
        up_down.phases(
            dbn,
            some_images(n),
            some_labels(n, 3),
            steps=1,
            config=config,
            rng=generator(9),
            chains=chains,
        ).top,
        states(dbn.memory.hidden),
    )
    assert_frequencies(top, bent)
    with pytest.raises(AssertionError, match="standard errors off"):
        assert_frequencies(top, p)
    dbn.memory.weight[dbn.label_columns] = 0
    p = joint(dbn.memory).sum(0)
    torch.testing.assert_close(p @ published_kernel(dbn), p, **TIGHT)


def test_the_last_negative_cases_go_on_from_the_chains_and_the_others_start_at_the_up_pass():
    dbn = decided_net()
    label, chains = unlikely_label(dbn), states(dbn.memory.hidden)[6:7].repeat(N, 1)
    config = UpDownConfig(sample_labels=True, label_first=False)
    known = torch.full((2 * N,), label)
    phases = up_down.phases(
        dbn, IMAGE.repeat(2 * N, 1), known, steps=1, config=config, rng=generator(13), chains=chains
    )
    visible = index_of(split(phases)[2], states(dbn.memory.visible))
    from_data, from_chains = (
        moved(dbn, seen(dbn, IMAGE, label), 1, False),
        given_hidden(dbn.memory)[6],
    )
    assert float((from_data - from_chains).abs().max()) > 0.1
    assert_frequencies(visible[:N], from_data)
    assert_frequencies(visible[N:], from_chains)


def test_the_negative_phase_starts_at_the_chains_where_all_cases_have_one():
    dbn = memory_net()
    chains = states(dbn.memory.hidden)[6:7].repeat(N, 1)
    before = chains.clone()
    phases = up_down.phases(
        dbn, IMAGE.repeat(N, 1), None, steps=1, config=SAMPLED, rng=generator(10), chains=chains
    )
    assert torch.equal(chains, before)
    law = given_hidden(dbn.memory)[6]
    assert_frequencies(index_of(split(phases)[2], states(dbn.memory.visible)), law)
    assert_frequencies(
        index_of(phases.top, states(dbn.memory.hidden)), law @ given_visible(dbn.memory)
    )


def test_chains_that_hold_a_label_sample_the_memory_given_it():
    dbn = memory_net()
    p = joint(dbn.memory).reshape(4, 3, 8)  # features, label, top states
    given_label = p[:, 1] / p[:, 1].sum()
    chains = states(dbn.memory.hidden)[draw(given_label.sum(0), N, 6)]
    held = torch.ones(N, dtype=torch.long)
    phases = up_down.phases(
        dbn,
        some_images(N),
        some_labels(N, 3),
        steps=2,
        config=SAMPLED,
        rng=generator(7),
        chains=chains,
        chain_labels=held,
    )
    negative = split(phases)[2]
    assert torch.equal(negative[:, 2:], one_hot(held, 3).double())
    assert_frequencies(index_of(negative[:, :2], every(2)), given_label.sum(1))
    assert_frequencies(index_of(phases.top, states(dbn.memory.hidden)), given_label.sum(0))


def test_free_chains_among_those_that_hold_labels_stay_free():
    dbn = memory_net()
    chains = states(dbn.memory.hidden)[6:7].repeat(2 * N, 1)
    held = torch.tensor([UNLABELLED, 2]).repeat_interleave(N)
    phases = up_down.phases(
        dbn,
        some_images(2 * N),
        None,
        steps=1,
        config=SAMPLED,
        rng=generator(8),
        chains=chains,
        chain_labels=held,
    )
    negative = split(phases)[2]
    assert_frequencies(
        index_of(negative[:N], states(dbn.memory.visible)), given_hidden(dbn.memory)[6]
    )
    assert torch.equal(negative[N:, 2:], torch.eye(3, dtype=torch.float64)[[2]].expand(N, -1))


def test_chains_restart_by_chance():
    dbn, config = small_net((3, 2, 2, 64), labels=3), UpDownConfig(restart=0.1)
    chains = torch.ones(5000, 64, dtype=torch.float64)
    up_down.reset_chains(dbn, chains, config, generator(3))
    fresh = (chains == 0).any(1)
    assert 400 < int(fresh.sum()) < 600
    assert 0.48 < float(chains[fresh].mean()) < 0.52


def test_chains_hold_labels_in_the_proportions_of_the_cases():
    labels = some_labels(700, 4) - 1
    held = up_down.labels_to_hold(labels, 5000, labels.device)
    ours, theirs = (
        (torch.bincount(found + 1, minlength=4) / len(found)) for found in (held, labels)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert torch.equal(up_down.labels_to_hold(None, 3, labels.device), torch.full((3,), UNLABELLED))


# ------------------------------------------------------------------------------
# unlabelled cases


@pytest.mark.parametrize("with_labels", [False, True])
def test_unknown_labels_are_drawn_from_the_exact_posterior_and_known_ones_clamped(with_labels):
    dbn = memory_net()
    features = every(2).repeat(20_000, 1)
    labels = None
    if with_labels:
        labels = torch.full((len(features),), UNLABELLED)
        labels[: len(features) // 2] = some_labels(len(features) // 2, 3)
    given = None if labels is None else labels.clone()
    total_input = torch.addmm(dbn.memory.hidden_bias, features, dbn.memory.weight[:2])
    drawn = up_down.label_states(dbn, total_input, labels, generator(11))
    assert drawn.dtype == torch.float64
    assert drawn.shape == (len(features), 3)
    unknown = (
        torch.ones(len(features), dtype=torch.bool) if labels is None else labels == UNLABELLED
    )
    if labels is not None:
        assert torch.equal(drawn[~unknown], one_hot(labels[~unknown], 3).double())
        assert torch.equal(labels, given)
    for number, state in enumerate(every(2)):
        mine = unknown & (features == state).all(1)
        assert_frequencies(index_of(drawn[mine], torch.eye(3)), posterior(dbn)[number])


def test_all_known_labels_are_clamped():
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.equal(
        up_down.label_states(memory_net(), every(3)[:4], labels, generator(0)),
        one_hot(labels, 3).double(),
    )


def test_a_half_labelled_batch_teaches_the_exact_mixture():
    dbn = decided_net()
    label = unlikely_label(dbn)
    known = torch.full((N,), UNLABELLED)
    known[::2] = label
    phases = up_down.phases(
        dbn, IMAGE.repeat(N, 1), known, steps=1, config=SAMPLED, rng=generator(12)
    )
    visible, hidden, _, _ = split(phases)
    clamped, inferred = (
        expected_statistics(dbn.memory, seen(dbn, IMAGE, which)) for which in (label, None)
    )
    assert float((clamped.weight - inferred.weight).abs().max()) > 0.1
    for rows, exact in ((slice(0, None, 2), clamped), (slice(1, None, 2), inferred)):
        assert_mean(outer(visible[rows], hidden[rows]), exact.weight)
        assert_mean(visible[rows], exact.visible_bias)
    assert_mean(outer(visible, hidden), (clamped.weight + inferred.weight) / 2)


# ------------------------------------------------------------------------------
# two pathways


def test_untying_changes_nothing_until_the_first_update():
    dbn = DBN((5, 4, 3, 4), labels=2, rng=generator(0), weight_std=1.0).double()
    assert dbn.tied
    images, features = some_images(pixels=5), every(3)
    before = [
        *dbn.up(images, generator(1)),
        *dbn.down(features, generator(2)),
        *dbn.up(images),
        *dbn.down(features),
    ]
    state = up_down.init_state(dbn, UpDownConfig(), generator(3))
    after = [
        *dbn.up(images, generator(1)),
        *dbn.down(features, generator(2)),
        *dbn.up(images),
        *dbn.down(features),
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not dbn.tied
    storages = [parameter.data_ptr() for parameter in dbn.parameters()]
    assert len(set(storages)) == len(storages) == 2 * 4 + 3
    assert state.chains.shape == (10, 20, 4), (
        "a fifth of a minibatch persists, ten for each that moves"
    )
    assert torch.equal(state.chain_labels, torch.full((20,), up_down.UNASSIGNED))
    assert all(
        torch.equal(state.mean.mean[name], parameter) for name, parameter in dbn.named_parameters()
    )
    assert (
        set(state.velocity) == set(state.mean.mean) == {name for name, _ in dbn.named_parameters()}
    )
    assert not any(bool(value.any()) for value in state.velocity.values())
    assert (state.epoch, state.mean.updates, state.mean.averaged) == (0, 0, 0)
    phases = up_down.phases(
        dbn, images, some_labels(), steps=1, config=UpDownConfig(), rng=generator(4)
    )
    update(dbn, phases, UpDownConfig(), 0, state)
    for up, down in zip(dbn.recognition, dbn.generative, strict=True):
        assert float((up.weight - down.weight).abs().min()) > 0


def test_recognition_and_generation_use_their_own_weights():
    dbn = small_net((5, 4, 3, 4), labels=3, dtype=torch.float32)
    images, labels = some_images(pixels=5, dtype=torch.float32), some_labels(labels=3)

    def behaviour(net):
        dream = dreams.dream(net, rng=generator(1), labels=labels, steps=3)
        return {
            "generation": dream.pixels,
            "recognition": classify.log_probs(net, images),
        }, classify.predict(net, images)

    plain, predicted = behaviour(dbn)
    for silenced, same in (("recognition", "generation"), ("generative", "recognition")):
        other = deepcopy(dbn)
        for parameter in getattr(other, silenced).parameters():
            parameter.zero_()
        changed, again = behaviour(other)
        assert torch.equal(changed[same], plain[same])
        assert all(not torch.allclose(changed[key], plain[key]) for key in plain if key != same)
        if same == "recognition":
            assert torch.equal(again, predicted)


def test_the_wake_phase_listens_to_recognition_and_the_dream_to_generation():
    dbn, images = small_net((5, 4, 3, 4)), some_images(pixels=5)
    known, silent = some_labels(), small_net((5, 4, 3, 4))
    for parameter in silent.recognition.parameters():
        parameter.zero_()

    def run(net):
        return up_down.phases(
            net,
            images,
            known,
            steps=2,
            config=SAMPLED,
            rng=generator(3),
            chains=torch.ones(64, 4, dtype=torch.float64),
        )

    plain, deaf = run(dbn), run(silent)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(plain.sleep, deaf.sleep, strict=True))
    assert not torch.equal(plain.wake[0][1], deaf.wake[0][1])
    assert torch.equal(plain.top, deaf.top)


# ------------------------------------------------------------------------------
# updates


@pytest.mark.parametrize("labels", [0, 2])
def test_two_updates_follow_hintons_rule(labels):
    dbn, images = small_net((5, 4, 3, 4), labels), some_images(pixels=5)
    config = UpDownConfig(
        epochs=5, learning_rate=0.5, final_learning_rate=0.1, momentum=0.7, weight_decay=0.03
    )
    state = up_down.init_state(dbn, config, generator(0))
    velocity = {name: torch.zeros_like(parameter) for name, parameter in dbn.named_parameters()}
    expected = {name: parameter.clone() for name, parameter in dbn.named_parameters()}
    for epoch, rate in ((0, 0.5), (3, 0.2)):
        phases = up_down.phases(
            dbn,
            images,
            some_labels() if labels else None,
            steps=2,
            config=config,
            rng=generator(epoch),
        )
        v, h, v_, h_ = split(phases)
        gradient = {
            "memory.weight": (v.t() @ h - v_.t() @ h_) / 64,
            "memory.visible_bias": v.mean(0) - v_.mean(0),
            "memory.hidden_bias": h.mean(0) - h_.mean(0),
        }
        for depth in range(2):
            error, state_above = phases.wake[depth]
            state_below, recognition_error = phases.sleep[depth]
            gradient[f"generative.{depth}.weight"], gradient[f"generative.{depth}.bias"] = (
                error.t() @ state_above / 64,
                error.mean(0),
            )
            gradient[f"recognition.{depth}.weight"], gradient[f"recognition.{depth}.bias"] = (
                state_below.t() @ recognition_error / 64,
                recognition_error.mean(0),
            )
        update(dbn, phases, config, epoch, state)
        assert set(gradient) == set(expected)
        for name, parameter in dbn.named_parameters():
            decay = 0.03 if name == "memory.weight" else 0.0
            velocity[name] = 0.7 * velocity[name] + rate * (gradient[name] - decay * expected[name])
            expected[name] = expected[name] + velocity[name]
            torch.testing.assert_close(parameter.detach(), expected[name], **TIGHT)
            torch.testing.assert_close(state.velocity[name], velocity[name], **TIGHT)


@pytest.mark.parametrize("persistent", [0.0, 0.75])
@pytest.mark.parametrize("labels", [None, some_labels(140, 3) - 1], ids=["none", "mixed"])
def test_the_loop_is_phases_and_update_of_each_minibatch(labels, persistent):
    dbn, images = small_net(dtype=torch.float32), some_images(140, dtype=torch.float32)
    config = UpDownConfig(
        epochs=1,
        batch_size=56,
        gibbs_steps=(2,),
        persistent=persistent,
        restart=0.3,
        average=0,
        chain_pool=2,
    )
    hand, rng, error = deepcopy(dbn), generator(5), 0.0
    state = up_down.init_state(hand, config, rng)
    chains = state.chains
    order = up_down.arrays.order(None if labels is None else labels + 1, 140, rng)
    held = None if labels is None else up_down.labels_to_hold(labels, 42, labels.device)
    for turn, index in enumerate(order.split(56)):
        known, count = None if labels is None else labels[index], min(42, len(index))
        going_on = None
        if persistent:
            up_down.reset_chains(hand, chains[turn % 2, :count], config, rng)
            going_on = chains[turn % 2, :count].clone()
        holds = None if held is None or not persistent else held[:count]
        phases = up_down.phases(
            hand,
            images[index],
            known,
            steps=2,
            config=config,
            rng=rng,
            chains=going_on,
            chain_labels=holds,
        )
        if persistent:
            chains[turn % 2, :count] = phases.top[-count:]
        update(hand, phases, config, 0, state)
        error += float(phases.wake[0][0].square().sum())
    (record,) = up_down.epochs(dbn, images, labels, config=config, rng=generator(5))
    assert all(torch.equal(a, b) for a, b in zip(dbn.parameters(), hand.parameters(), strict=True))
    assert record[:4] == ("updown", 1, 1, 140)
    assert record.metrics["gibbs_steps"] == 2
    assert record.metrics["reconstruction_error"] == pytest.approx(error / 420, rel=1e-5)
    assert (record.state.chains is not None) == bool(persistent)
    assert not persistent or torch.equal(record.state.chains, chains)


@pytest.mark.parametrize(
    ("average", "weights"), [(1.0, (1, 1 / 2, 1 / 2, 1 / 2)), (4.0, (1, 1 / 2, 1 / 3, 1 / 4))]
)
def test_between_passes_the_net_is_the_running_mean_of_the_weights_that_learn(
    average, weights, monkeypatch
):
    plain, dbn = small_net(dtype=torch.float32), small_net(dtype=torch.float32)
    images, labels = some_images(16, dtype=torch.float32), some_labels(16)
    still = UpDownConfig(epochs=2, batch_size=8, gibbs_steps=(1,), persistent=0.5, average=0)
    taken: list[list[torch.Tensor]] = []
    apply_update = up_down.apply_update

    def spy(net, *args, **kwargs):
        apply_update(net, *args, **kwargs)
        taken.append([parameter.clone() for parameter in net.parameters()])

    monkeypatch.setattr(loop, "run", partial(loop.run, mean_every=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up_down, "apply_update", spy)
        list(up_down.epochs(plain, images, labels, config=still, rng=generator(5)))
    mean = [parameter.clone() for parameter in dbn.parameters()]
    records = up_down.epochs(
        dbn, images, labels, config=replace(still, average=average), rng=generator(5)
    )
    for number, (weight, learning) in enumerate(zip(weights, taken, strict=True)):
        mean = [old.lerp(new, weight) for old, new in zip(mean, learning, strict=True)]
        if number % 2:
            next(records)
            for ours, theirs in zip(dbn.parameters(), mean, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert all(
        not torch.allclose(a, b) for a, b in zip(dbn.parameters(), plain.parameters(), strict=True)
    )


# ------------------------------------------------------------------------------
# settings


def test_steps_of_the_memory_in_equal_shares_of_the_passes():
    published = UpDownConfig(epochs=300, gibbs_steps=(3, 6, 10))
    assert [published.steps_at(epoch) for epoch in range(300)] == [3] * 100 + [6] * 100 + [10] * 100
    assert [replace(published, epochs=6).steps_at(epoch) for epoch in range(6)] == [
        3,
        3,
        6,
        6,
        10,
        10,
    ]
    assert replace(published, epochs=1).steps_at(0) == 3
    assert replace(published, epochs=0).steps_at(0) == 3
    assert {UpDownConfig(epochs=9, gibbs_steps=(4,)).steps_at(epoch) for epoch in range(9)} == {4}


def test_rates_run_in_a_straight_line():
    config = UpDownConfig(epochs=5, learning_rate=0.1, final_learning_rate=0.02)
    assert [round(config.learning_rate_at(epoch), 10) for epoch in range(5)] == [
        0.1,
        0.08,
        0.06,
        0.04,
        0.02,
    ]
    assert UpDownConfig(epochs=1, learning_rate=0.1).learning_rate_at(0) == 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("gibbs_steps", bad) for bad in ((), (0,), (3, 0, 10), (-1,))],
        *[
            (rate, bad)
            for rate in ("learning_rate", "final_learning_rate")
            for bad in (0, -0.1, float("nan"), float("inf"))
        ],
        *[("momentum", bad) for bad in (1, 1.5, -0.1, float("nan"))],
        *[("weight_decay", bad) for bad in (-1e-4, float("nan"))],
        *[("batch_size", bad) for bad in (0, -3)],
        *[("persistent", bad) for bad in (-0.1, 1.1, float("nan"))],
        ("epochs", -1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_value(name, value):
    with pytest.raises(ConfigError) as refusal:
        UpDownConfig(**{name: value})
    assert f"{name} = {value}" in str(refusal.value)


QUICK = UpDownConfig(epochs=2, batch_size=10, gibbs_steps=(1,))


def train(dbn, images, labels=None, config=QUICK, seed=0, state=None):
    return list(
        up_down.epochs(dbn, images, labels, config=config, rng=generator(seed), state=state)
    )


@pytest.mark.parametrize(
    ("labels", "bad", "said"),
    [
        (2, [0] * 19 + [2], "20 labels from 0 to 2 for 20 cases"),
        (2, [0] * 19 + [-2], "20 labels from -2 to 0 for 20 cases; expected -1 to 1"),
        (2, [0] * 19, r"shape \(19,\) .* for 20 cases"),
        (2, [], r"shape \(0,\) .* for 20 cases"),
        (0, [0] * 20, "holds none"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, bad, said):
    dbn = small_net(labels=labels, dtype=torch.float32)
    with pytest.raises(DataError, match=said):
        train(dbn, some_images(20, dtype=torch.float32), torch.tensor(bad))


@pytest.mark.parametrize("persistent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(3, 4), (3, 2, 4), (3, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("kind", ["none", "all inferred", "all unlabelled", "mixed"])
def test_every_kind_of_labels_learns_with_an_odd_last_batch(sizes, kind, persistent):
    dbn = small_net(sizes, labels=0 if kind == "none" else 2, scale=0.3, dtype=torch.float32)
    labels = {"all unlabelled": torch.full((23,), UNLABELLED), "mixed": some_labels(23, 3) - 1}.get(
        kind
    )
    before = [parameter.clone() for parameter in dbn.parameters()]
    config = UpDownConfig(epochs=2, batch_size=10, gibbs_steps=(1,), persistent=persistent)
    records = train(dbn, some_images(23, dtype=torch.float32), labels, config)
    assert [record.epoch for record in records] == [1, 2]
    assert ("reconstruction_error" in records[0].metrics) == (len(sizes) > 2)
    assert (records[-1].state.chains is not None) == (persistent > 0)
    assert all(not torch.equal(old, new) for old, new in zip(before, dbn.parameters(), strict=True))


def test_uint8_pixels_are_the_same_cases():
    shades = torch.randint(256, (20, 3), generator=generator(1), dtype=torch.uint8)
    nets = [small_net(dtype=torch.float32) for _ in range(2)]
    for dbn, images in zip(nets, (shades, shades.float() / 255), strict=True):
        train(dbn, images, some_labels(20))
    assert all(torch.equal(a, b) for a, b in zip(*(dbn.parameters() for dbn in nets), strict=True))


def test_chains_persist_and_a_short_batch_moves_only_its_own():
    dbn = small_net(dtype=torch.float32)
    config = UpDownConfig(
        epochs=1,
        batch_size=30,
        persistent=1.0,
        gibbs_steps=(1,),
        hold_labels=False,
        restart=0.0,
        chain_pool=1,
    )
    state = up_down.init_state(dbn, config, generator(0))
    before = state.chains[0].clone()
    assert before.shape == (30, 3)
    assert bool(((before == 0) | (before == 1)).all())
    (record,) = train(dbn, some_images(20, dtype=torch.float32), config=config, state=state)
    chains = record.state.chains[0]
    assert not torch.equal(chains[:20], before[:20])
    assert torch.equal(chains[20:], before[20:])
    assert bool(((chains == 0) | (chains == 1)).all())


@pytest.mark.parametrize("persistent", [0.0, 0.5, 1.0])
def test_resuming_is_never_having_stopped(persistent):
    config = UpDownConfig(epochs=4, batch_size=10, gibbs_steps=(1, 2), persistent=persistent)
    images, labels = some_images(23, dtype=torch.float32), some_labels(23, 3) - 1
    whole = small_net((3, 2, 2, 3), scale=0.5, dtype=torch.float32)
    part, rng = deepcopy(whole), generator(6)
    last = train(whole, images, labels, config, seed=6)[-1]
    (*_, record) = islice(up_down.epochs(part, images, labels, config=config, rng=rng), 2)
    again = generator(0)
    again.set_state(rng.get_state())
    resumed, state = deepcopy(part), deepcopy(record.state)
    records = list(up_down.epochs(resumed, images, labels, config=config, rng=again, state=state))
    assert [r.epoch for r in records] == [3, 4]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    assert records[-1].metrics == last.metrics
    assert_same_state(last.state, records[-1].state)


@pytest.mark.parametrize("labels", [0, 2])
def test_divergence_is_noticed(labels):
    dbn = small_net(labels=labels, dtype=torch.float32)
    config = UpDownConfig(
        epochs=3, batch_size=10, learning_rate=1e30, final_learning_rate=1e30, gibbs_steps=(1,)
    )
    with pytest.raises(DivergedError, match=r"learning rate \(1e\+30\)"):
        train(
            dbn, some_images(40, dtype=torch.float32), some_labels(40) if labels else None, config
        )


# ------------------------------------------------------------------------------
# it learns


def bars_and_stripes(side=3):
    """Return every picture of full columns or full rows once, (2^(side+1) - 2, side^2), and which
    of the two it is.
    """
    rows = every(side)
    bars, stripes = rows[:, None, :].expand(-1, side, -1), rows[1:-1, :, None].expand(-1, -1, side)
    pictures = torch.cat([bars, stripes]).reshape(-1, side * side).float()
    return pictures, torch.cat([torch.zeros(len(bars)), torch.ones(len(stripes))]).long()


def log_likelihood(dbn, cases):
    """Return exact mean log p(cases) of the generative model, memory and one directed layer,
    nats.
    """
    dbn, penultimate = deepcopy(dbn).double(), every(dbn.sizes[1])
    if dbn.labels:
        group = torch.eye(dbn.labels, dtype=torch.float64)
        free = torch.stack(
            [
                -dbn.memory.free_energy(
                    torch.cat([penultimate, one.expand(len(penultimate), -1)], 1)
                )
                for one in group
            ]
        ).logsumexp(0)
    else:
        free = -dbn.memory.free_energy(penultimate)
    total_input = penultimate @ dbn.generative[0].weight.t() + dbn.generative[0].bias
    log_pixels = cases.double() @ total_input.t() - softplus(total_input).sum(1)
    return float(torch.logsumexp(log_pixels + torch.log_softmax(free, 0), 1).mean())


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_up_down_raises_the_exact_log_likelihood(seed, labelled):
    patterns, kinds = bars_and_stripes()
    cases, labels = patterns.repeat(20, 1), kinds.repeat(20) if labelled else None
    rng = generator(seed)
    dbn = DBN((9, 8, 12), labels=2 if labelled else 0, rng=rng)
    pretraining = GreedyConfig(
        CDConfig(epochs=20, batch_size=28), CDConfig(epochs=20, batch_size=28)
    )
    for _ in greedy.epochs(dbn, cases, labels, config=pretraining, rng=rng):
        pass
    before = log_likelihood(dbn, patterns)
    config = UpDownConfig(
        epochs=60,
        batch_size=28,
        learning_rate=0.05,
        final_learning_rate=0.01,
        gibbs_steps=(3,),
        sample_labels=True,
    )
    for _ in up_down.epochs(dbn, cases, labels, config=config, rng=rng):
        pass
    after = log_likelihood(dbn, patterns)
    print(f"{before:.2f} -> {after:.2f} nats")
    assert after > before + 0.3


@pytest.mark.parametrize("several", [False, True], ids=["one sense", "several"])
def test_the_precision_of_a_column_that_never_varies_stays_in_range(several):
    numbers = torch.cat([torch.randn(40, 2, generator=generator(0)), torch.zeros(40, 1)], 1)
    cases = {"numbers": numbers.clone(), "bits": torch.ones(40, 2)} if several else numbers
    lower = (Gaussian(3), 4)
    rng = generator(1)
    if several:
        cases["numbers"][:5] = torch.nan
        net = DBN(senses={"numbers": lower, "bits": (2,)}, top=5, rng=rng)
    else:
        net = DBN((*lower, 5), rng=rng)
    net.untie()
    units = net.units("numbers") if several else net.visible
    units.log_precision[2] = math.log(1 / NARROWEST**2)  # where learning would take it in time
    config = UpDownConfig(epochs=5, batch_size=5, average=0.0)
    list(up_down.epochs(net, cases, config=config, rng=rng))
    assert float(units.precision[2]) < 1.001 / NARROWEST**2
