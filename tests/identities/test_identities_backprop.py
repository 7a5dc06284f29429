"""Backpropagation: the net it starts from, one way down by hand, and conjugate gradient."""

from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from wakesleep.foundation.errors import ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.models.dbn import DBN
from wakesleep.sources import arrays


def net(labels=3, seed=0):
    rng = generator(seed)
    dbn = DBN((6, 5, 4, 7), labels=labels, rng=rng, weight_std=0.7)
    for name, parameter in dbn.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(generator=rng)
    return dbn


def problem(count=60, seed=1):
    """Return images (N, 6) and labels (N,): which pair of pixels is brightest."""
    images = torch.rand(count, 6, generator=generator(seed))
    return images, images.reshape(-1, 3, 2).sum(2).argmax(1)


def small_net(seed=2):
    return backprop.random_classifier((6, 5, 4, 3), rng=generator(seed))


def loss_of(model, images, labels):
    with torch.no_grad():
        return float(cross_entropy(model(images), labels))


@pytest.mark.parametrize("start", ["memory", "small"])
@pytest.mark.parametrize("labels", [3, 0])
def test_classifier_is_the_stack_by_hand(start, labels):
    dbn = net(labels)
    if start == "memory" and not labels:
        with pytest.raises(ConfigError, match="holds 0 labels, not 3"):
            backprop.classifier(dbn, 3, rng=generator(0), start=start)
        return
    model = backprop.classifier(dbn, 3, rng=generator(0), start=start, weight_std=0.02)
    images, _ = problem()
    penultimate = dbn.up(images)[-1]
    top = penultimate @ dbn.memory.weight[:4] + dbn.memory.hidden_bias
    if labels:
        top = top + dbn.memory.weight[4:].sum(0) / 3
    if start == "memory":
        expected = torch.sigmoid(top) @ dbn.memory.weight[4:].t() + dbn.memory.visible_bias[4:]
    else:
        weight = torch.empty(3, 7).normal_(0, 0.02, generator=generator(0))
        expected = torch.sigmoid(top) @ weight.t()
        assert not model[-1].bias.any()
    torch.testing.assert_close(model(images).detach(), expected)
    torch.testing.assert_close(backprop.log_probs(model, images), torch.log_softmax(expected, 1))


def test_classifier_has_weights_of_its_own():
    dbn = net()
    before = deepcopy(dbn.state_dict())
    model = backprop.classifier(dbn, 3, rng=generator(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], value) for name, value in dbn.state_dict().items())


def test_memory_start_refuses_another_number_of_classes():
    with pytest.raises(ConfigError, match="3 labels, not 4"):
        backprop.classifier(net(), 4, rng=generator(0))


def test_random_classifier_centres_every_unit():
    model = backprop.random_classifier((50, 40, 30, 10), rng=generator(0))
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    half = [(layer.weight.sum(1) * 0.5 + layer.bias).detach() for layer in linear]
    assert float(half[1].abs().max()) < 1e-5
    assert float(half[2].abs().max()) < 1e-5
    assert not linear[0].bias.any()
    assert abs(linear[0].weight.std().item() - 4 * (2 / 90) ** 0.5) < 0.05
    assert abs(linear[2].weight.std().item() - (2 / 40) ** 0.5) < 0.05


def by_hand(model, batches, rates, momentum, decay):
    """Return the weights after SGD on `batches`, the gradients propagated by hand, in float64."""
    weights = [
        (layer.weight.detach().double().clone(), layer.bias.detach().double().clone())
        for layer in model[::2]
    ]
    velocity = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in weights]
    for (images, labels), rate in zip(batches, rates, strict=True):
        layers = [images.double()]
        for w, b in weights[:-1]:
            layers.append(torch.sigmoid(layers[-1] @ w.t() + b))
        logits = layers[-1] @ weights[-1][0].t() + weights[-1][1]
        error = (torch.softmax(logits, 1) - one_hot(labels, 3)) / len(images)
        for depth in reversed(range(len(weights))):
            (w, b), (dw, db) = weights[depth], velocity[depth]
            below = (error @ w) * layers[depth] * (1 - layers[depth])
            velocity[depth] = (
                momentum * dw + error.t() @ layers[depth] + decay * w,
                momentum * db + error.sum(0),
            )
            weights[depth] = (w - rate * velocity[depth][0], b - rate * velocity[depth][1])
            error = below
    return weights


def test_sgd_is_momentum_descent_by_hand():
    images, labels = problem(40)
    model = small_net()
    settings = {
        "learning_rate": 0.5,
        "final_learning_rate": 0.1,
        "momentum": 0.8,
        "weight_decay": 0.01,
    }
    config = BackpropConfig(epochs=2, batch_size=20, sample_pixels=False, **settings)
    rng = generator(5)
    index = torch.cat([arrays.order(labels, 40, rng) for _ in range(2)]).split(20)
    expected = by_hand(
        model, [(images[part], labels[part]) for part in index], [0.5, 0.5, 0.1, 0.1], 0.8, 0.01
    )
    for record in backprop.epochs(model, images, labels, config=config, rng=generator(5)):
        assert record.metrics["learning_rate"] == pytest.approx(
            config.learning_rate_at(record.epoch - 1)
        )
    for layer, (weight, bias) in zip(model[::2], expected, strict=True):
        torch.testing.assert_close(layer.weight.detach().double(), weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(layer.bias.detach().double(), bias, rtol=1e-4, atol=1e-6)


def test_record_of_a_pass_that_moves_nothing():
    images, labels = problem()
    model = small_net()
    config = BackpropConfig(
        epochs=1, batch_size=32, learning_rate=1e-30, final_learning_rate=0.0, sample_pixels=False
    )
    (record,) = backprop.epochs(model, images, labels, config=config, rng=generator(0))
    assert record.metrics["cross_entropy"] == pytest.approx(
        loss_of(model, images, labels), rel=1e-5
    )
    wrong = int((model(images).argmax(1) != labels).sum())
    assert record.metrics["train_error_percent"] == pytest.approx(100 * wrong / 60)
    assert (record.epoch, record.epochs, record.cases) == (1, 1, 60)


def test_sgd_learns():
    images, labels = problem(300)
    model = small_net()
    config = BackpropConfig(
        epochs=60, batch_size=20, learning_rate=0.3, final_learning_rate=0.05, sample_pixels=False
    )
    last = list(backprop.epochs(model, images, labels, config=config, rng=generator(0)))[-1]
    assert last.metrics["train_error_percent"] < 10


def test_sampled_pixels_are_binary_and_keep_their_means():
    images, labels = problem(50)
    model, seen = small_net(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    config = BackpropConfig(
        epochs=400, batch_size=50, learning_rate=1e-30, final_learning_rate=0.0, sample_pixels=True
    )
    list(backprop.epochs(model, images, labels, config=config, rng=generator(0)))
    shown = torch.stack(seen)
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    # drawn anew in every epoch
    assert not torch.equal(shown[0].sort(0).values, shown[1].sort(0).values)
    spread = (images * (1 - images)).mean(0).div(400 * 50).sqrt()
    assert bool(((shown.mean((0, 1)) - images.mean(0)).abs() < 5 * spread).all())


def test_conjugate_gradient_lowers_the_loss_and_spares_the_features_at_first():
    images, labels = problem(100)
    model = small_net()
    config = BackpropConfig(epochs=5, method="cg", cg_batch_size=50, cg_top_epochs=2)
    losses, features = [loss_of(model, images, labels)], deepcopy(model[:-1].state_dict())
    top = model[-1].weight.detach().clone()
    for record in backprop.epochs(model, images, labels, config=config, rng=generator(0)):
        losses.append(loss_of(model, images, labels))
        same = [
            torch.equal(features[name], value) for name, value in model[:-1].state_dict().items()
        ]
        assert all(same) if record.epoch <= 2 else not any(same)
        if record.epoch == 1:
            assert not torch.equal(top, model[-1].weight)
    assert losses[2] < losses[1] < losses[0]
    assert losses[-1] < losses[2]


def test_one_batch_of_conjugate_gradient_never_climbs():
    images, labels = problem(50)
    model = small_net()
    before = loss_of(model, images, labels)
    for _ in backprop.epochs(
        model,
        images,
        labels,
        config=BackpropConfig(epochs=8, method="cg", cg_batch_size=50, cg_top_epochs=0),
        rng=generator(0),
    ):
        after = loss_of(model, images, labels)
        assert after < before
        before = after


@pytest.mark.parametrize(
    ("labels", "output"),
    [
        ([0, 3], "from 0 to 3"),
        ([-1, 0], "expected 0 to 2"),
        ([0], "for 2 cases"),
        ([0.0, 1.0], "whole number"),
        ([[0], [1]], "one whole number"),
    ],
)
def test_bad_labels_are_refused(labels, output):
    labels = torch.tensor(labels)
    with pytest.raises(DataError, match=output):
        next(
            backprop.epochs(
                small_net(), torch.zeros(2, 6), labels, config=BackpropConfig(), rng=generator(0)
            )
        )


def regression_problem(count=60):
    images = torch.rand(count, 6, generator=generator(1))
    return images, torch.stack(
        [images[:, 0] - images[:, 3], images[:, 1] * images[:, 2], images.mean(1)], 1
    )


def test_real_targets_one_update_by_hand():
    model, (images, targets) = small_net(), regression_problem()
    by_hand = deepcopy(model)
    loss = 0.5 * ((by_hand(images) - targets) ** 2).sum() / 60
    loss.backward()
    config = BackpropConfig(epochs=1, batch_size=60, learning_rate=0.3, sample_pixels=False)
    record = next(backprop.epochs(model, images, targets, config=config, rng=generator(0)))
    assert record.metrics.keys() == {"squared_error", "learning_rate"}
    assert abs(record.metrics["squared_error"] - float(loss.detach())) < 1e-5
    for moved, parameter in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(moved, parameter - 0.3 * parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["sgd", "cg"])
def test_real_targets_are_learned(method):
    model, (images, targets) = small_net(), regression_problem()
    config = BackpropConfig(
        epochs=100,
        method=method,
        batch_size=10,
        learning_rate=0.2,
        sample_pixels=False,
        cg_top_epochs=0,
    )
    *_, last = backprop.epochs(model, images, targets, config=config, rng=generator(0))
    assert last.metrics["squared_error"] < 0.2 * float(
        0.5 * (targets - targets.mean(0)).square().sum(1).mean()
    )


def test_real_targets_of_another_shape_are_refused():
    images, targets = regression_problem()
    with pytest.raises(DataError, match=r"\(60, 2\) for 60 cases; expected \(60, 3\)"):
        next(
            backprop.epochs(
                small_net(), images, targets[:, :2], config=BackpropConfig(), rng=generator(0)
            )
        )


def test_a_case_of_no_weight_teaches_nothing():
    (images, labels), config = (
        problem(),
        BackpropConfig(epochs=2, batch_size=10, sample_pixels=False),
    )
    weights = (torch.arange(60) < 40).float()
    spoiled = labels.clone()
    spoiled[40:] = (labels[40:] + 1) % 3
    models = [small_net(), small_net()]
    for model, target in zip(models, (labels, spoiled), strict=True):
        list(
            backprop.epochs(model, images, target, config=config, rng=generator(0), weights=weights)
        )
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
