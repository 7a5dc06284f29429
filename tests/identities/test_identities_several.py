"""Several nets at once end where each would alone: exactly so with chance removed, as good with chance."""

from __future__ import annotations

from copy import deepcopy
from itertools import islice

import pytest
import torch
from machine import Machine

from wakesleep.foundation import cases, distributed
from wakesleep.foundation.errors import ConfigError, DataError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.judging import classify
from wakesleep.learning import backprop, cd, greedy, several
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.model import units
from wakesleep.model.dbn import DBN
from wakesleep.model.units import Bernoulli, Groups, Softmax

S, N = 3, 105
NO_CHAINS = ChainsConfig(share=0.0)
IMAGES = torch.randint(256, (N, 12), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(N) % 3
SOME_LABELS = torch.where(torch.arange(N) % 5 == 0, -1, LABELS)
TARGETS = torch.rand(N, 3, generator=generator(101))


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch):
    """States are the squares of their means, the likeliest label is drawn, and each net sees the cases in an order of its own.

    The one to call with the number of a net lets it see them alone in that order.
    """
    turn = {"nets": S, "next": 0}

    def order(labels, n, rng, weights=None):
        turn["next"] += 1
        return torch.arange(n).roll(-7 * ((turn["next"] - 1) % turn["nets"] + turn.get("net", 0)))

    def square(self, mean, rng, out=None):
        return mean.square() if out is None else out.copy_(mean.square())

    monkeypatch.setattr(cases, "order", order)
    for module in (cd, several, units):
        monkeypatch.setattr(module, "pick", lambda probs, rng: probs.argmax(-1))
    monkeypatch.setattr(units.Bernoulli, "sample", square)
    monkeypatch.setattr(units.Softmax, "sample", square)

    def alone(net):
        turn.update(nets=1, net=net)

    return alone


def nets(labels, sizes=(12, 9, 8)):
    return [DBN(sizes, labels=labels, rng=generator(seed), weight_std=0.5) for seed in range(S)]


def assert_alike(ours, alone):
    for number, (net, other) in enumerate(zip(ours, alone, strict=True)):
        for name, value in other.state_dict().items():
            far = float((net.state_dict()[name] - value).abs().max() / value.abs().max().clamp(min=1))
            assert far < 2e-5, (number, name, far)
    assert not torch.equal(*[torch.cat([value.flatten() for value in net.parameters()]) for net in ours[:2]])


CD = {
    "plain": {},
    "label not first": {"label_first": False},
    "K = 3, sampled": {"gibbs_steps": 3, "sample_visible": True},
    "no momentum": {"momentum": 0.0, "initial_momentum": 0.0},
    "decay": {"weight_decay": 0.05, "final_learning_rate": 0.01},
}


def assert_means(records, told) -> None:
    """Each record of all nets at once tells the means of what those of each net alone tell."""
    for at_once, *each in zip(records, *told, strict=True):
        assert at_once[:4] == each[0][:4]
        for key, value in at_once.metrics.items():
            assert value == pytest.approx(sum(one.metrics[key] for one in each) / S, rel=1e-4)


@pytest.mark.parametrize("labels", [None, LABELS, SOME_LABELS], ids=["none", "all", "some"])
@pytest.mark.parametrize("name", CD)
def test_pretrained_together_they_end_where_each_does_alone(name, labels, certain) -> None:
    layer = CDConfig(**{"passes": 3, "batch_size": 20, "learning_rate": 0.3, "initial_momentum_passes": 1, **CD[name]})
    config, count = GreedyConfig(layer, layer, chains=NO_CHAINS), 0 if labels is None else 3
    together, alone = nets(count), nets(count)
    records = list(several.pretrain(together, IMAGES, labels, config=config, rng=generator(0)))
    told = []
    for number, net in enumerate(alone):
        certain(number)
        told.append(list(greedy.epochs(net, IMAGES, labels, config=config, rng=generator(0))))
    assert_alike(together, alone)
    assert_means(records, told)


def test_a_net_of_one_layer_and_float_cases(certain) -> None:
    config = GreedyConfig(CDConfig(passes=0), CDConfig(passes=3, batch_size=20))
    together, alone = nets(0, (12, 9)), nets(0, (12, 9))
    images = cases.as_probs(IMAGES)
    list(several.pretrain(together, images, config=config, rng=generator(0)))
    for number, net in enumerate(alone):
        certain(number)
        list(greedy.epochs(net, images, config=config, rng=generator(0)))
    assert_alike(together, alone)


@pytest.mark.parametrize("options", [{}, {"sample_pixels": False, "weight_decay": 0.01, "momentum": 0.0}], ids=["plain", "decay"])
@pytest.mark.parametrize("labels", [LABELS, TARGETS], ids=["labels", "targets"])
def test_fine_tuned_together_they_end_where_each_does_alone(labels, options, certain) -> None:
    config = BackpropConfig(passes=3, batch_size=20, **options)
    together, alone = ([backprop.random_classifier((12, 9, 3), rng=generator(seed)) for seed in range(S)] for _ in range(2))
    records = list(several.finetune(together, IMAGES, labels, config=config, rng=generator(0)))
    told = []
    for number, net in enumerate(alone):
        certain(number)
        told.append(list(backprop.epochs(net, IMAGES, labels, config=config, rng=generator(0))))
    assert_alike(together, alone)
    assert_means(records, told)


@pytest.mark.parametrize("hidden", [Bernoulli(8), Bernoulli(5), Softmax(3), Groups((Bernoulli(2), Softmax(3)))], ids=str)
def test_units_of_several_layers_are_those_of_each(hidden) -> None:
    rng = generator(1)
    total_input, shifts = torch.randn(S, 4, hidden.size, generator=rng), torch.randn(S, 5, hidden.size, generator=rng)
    for act in (hidden.mean, hidden.log_partition):
        torch.testing.assert_close(act(total_input), torch.stack([act(one) for one in total_input]))
    expected = torch.stack([hidden.log_partition_shifts(one, each) for one, each in zip(total_input, shifts, strict=True)])
    torch.testing.assert_close(hidden.log_partition_shifts(total_input, shifts), expected)
    states = hidden.sample(hidden.mean(total_input), rng)
    assert states.shape == total_input.shape
    assert set(states.unique().tolist()) <= {0.0, 1.0}


def learn(kind, given, rng, state=None):
    if kind == "pretrain":
        layer = CDConfig(passes=2, batch_size=20)
        return several.pretrain(given, IMAGES, LABELS, config=GreedyConfig(layer, layer, chains=NO_CHAINS), rng=rng, state=state)
    return several.finetune(given, IMAGES, LABELS, config=BackpropConfig(passes=4, batch_size=20), rng=rng, state=state)


def some(kind, count=S):
    if kind == "pretrain":
        return [DBN((12, 9, 8), labels=3, rng=generator(seed)) for seed in range(count)]
    return [backprop.random_classifier((12, 9, 3), rng=generator(seed)) for seed in range(count)]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
@pytest.mark.parametrize("left_after", [1, 2, 3])
def test_they_go_on_to_the_same_bits(kind, left_after) -> None:
    whole, part, rng, second = some(kind), some(kind), generator(1), generator(1)
    list(learn(kind, whole, rng))
    *_, last = islice(learn(kind, part, second), left_after)
    later, state, saved = generator(0), deepcopy(last.state), deepcopy(part)
    later.set_state(second.get_state())
    list(learn(kind, saved, later, state))
    assert all(
        torch.equal(a, b) for one, two in zip(whole, saved, strict=True) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
    assert torch.equal(rng.get_state(), later.get_state())


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_captured_they_end_with_the_same_bits(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, captured, rngs = some(kind), some(kind), (generator(1), generator(1))
    list(learn(kind, plain, rngs[0]))
    machine = Machine.stands_in(monkeypatch)
    list(learn(kind, captured, rngs[1]))
    assert machine.told.count("replay") == 4 * (N // 20 - 3)
    for one, two in zip(plain, captured, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_nets_that_start_alike_go_their_own_ways(kind) -> None:
    one, two = (deepcopy(some(kind, 1)[0]) for _ in range(2))
    list(learn(kind, [one, two], generator(1)))
    assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True) if a.ndim == 2)


def test_on_the_digits_they_are_as_good_as_one_alone(digits) -> None:
    images, labels, test = digits.train.images, digits.train.labels, digits.test
    each = CDConfig(passes=8, batch_size=20, final_learning_rate=0.01)
    config, tune = (
        GreedyConfig(each, each, chains=NO_CHAINS),
        BackpropConfig(passes=5, batch_size=20, learning_rate=0.05, sample_pixels=False),
    )
    one, *rest = [DBN((64, 48, 64), labels=10, rng=generator(seed)) for seed in (0, 0, 1, 2)]
    list(greedy.epochs(one, images, labels, config=config, rng=generator(5)))
    list(several.pretrain(rest, images, labels, config=config, rng=generator(6)))
    errors = [classify.errors_and_loss(classify.log_probs(net, test.images), test.labels)[0] for net in (one, *rest)]
    assert errors[0] < 60, "of 355; the net alone has learned"
    assert max(errors[1:]) < errors[0] + 20
    tuned = [backprop.classifier(net, 10, rng=generator(0)) for net in (one, *rest)]
    list(backprop.epochs(tuned[0], images, labels, config=tune, rng=generator(7)))
    list(several.finetune(tuned[1:], images, labels, config=tune, rng=generator(8)))
    fewer = [classify.errors_and_loss(backprop.log_probs(net, test.images), test.labels)[0] for net in tuned]
    assert fewer[0] < 35
    assert max(fewer[1:]) < fewer[0] + 12


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_weights_that_run_away_are_noticed(kind) -> None:
    given = some(kind)
    with torch.no_grad():
        next(given[1].parameters())[0, 0] = float("nan")
    with pytest.raises(DivergedError, match="NaN"):
        next(learn(kind, given, generator(0)))


@pytest.mark.parametrize("options", [{"persistent": True}, {"centred": True}, {"sparsity_cost": 0.1}], ids=str)
def test_what_they_cannot_do_is_refused(options) -> None:
    for layer, memory in ((CDConfig(**options), CDConfig()), (CDConfig(), CDConfig(**options))):
        config = GreedyConfig(layer, memory, chains=NO_CHAINS)
        with pytest.raises(ConfigError, match="persistent=False, centred=False and sparsity_cost=0"):
            next(several.pretrain(nets(3), IMAGES, LABELS, config=config, rng=generator(0)))


def test_other_errors_say_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tune, rng = GreedyConfig(chains=NO_CHAINS), BackpropConfig(), generator(0)
    with pytest.raises(ConfigError, match="2 nets of 2 shapes"):
        next(several.pretrain([nets(3)[0], nets(0)[0]], IMAGES, LABELS, config=plain, rng=rng))
    with pytest.raises(ConfigError, match="0 nets"):
        next(several.finetune([], IMAGES, LABELS, config=tune, rng=rng))
    with pytest.raises(ConfigError, match="'cg'"):
        next(several.finetune(some("finetune"), IMAGES, LABELS, config=BackpropConfig(method="cg"), rng=rng))
    with pytest.raises(DataError, match="came without any"):
        list(several.pretrain(nets(3), IMAGES, config=GreedyConfig(CDConfig(passes=0), chains=NO_CHAINS), rng=rng))
    with pytest.raises(ConfigError, match="share=0"):
        list(several.pretrain(nets(3), IMAGES, LABELS, config=GreedyConfig(), rng=rng))
    with pytest.raises(DataError, match="divide by 255"):
        next(several.finetune(some("finetune"), IMAGES.float(), LABELS, config=tune, rng=rng))
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    for act in (learn("pretrain", nets(3), rng), learn("finetune", some("finetune"), rng)):
        with pytest.raises(ConfigError, match="2 ranks"):
            next(act)
