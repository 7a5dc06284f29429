"""Learning works: likelihood goes up, sparsity bites, biases start at the base rates, divergence is
told.
"""

import pytest
import torch
from exact import mean_log_likelihood, states

from wakesleep.compute import random_bits
from wakesleep.foundation.errors import ConfigError, DataError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import check_finite
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical, Groups


def bars_and_stripes():
    """Return the 14 pictures of 3 x 3 whose rows, or whose columns, are all alike: (14, 9)."""
    lines = states(Bernoulli(3)).float()
    rows = lines[:, :, None].expand(-1, -1, 3).reshape(-1, 9)
    columns = lines[:, None, :].expand(-1, 3, -1).reshape(-1, 9)
    return torch.cat([rows, columns]).unique(dim=0)


def test_pcd_learns_the_distribution_of_bars_and_stripes():
    cases = bars_and_stripes()
    assert len(cases) == 14
    rbm = RBM(9, 12, rng=generator(0))
    cd.init_visible_bias(rbm, cases)
    weight = rbm.weight.clone()
    rbm.weight.zero_()
    base = float(mean_log_likelihood(rbm, cases))
    rbm.weight.copy_(weight)
    config = CDConfig(
        epochs=400,
        batch_size=70,
        learning_rate=0.1,
        final_learning_rate=0.01,
        persistent=True,
        gibbs_steps=2,
        weight_decay=1e-4,
        momentum=0.5,
    )
    for record in cd.epochs(rbm, cases.repeat(20, 1), config=config, rng=generator(1)):
        assert "reconstruction_error" not in record.metrics
    learned, best = float(mean_log_likelihood(rbm, cases)), -(torch.tensor(14.0).log().item())
    assert base == pytest.approx(-6.238, abs=0.01)
    assert best - 0.9 < learned <= best + 1e-4


def test_cd_with_labels_learns_what_goes_with_which():
    pictures = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
    cases = torch.cat([pictures, torch.eye(3)], 1).repeat(20, 1)
    rbm = RBM(Groups(features=Bernoulli(4), label=Categorical(3)), 8, rng=generator(0))
    before = float(mean_log_likelihood(rbm, cases))
    errors = [
        r.metrics["reconstruction_error"]
        for r in cd.epochs(rbm, cases, config=CDConfig(epochs=150, batch_size=20), rng=generator(1))
    ]
    assert before < -3.5
    assert float(mean_log_likelihood(rbm, cases)) > -1.5
    assert errors[-1] < 0.3 * errors[0]


def mean_activity(cost):
    cases = torch.rand(200, 8, generator=generator(0)).round()
    rbm = RBM(8, 6, rng=generator(1))
    config = CDConfig(
        epochs=100,
        batch_size=50,
        sparsity_cost=cost,
        sparsity_target=0.15,
        initial_momentum=0.0,
        momentum=0.0,
    )
    list(cd.epochs(rbm, cases, config=config, rng=generator(2)))
    return rbm.hidden_probs(cases).mean(0)


def test_sparsity_moves_activity_to_its_target():
    free, held = mean_activity(0.0), mean_activity(1.0)
    assert float((free - 0.15).abs().mean()) > 0.2
    assert float((held - 0.15).abs().max()) < 0.05


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_base_rates_are_smoothed_log_odds(kind):
    cases = torch.tensor([[1, 0, 1], [1, 0, 0], [1, 0, 1]], dtype=torch.float32)
    rbm = RBM(3, 2, rng=generator(0))
    cd.init_visible_bias(rbm, cases if kind == torch.float32 else (cases * 255).to(torch.uint8))
    p = torch.tensor([4 / 5, 1 / 5, 3 / 5])
    torch.testing.assert_close(rbm.visible_bias.detach(), torch.log(p / (1 - p)))
    assert not rbm.hidden_bias.any()


@pytest.mark.parametrize("by", ["set", "chunk"])
def test_weights_count_in_the_base_rates(by):
    """Weights 3, 1, 2, 2 begin where the cases repeated so often begin, but for as many added
    cases; no rate, so biases stay there.
    """
    cases, weights = (
        (torch.rand(4, 6, generator=generator(0)) * 255).to(torch.uint8),
        torch.tensor([3.0, 1.0, 2.0, 2.0], dtype=torch.float64),
    )
    config = GreedyConfig(
        *2
        * [
            CDConfig(
                epochs=0 if by == "set" else 1,
                batch_size=4,
                learning_rate=1e-9,
                final_learning_rate=1e-9,
            )
        ]
    )
    dbn, rng = DBN((6, 5, 4), rng=generator(1)), generator(2)
    if by == "set":
        list(greedy.epochs(dbn, cases, config=config, rng=rng, weights=weights))
    else:
        greedy.chunk(dbn, cases, config=config, rng=rng, weights=weights)
    mean = (cases.double() / 255 * weights[:, None]).sum(0) / weights.sum()
    p = (4 * mean + 1) / (4 + 2)
    torch.testing.assert_close(
        dbn.rbm(0).visible_bias, (p.log() - (1 - p).log()).float(), rtol=1e-4, atol=1e-4
    )


def test_greedy_layers_learn_from_the_probabilities_below():
    images = torch.rand(30, 6, generator=generator(0))
    labels = torch.arange(30) % 3
    dbn = DBN((6, 5, 4, 7), labels=3, rng=generator(1))
    torch.testing.assert_close(greedy.features(dbn, images, 2), dbn.up(images)[2])
    assert torch.equal(greedy.features(dbn, images, 0), images)
    cases = greedy.memory_cases(dbn, images, labels)
    torch.testing.assert_close(cases[:, :4], dbn.up(images)[2])
    assert torch.equal(cases[:, 4:].argmax(1), labels)
    assert bool((cases[:, 4:].sum(1) == 1).all())
    for labels_given in (None, labels[:5], labels + 1, labels - 1):
        with pytest.raises(DataError, match=r"label"):
            greedy.memory_cases(dbn, images, labels_given)


def test_greedy_touches_one_layer_at_a_time_and_starts_each_at_its_base_rates():
    images = torch.rand(40, 6, generator=generator(0)).round()
    dbn = DBN((6, 5, 4, 7), labels=3, rng=generator(1))
    groups = [list(dbn.rbm(layer).parameters()) for layer in range(3)]
    config = GreedyConfig(
        CDConfig(epochs=2, batch_size=20),
        CDConfig(epochs=1, batch_size=20, learning_rate=1e-12, final_learning_rate=1e-12),
    )
    before = [[p.clone() for p in group] for group in groups]
    stages = []
    for record in greedy.epochs(dbn, images, torch.arange(40) % 3, config=config, rng=generator(2)):
        stages.append((record.stage, record.epoch))
        now = record.state.layer
        for layer, group in enumerate(groups):
            same = [torch.equal(p, q) for p, q in zip(group, before[layer], strict=True)]
            # its visible biases move, in the memory to the base rates alone
            assert not same[1] if layer == now else all(same)
            assert not same[0] or layer != now or record.stage == "memory"
        before = [[p.clone() for p in group] for group in groups]
    assert stages == [("layer 1", 1), ("layer 1", 2), ("layer 2", 1), ("layer 2", 2), ("memory", 1)]
    mean = greedy.memory_cases(dbn, images, torch.arange(40) % 3).double().sum(0).add(1) / 42
    features, shares = mean[:4], mean[4:] / mean[4:].sum()
    torch.testing.assert_close(
        dbn.memory.visible_bias[:4].double(),
        torch.log(features / (1 - features)),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(
        dbn.memory.visible_bias[4:].double(), torch.log(shares), rtol=1e-4, atol=1e-5
    )


def test_label_columns_start_at_the_logarithms_of_their_shares():
    """Of a machine whose weights are 0, the labels are then as frequent as in the cases: 17, 2 and
    1 of 20, one more of each.
    """
    labels = torch.tensor([0] * 17 + [1] * 2 + [2])
    cases = torch.cat([torch.rand(20, 4, generator=generator(0)).round(), torch.eye(3)[labels]], 1)
    rbm = RBM(
        Groups(features=Bernoulli(4), label=Categorical(3)), 5, rng=generator(1), weight_std=0.0
    )
    cd.init_visible_bias(rbm, cases)
    every = states(rbm.visible).float()
    p = torch.softmax(-rbm.free_energy(every), 0)
    torch.testing.assert_close(
        p @ every, torch.cat([(cases[:, :4].sum(0) + 1) / 22, torch.tensor([18.0, 3.0, 2.0]) / 23])
    )


def test_values_beyond_the_range_leave_base_rates_finite():
    rbm = RBM(3, 2, rng=generator(0))
    cd.init_visible_bias(rbm, torch.tensor([[3.0, -2.0, 0.5], [2.0, -1.0, 0.5]]))
    torch.testing.assert_close(
        rbm.visible_bias.detach(), torch.logit(torch.tensor([3 / 4, 1 / 4, 1 / 2]))
    )


@pytest.mark.parametrize(
    ("labels", "persistent"),
    [(0, False), (0, True), (3, False), (3, True)],
)
def test_divergence_of_cd_is_told_with_advice(labels, persistent):
    visible = Groups(features=Bernoulli(4), label=Categorical(labels)) if labels else 4
    cases = torch.rand(40, 4, generator=generator(0))
    if labels:
        cases = torch.cat([cases, torch.eye(labels)[torch.arange(40) % labels]], 1)
    rate = 1e30
    config = CDConfig(
        epochs=20,
        batch_size=10,
        learning_rate=rate,
        final_learning_rate=rate,
        persistent=persistent,
    )
    with pytest.raises(DivergedError, match=r"learning rate .* Try a third"):
        list(cd.epochs(RBM(visible, 3, rng=generator(1)), cases, config=config, rng=generator(2)))


def test_divergence_of_backprop_is_told_with_advice():
    images = torch.rand(40, 4, generator=generator(0))
    rate = 1e39
    config = BackpropConfig(
        epochs=20, batch_size=10, learning_rate=rate, final_learning_rate=rate, sample_pixels=False
    )
    net = backprop.random_classifier((4, 3, 2), rng=generator(1))
    with pytest.raises(DivergedError, match=r"learning rate .* Try a third"):
        list(backprop.epochs(net, images, torch.arange(40) % 2, config=config, rng=generator(2)))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_pixels_that_are_no_probabilities_are_not_sampled(value):
    images = torch.rand(40, 4, generator=generator(0))
    images[7, 2] = value
    net = backprop.random_classifier((4, 3, 2), rng=generator(1))
    with pytest.raises(DataError, match="sample_pixels"):
        next(
            backprop.epochs(
                net,
                images,
                torch.arange(40) % 2,
                config=BackpropConfig(),
                rng=generator(2),
                checked=True,
            )
        )


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_one_weight_that_is_not_finite_is_enough(value):
    weight = torch.zeros(3, 3)
    check_finite({"weight": weight}, 0.1)
    weight[1, 2] = value
    with pytest.raises(DivergedError, match=r"the weight went .* \(0\.1\)"):
        check_finite({"bias": torch.zeros(3), "weight": weight}, 0.1)


NAN = float("nan")
BAD_CD = [
    *[("epochs", value) for value in (-1,)],
    *[("batch_size", value) for value in (0, -5)],
    *[
        (name, value)
        for name in ("learning_rate", "final_learning_rate")
        for value in (0, -0.1, NAN)
    ],
    *[(name, value) for name in ("momentum", "initial_momentum") for value in (-0.1, 1, 1.5, NAN)],
    *[(name, value) for name in ("weight_decay", "sparsity_cost") for value in (-1e-4, NAN)],
    *[("gibbs_steps", value) for value in (0, -1)],
    *[("sparsity_target", value) for value in (0, 1, -0.2, NAN)],
]
BAD_BACKPROP = [
    ("epochs", -1),
    ("method", "adam"),
    ("batch_size", 0),
    *[("learning_rate", value) for value in (0, -0.1, NAN)],
    *[("final_learning_rate", value) for value in (-0.1, NAN)],
    *[("momentum", value) for value in (-0.1, 1, NAN)],
    *[("weight_decay", value) for value in (-1e-4, NAN)],
    ("cg_batch_size", 0),
    ("cg_line_searches", 0),
    ("cg_top_epochs", -1),
]


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [(CDConfig, *bad) for bad in BAD_CD] + [(BackpropConfig, *bad) for bad in BAD_BACKPROP],
    ids=str,
)
def test_each_bad_setting_is_refused_by_name_and_value(config, name, value):
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    assert str(caught.value).startswith(f"{name} = {value!r}: expected")


@pytest.mark.parametrize("config", [CDConfig, BackpropConfig])
def test_defaults_and_edges_are_good(config):
    config()
    config(epochs=0, momentum=0, weight_decay=0, batch_size=1)


def test_sixteen_random_bits_favour_no_probability():
    mean = torch.full((4096,), 0.3 / 65536)
    rng = generator(0)
    below = [
        float((random_bits.random_offset(rng) + 65536 * mean[0]).ceil()) + 32768
        for _ in range(3000)
    ]  # how many of the 65536 numbers lie below
    assert set(below) == {0.0, 1.0}
    assert abs(sum(below) / 3000 - 0.3) < 0.03
    states = Bernoulli(4096).sample_from_mean(torch.tensor([0.0, 1.0]).repeat(2048), generator(1))
    assert torch.equal(states, torch.tensor([0.0, 1.0]).repeat(2048))
