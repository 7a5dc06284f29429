"""The hybrid: its discriminative gradient against autograd, and what one update of it is."""

from copy import deepcopy

import pytest
import torch
from exact import TIGHT, form
from test_identities_up_down import small_net, some_images, some_labels

from benchmarks import hybrids as tries
from wakesleep.evaluation import classify
from wakesleep.foundation.errors import ConfigError, DataError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.learning import hybrid, up_down
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.up_down import UNLABELLED, UpDownConfig

SIZES = [(5, 4), (5, 4, 4), (5, 4, 3, 4)]


def log_p(dbn, images):
    """log p(label | image) by label free energies, written out with enumeration of nothing:
    softplus of each label's input.
    """
    layer = images
    for step in dbn.recognition:
        layer = torch.sigmoid(layer @ step.weight + step.bias)
    penultimate = dbn.sizes[-2]
    total = dbn.memory.hidden_bias + layer @ dbn.memory.weight[:penultimate]
    scores = (
        torch.nn.functional.softplus(total[:, None, :] + dbn.memory.weight[penultimate:]).sum(2)
        + dbn.memory.visible_bias[penultimate:]
    )
    return torch.log_softmax(scores, 1)


@pytest.mark.parametrize("unlabelled", [0, 30])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_gradient_is_autograd_of_log_p_of_the_label(sizes, unlabelled):
    dbn, images, labels = small_net(sizes, 3), some_images(pixels=5), some_labels(labels=3)
    labels[:unlabelled] = UNLABELLED
    reported, log_probs = hybrid.discriminative(dbn, images, labels)
    torch.testing.assert_close(
        log_probs,
        classify.log_probs(deepcopy(dbn).float(), images.float()).double(),
        rtol=1e-4,
        atol=1e-5,
    )
    moving = deepcopy(dbn).requires_grad_(True)
    exact = log_p(moving, images)
    torch.testing.assert_close(log_probs, exact.detach(), **TIGHT)
    known = labels != UNLABELLED
    (exact[known].gather(1, labels[known].unsqueeze(1)).mean()).backward()
    actual = form(reported)
    expected = {
        name: parameter.grad
        for name, parameter in moving.named_parameters()
        if parameter.grad is not None
    }
    assert set(actual) == set(expected)
    for name, exact_gradient in expected.items():
        torch.testing.assert_close(actual[name], exact_gradient, **TIGHT)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_try_without_smoothness_and_dropout_is_the_hybrid(sizes):
    dbn, images, labels = small_net(sizes, 3), some_images(pixels=5), some_labels(labels=3)
    labels[:30] = UNLABELLED
    exact, exact_log_probs = hybrid.discriminative(dbn, images, labels)
    with torch.inference_mode():  # as the loop calls it
        found, log_probs = tries.gradients(dbn, images, labels, tries.Smooth(), generator(1))
        smooth, _ = tries.gradients(dbn, images, labels, tries.TRIES["smooth"], generator(1))
    torch.testing.assert_close(log_probs.double(), exact_log_probs, rtol=1e-4, atol=1e-5)
    actual, moved = form(found), form(smooth)
    for name, expected in form(exact).items():
        torch.testing.assert_close(actual[name].double(), expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(moved["memory.weight"], actual["memory.weight"], atol=1e-4)


def hand_step(dbn, state, weighted, config):
    """Hinton's rule, written out, for the parameters that the (gradients, weight) pairs name."""
    for name, parameter in dbn.named_parameters():
        gradients = [weight * form(actual)[name] for actual, weight in weighted if name in actual]
        if gradients:
            decay = config.weight_decay if name == "memory.weight" else 0.0
            velocity = state.velocity[name]
            velocity.copy_(
                config.momentum * velocity
                + config.learning_rate * (sum(gradients) - decay * parameter)
            )
            parameter.add_(velocity)


@pytest.mark.parametrize("alternate", [False, True])
def test_one_update_is_the_weighted_sum_or_the_two_in_turn(alternate):
    updown = UpDownConfig(
        epochs=1, batch_size=64, learning_rate=0.3, gibbs_steps=(3,), persistent=0.0, average=0
    )
    config = HybridConfig(updown, 2.5, alternate, sample_pixels=False)
    dbn, images, labels = small_net((5, 4, 3, 4), 2), some_images(pixels=5), some_labels()
    hand, rng = deepcopy(dbn), generator(4)
    state = up_down.init_state(hand, updown, rng)
    index = up_down.arrays.order(labels + 1, 64, rng)
    generative = up_down.gradients(
        up_down.phases(hand, images[index], labels[index], steps=3, config=updown, rng=rng)
    )
    if alternate:
        hand_step(hand, state, [(generative, 1.0)], updown)
    reported, _ = hybrid.discriminative(hand, images[index], labels[index])
    hand_step(
        hand,
        state,
        [(reported, 2.5)] if alternate else [(generative, 1.0), (reported, 2.5)],
        updown,
    )
    before = [parameter.clone() for parameter in dbn.parameters()]
    (record,) = hybrid.epochs(dbn, images, labels, config=config, rng=generator(4))
    for ours, theirs, old in zip(dbn.parameters(), hand.parameters(), before, strict=True):
        torch.testing.assert_close(ours, theirs, **TIGHT)
        assert not torch.equal(ours, old)
    assert record[:4] == ("hybrid", 1, 1, 64)


def test_without_weight_the_hybrid_is_contrastive_wake_sleep():
    updown = UpDownConfig(epochs=2, batch_size=20)
    plain, both = small_net((5, 4, 3, 4), 2), small_net((5, 4, 3, 4), 2)
    images, labels = some_images(pixels=5), some_labels()
    list(up_down.epochs(plain, images, labels, config=updown, rng=generator(1)))
    list(
        hybrid.epochs(
            both,
            images,
            labels,
            config=HybridConfig(updown, 0.0, sample_pixels=False),
            rng=generator(1),
        )
    )
    for ours, theirs in zip(both.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, **TIGHT)


def test_it_learns_to_recognise_and_counts_labelled_cases_only():
    dbn = small_net((6, 8, 8, 12), 2, scale=0.3, dtype=torch.float32)
    images = (some_images(200, 6, dtype=torch.float32) > 0.5).float()
    labels = images[:, 0].long()  # the first pixel tells
    labels[::2] = UNLABELLED
    config = HybridConfig(
        UpDownConfig(
            epochs=30, batch_size=20, learning_rate=0.03, final_learning_rate=0.01, persistent=0.0
        )
    )
    records = list(hybrid.epochs(dbn, images, labels, config=config, rng=generator(2)))
    assert records[-1].metrics["cross_entropy"] < 0.3 * records[0].metrics["cross_entropy"]
    assert records[-1].metrics["train_error_percent"] < 5
    assert float((classify.predict(dbn, images) == images[:, 0]).float().mean()) > 0.97


def test_resuming_is_never_having_stopped():
    config = HybridConfig(UpDownConfig(epochs=4, batch_size=20, persistent=0.5))
    images, labels = some_images(64, 5, dtype=torch.float32), some_labels()
    whole, parted = (small_net((5, 4, 3, 4), 2, dtype=torch.float32) for _ in range(2))
    list(hybrid.epochs(whole, images, labels, config=config, rng=generator(3)))
    rng = generator(3)
    loop = hybrid.epochs(parted, images, labels, config=config, rng=rng)
    next(loop)
    state = deepcopy(next(loop).state)
    list(hybrid.epochs(parted, images, labels, config=config, rng=rng, state=state))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), parted.parameters(), strict=True)
    )


def test_what_cannot_work_is_refused():
    dbn, images, rng = small_net((5, 4, 3, 4), 2), some_images(pixels=5), generator(0)
    with pytest.raises(ConfigError, match="weight = -1"):
        HybridConfig(weight=-1)
    with pytest.raises(DataError, match="none of these cases has one"):
        next(
            hybrid.epochs(
                dbn, images, torch.full((64,), UNLABELLED), config=HybridConfig(), rng=rng
            )
        )
    with pytest.raises(DataError, match="holds none"):
        next(
            hybrid.epochs(
                small_net((5, 4, 3, 4), 0), images, some_labels(), config=HybridConfig(), rng=rng
            )
        )
    wild = HybridConfig(UpDownConfig(epochs=3, batch_size=8, learning_rate=1e30), weight=1e5)
    with pytest.raises(DivergedError, match="Try a third"):
        list(
            hybrid.epochs(
                small_net((5, 4, 3, 4), 2, dtype=torch.float32),
                images.float(),
                some_labels(),
                config=wild,
                rng=rng,
            )
        )
