"""Dropout, norms, running means and smoothness: what each is, exactly, and that without them this
is plain backpropagation.
"""

from copy import deepcopy

import pytest
import torch
from torch import nn

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, robust
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.robust import RobustConfig

PLAIN = RobustConfig(epochs=3, batch_size=10, learning_rate=0.1, mean_epochs=0)


def some_net(seed=0, sizes=(6, 5, 4, 3)):
    return backprop.random_classifier(sizes, rng=generator(seed))


def some_cases(count=40, seed=1):
    rng = generator(seed)
    return torch.rand(count, 6, generator=rng), torch.arange(count) % 3


def learned(config, *, net=None, state=None, rng=None, **more):
    net, rng = some_net() if net is None else net, generator(2) if rng is None else rng
    images, labels = some_cases()
    records = list(robust.epochs(net, images, labels, config=config, rng=rng, state=state, **more))
    return net, records


def distance(one, other):
    return max(
        float((a - b).detach().abs().max())
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_with_nothing_asked_it_is_backpropagation():
    net, records = learned(PLAIN)
    plain = some_net()
    config = BackpropConfig(epochs=3, batch_size=10, learning_rate=0.1, sample_pixels=False)
    expected = list(backprop.epochs(plain, *some_cases(), config=config, rng=generator(2)))
    assert distance(net, plain) < 1e-6
    assert records[-1].metrics["cross_entropy"] == pytest.approx(
        expected[-1].metrics["cross_entropy"], rel=1e-5
    )


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_dropout_leaves_the_mean_input_of_a_unit_as_it_is(share):
    net, image = nn.Sequential(nn.Linear(6, 2)), torch.rand(1, 6, generator=generator(3))
    with torch.no_grad():
        net[0].weight.normal_(generator=generator(5))
    draws = robust.forward_with_dropout(
        net, image.expand(40_000, 6), share, 0.0, generator(4)
    ).detach()
    error = draws.std(0) / len(draws) ** 0.5
    assert bool(((draws.mean(0) - net(image)[0]).abs() < 4 * error).all())
    assert float(draws.std()) > 0.05


def test_dropout_leaves_out_the_share_it_says_in_every_hidden_layer_and_none_of_the_pixels():
    seen = []
    net = some_net(sizes=(6, 2000, 1500, 3))
    for layer in (net[2], net[4]):
        layer.register_forward_pre_hook(
            lambda module, given: seen.append(float((given[0] == 0).float().mean()))
        )
    net[0].register_forward_pre_hook(
        lambda module, given: seen.append(float((given[0] == 0).float().mean()))
    )
    robust.forward_with_dropout(net, torch.ones(1, 6), 0.0, 0.3, generator(0))
    assert seen[0] == 0.0
    assert seen[1:] == pytest.approx([0.3, 0.3], abs=0.05)


def test_norms_are_shortened_to_the_limit_and_no_direction_turns():
    net = some_net(sizes=(6, 50, 3))
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        robust.limit_norms(net, 1.0)
    norms, was = net[0].weight.norm(dim=1), before.norm(dim=1)
    assert bool((was > 1).any())
    assert bool((was < 1).any())
    torch.testing.assert_close(norms, was.clamp(max=1.0))
    assert float(torch.cosine_similarity(net[0].weight.detach(), before, dim=1).min()) > 1 - 1e-6


def test_the_adversarial_direction_is_a_power_step_on_the_hessian_of_the_divergence():
    net, (images, _) = some_net().double(), some_cases(4)
    images, radius = images.double(), 0.7
    answer, moved = robust.adversarial(net, images, radius, generator(5), probe=1e-3)
    torch.testing.assert_close(answer, torch.log_softmax(net(images), 1).detach())
    first = torch.randn(images.shape, generator=generator(5), dtype=torch.float64)
    for image, start, there in zip(images, first, moved, strict=True):
        reported = torch.log_softmax(net(image[None]), 1).detach()
        hessian = torch.autograd.functional.hessian(
            lambda step, reported=reported, image=image: robust.divergence(
                reported, net((image + step)[None])
            ),
            0 * image,
        )
        expected = hessian @ start
        step = (there - image).detach()
        assert float(step.norm()) == pytest.approx(radius)
        assert float(torch.cosine_similarity(step, expected, dim=0)) > 0.9999


def test_divergence_is_kullback_leibler():
    answer, logits = (
        torch.log_softmax(torch.randn(7, 3, generator=generator(0)), 1),
        torch.randn(7, 3, generator=generator(1)),
    )
    expected = nn.functional.kl_div(
        torch.log_softmax(logits, 1), answer, reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(robust.divergence(answer, logits), expected)


def test_smoothness_makes_a_net_smoother_around_cases_without_labels():
    images, labels = some_cases()
    free = torch.rand(200, 6, generator=generator(9))

    def roughness(net):
        answer, moved = robust.adversarial(net, free, 0.5, generator(1))
        return float(robust.divergence(answer, net(moved)).detach())

    config = RobustConfig(epochs=20, batch_size=10, vat_epsilon=0.5, smooth_weight=5.0)
    rough, smooth = some_net(), some_net()
    list(
        robust.epochs(
            rough,
            images[:6],
            labels[:6],
            config=RobustConfig(epochs=400, batch_size=10),
            rng=generator(0),
        )
    )
    records = list(
        robust.epochs(
            smooth, images[:6], labels[:6], config=config, rng=generator(0), unlabelled=free
        )
    )
    assert records[0].cases == 200
    assert roughness(smooth) < roughness(rough) / 2


@pytest.mark.parametrize(
    "unlabelled",
    [None, torch.rand(40, 6, generator=generator(9))],
    ids=["labelled alone", "others"],
)
def test_smoothness_is_asked_of_cases_without_labels_where_there_are_some(unlabelled, monkeypatch):
    asked, real = [], robust.adversarial
    monkeypatch.setattr(
        robust,
        "adversarial",
        lambda net, images, *given: asked.append(images) or real(net, images, *given),
    )
    learned(RobustConfig(epochs=1, batch_size=10, vat_epsilon=0.5), unlabelled=unlabelled)
    source = some_cases()[0] if unlabelled is None else unlabelled
    assert torch.equal(torch.cat(asked).sort(0).values, source.sort(0).values)


def test_between_passes_the_net_holds_the_running_mean():
    config = RobustConfig(epochs=1, batch_size=4, mean_epochs=1.0, learning_rate=0.3)
    mean, records = learned(config)
    last, _ = learned(RobustConfig(epochs=1, batch_size=4, mean_epochs=0, learning_rate=0.3))
    first = some_net()
    kept = records[-1].state
    for name, weight in dict(last.named_parameters()).items():
        # the weights that learn wait in the state
        torch.testing.assert_close(kept.mean.mean[name], weight)
        # one look of weight 1 in ten updates of this epoch
        torch.testing.assert_close(dict(mean.named_parameters())[name], weight)
    assert distance(mean, first) > 0.01


@pytest.mark.parametrize(("epochs", "mean_epochs"), [(1, 1.0), (1, 4.0), (2, 4.0), (3, 1.0)])
def test_until_its_horizon_the_running_mean_is_that_of_all_updates_and_forgets_the_first_weights(
    epochs, mean_epochs
):
    """13 updates an epoch, looked at after the 10th and the 13th, each look counting as many
    updates as came since the last.
    """
    seen, net = [], some_net()

    def note(batch, rng):
        # the weights before each update
        seen.append({name: weight.detach().clone() for name, weight in net.named_parameters()})
        return batch

    images, labels = some_cases(26)
    config = RobustConfig(
        epochs=epochs,
        batch_size=2,
        mean_epochs=mean_epochs,
        learning_rate=0.3,
        final_learning_rate=0.3,
    )
    *_, record = robust.epochs(net, images, labels, config=config, rng=generator(2), change=note)
    seen.append({name: record.state.mean.mean[name] for name in seen[0]})  # after the last update
    looks = [
        (done, since)
        for number in range(epochs)
        for done, since in ((13 * number + 10, 10), (13 * number + 13, 3))
    ]
    for name, weight in net.named_parameters():
        mean = torch.zeros_like(weight)
        for done, since in looks:
            mean = torch.lerp(mean, seen[done][name], since / min(done, 13 * mean_epochs))
        torch.testing.assert_close(weight.detach(), mean.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(optimizer):
    config = RobustConfig(
        epochs=4,
        batch_size=8,
        optimizer=optimizer,
        learning_rate=0.01,
        dropout_hidden=0.3,
        vat_epsilon=0.5,
        sample_pixels=True,
    )
    whole, _ = learned(config)
    net, rng = some_net(), generator(2)
    images, labels = some_cases()
    for record in robust.epochs(net, images, labels, config=config, rng=rng):
        if record.epoch == 2:
            break
    again, state = deepcopy(net), deepcopy(record.state)
    learned(config, net=again, state=state, rng=rng)
    assert distance(whole, again) == 0


def test_pictures_are_changed_anew_in_every_pass():
    seen = []

    def change(images, rng):
        seen.append(images.clone())
        return images + torch.rand(images.shape, generator=rng)

    learned(RobustConfig(epochs=2, batch_size=40), change=change)
    assert len(seen) == 2
    assert {float(image.sum()) for image in seen[0]} == {float(image.sum()) for image in seen[1]}


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="vat_epsilon"):
        learned(PLAIN, unlabelled=torch.rand(5, 6))
    with pytest.raises(DataError, match="expected 0 to 2"):
        list(
            robust.epochs(
                some_net(), torch.rand(2, 6), torch.tensor([0, 3]), config=PLAIN, rng=generator(0)
            )
        )
    for wrong in (
        {"dropout_hidden": 1.0},
        {"optimizer": "lbfgs"},
        {"max_norm": -1.0},
        {"epochs": -1},
        {"batch_size": 0},
        {"momentum": 1.0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RobustConfig(**wrong)
