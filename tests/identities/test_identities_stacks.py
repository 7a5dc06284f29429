"""Deep belief nets whose layers are units of any family: pretraining, up-down, bounds, files and
backpropagation.
"""

from copy import deepcopy

import pytest
import torch
from exact import TIGHT, states

from wakesleep.app import loaded_model
from wakesleep.evaluation import bound, classify, meanfield
from wakesleep.foundation.errors import CheckpointError, ConfigError, DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy, hybrid, up_down
from wakesleep.learning.configs import (
    CDConfig,
    GreedyConfig,
    HybridConfig,
    UpDownConfig,
)
from wakesleep.learning.net_configs import BackpropConfig
from wakesleep.models.dbn import DBN
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams
from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    DReLU,
    Gaussian,
    Groups,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Thermometer,
)

FAMILIES = [
    Bernoulli(4),
    Spin(4),
    Categorical(3, sites=2),
    Thermometer(4, sites=2),
    Binomial(4, trials=3),
    Ordinal(4, levels=3),
    Poisson(3),
    Gaussian(4),
    ReLU(4),
    DReLU(4),
    Groups(numbers=Gaussian(2), bits=2, kind=Categorical(3)),
]


def learned(sizes, labels=0, epochs=2):
    """Return a net after a few epochs of pretraining and up-down, and its cases."""
    rng = generator(0)
    dbn = DBN(sizes, labels=labels, rng=rng, weight_std=0.01)
    cases = dbn.visible.sample(torch.randn(60, dbn.visible.size, generator=rng) / 2, rng)
    targets = torch.arange(60) % labels if labels else None
    layer = CDConfig(epochs=epochs, batch_size=20, learning_rate=0.02, final_learning_rate=0.02)
    config, updown = GreedyConfig(layer, layer), UpDownConfig(epochs=epochs, batch_size=20)
    list(greedy.epochs(dbn, cases, targets, config=config, rng=rng))
    list(up_down.epochs(dbn, cases, targets, config=updown, rng=rng))
    return dbn, cases


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("units", FAMILIES, ids=str)
def test_a_layer_of_any_family_learns_dreams_and_is_judged(tmp_path, units, layer, labels):
    sizes = [4, 5, 6]
    sizes[layer] = units
    dbn, cases = learned(sizes, labels)
    assert [type(each) for each in dbn.layers][layer] is type(units)
    dreamt = dreams.dream(dbn, rng=generator(1), count=20, steps=5).pixels
    assert bool(torch.isfinite(dreamt).all())
    found = bound.lower_bound(dbn, cases, 0.0, rng=generator(2))
    assert bool(torch.isfinite(found.bound).all())
    assert bool(torch.isfinite(meanfield.score(dbn, cases)).all())
    assert dreams.reconstruct(dbn, cases).shape == cases.shape
    if labels:
        p = classify.log_probs(dbn, cases).exp().sum(1)
        torch.testing.assert_close(p, torch.ones(60), rtol=1e-4, atol=1e-4)
    checkpoint.save_models(tmp_path / "net.safetensors", {"dbn": dbn}, {})
    models, _ = checkpoint.read(tmp_path / "net.safetensors")
    assert repr(models["dbn"].layers) == repr(dbn.layers)
    assert torch.equal(models["dbn"].up(cases)[-1], dbn.up(cases)[-1])
    for one, other in zip(models["dbn"].parameters(), dbn.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_the_pixels_learn_a_precision_in_a_stack():
    dbn, _ = learned((Gaussian(4), Gaussian(5), ReLU(3)), labels=2)
    own = {name: p for name, p in dbn.named_parameters() if name.endswith("log_precision")}
    moved = {name for name, p in own.items() if bool(p.any())}
    assert moved == {"generative.0.units.log_precision"}
    assert len(own) == 4


def test_up_down_follows_the_likelihood_of_real_pixels():
    dbn, cases = learned((Gaussian(3), 4, 5))
    dbn, pixels = dbn.double(), cases.double()
    config = UpDownConfig(persistent=0.0)
    found = up_down.phases(dbn, pixels, None, steps=1, config=config, rng=generator(4))
    layer = deepcopy(dbn.generative[0]).requires_grad_()
    x = layer.total_input(dbn.up(pixels, generator(4))[1])
    log_p = (x * pixels).sum(1) - layer.units.potential(pixels) - layer.units.log_partition(x)
    log_p.mean().backward()
    (term,) = found.own["generative.0.units.log_precision"]
    torch.testing.assert_close(term.value, layer.units.log_precision.grad, **TIGHT)
    (weight,) = up_down.gradients(found)["generative.0.weight"]
    torch.testing.assert_close(
        weight.scale * weight.left.t() @ weight.right, layer.weight.grad, **TIGHT
    )


@pytest.mark.parametrize("pixels", [Gaussian(2), Spin(2), Ordinal(2, 3), DReLU(2)], ids=str)
def test_bounds_lie_below_the_likelihood_and_meet_it(pixels):
    dbn, cases = learned((pixels, 3, 2))
    dbn, cases = dbn.double(), cases[:5].double()
    h, top = states(Bernoulli(3)), dbn.memory
    log_h = -top.free_energy(h) - torch.logsumexp(-top.free_energy(h), 0)
    x, units = dbn.generative[0].total_input(h), dbn.generative[0].units
    log_v = cases @ x.t() - units.potential(cases)[:, None] - units.log_partition(x)
    exact = torch.logsumexp(log_v + log_h, 1)
    log_z = float(torch.logsumexp(-top.free_energy(h), 0))
    found = bound.lower_bound(dbn, cases, log_z, rng=generator(3), samples=2000)
    assert bool((found.bound <= exact + 4 * found.error + 1e-9).all())
    torch.testing.assert_close(found.importance_weighted, exact, rtol=0, atol=0.02)


def test_a_label_is_summed_out_of_a_memory_over_real_features():
    dbn, _ = learned((4, Gaussian(3), 5), labels=3)
    dbn = dbn.double()
    features = torch.randn(6, 3, generator=generator(1), dtype=torch.float64)
    each = torch.stack(
        [
            -dbn.memory.free_energy(torch.cat([features, row.expand(6, -1)], 1))
            for row in torch.eye(3).double()
        ]
    )
    torch.testing.assert_close(dbn.memory_free_energy(features), -torch.logsumexp(each, 0), **TIGHT)


def test_relu_units_become_relu_and_are_saved(tmp_path):
    dbn = DBN((Gaussian(4), ReLU(5), Gaussian(6), Spin(3)), rng=generator(0), weight_std=0.3)
    cases = torch.randn(60, 4, generator=generator(3))
    dbn.recognition[1].units.log_precision.fill_(0.7)
    net = backprop.classifier(dbn, 3, rng=generator(1), start="small")
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["Linear", "ReLU", "Linear", "Identity", "Linear", "Tanh", "Linear"]
    below = torch.relu(dbn.recognition[0].total_input(cases))
    torch.testing.assert_close(net[:4](cases), dbn.recognition[1].probs(below))
    checkpoint.save_models(tmp_path / "net.safetensors", {"net": net}, {})
    models, _ = checkpoint.read(tmp_path / "net.safetensors")
    assert torch.equal(models["net"](cases), net(cases))
    config, targets = (
        BackpropConfig(epochs=60, batch_size=20, sample_pixels=False),
        (cases[:, 0] > 0).long(),
    )
    losses = [
        record.metrics["cross_entropy"]
        for record in backprop.epochs(
            net, cases, targets, config=config, rng=generator(2), checked=True
        )
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_what_cannot_be_is_refused_in_words():
    rng = generator(0)
    with pytest.raises(ConfigError, match="backpropagation through DReLU"):
        backprop.classifier(DBN((4, DReLU(3), 3), rng=rng), 2, rng=rng, start="small")
    dbn, cases = DBN((4, ReLU(3), 3), labels=2, rng=rng, weight_std=0.01), torch.rand(20, 4)
    with pytest.raises(ConfigError, match="binary hidden units"):
        next(hybrid.epochs(dbn, cases, torch.arange(20) % 2, config=HybridConfig(), rng=rng))
    config = GreedyConfig(CDConfig(epochs=1), CDConfig(epochs=1))
    dbn = DBN((ReLU(4), 3, 2), rng=rng)
    with pytest.raises(DataError, match="expected numbers of 0 or more"):
        next(greedy.epochs(dbn, cases - 1, config=config, rng=rng))
    dbn = DBN((Gaussian(30), ReLU(30), 3), rng=rng, weight_std=1.0)
    with pytest.raises(ConfigError, match="spectral norm"):
        next(greedy.epochs(dbn, torch.randn(20, 30), config=config, rng=rng))


def test_the_hybrid_takes_real_pixels():
    rng = generator(0)
    dbn = DBN((Gaussian(4), 5, 6), labels=2, rng=rng)
    cases = torch.randn(60, 4, generator=rng)
    labels = (cases[:, 0] > 0).long()
    config = HybridConfig(UpDownConfig(epochs=60, batch_size=10, gibbs_steps=(1,)))
    errors = [
        record.metrics["train_error_percent"]
        for record in hybrid.epochs(dbn, cases, labels, config=config, rng=rng)
    ]
    assert errors[-1] < errors[0]
    assert errors[-1] < 20


def test_the_page_refuses_units_that_it_cannot_show(tmp_path):
    path = tmp_path / "net.safetensors"
    net = DBN((Gaussian(64), 5, 6), labels=10, rng=generator(0))
    note = {"shape": [8, 8], "classes": list("0123456789")}
    checkpoint.save_models(path, {"dbn": net}, note)
    with pytest.raises(CheckpointError, match=r"Gaussian\(size=64\).*binary units only"):
        loaded_model.open_model(path)
