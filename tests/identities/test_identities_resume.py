"""A loop that was left after a pass goes on as if it had never stopped, to the last bit; and no loop touches the global generator."""

from copy import deepcopy
from itertools import islice

import pytest
import torch

from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, cd, greedy
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.model.dbn import DBN
from wakesleep.model.rbm import RBM
from wakesleep.sampling import dreams

CASES = torch.randint(256, (50, 6), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(50) % 3


def make_cd(**options):
    config = CDConfig(passes=4, batch_size=20, final_learning_rate=0.02, initial_momentum_passes=1, **options)
    return lambda: RBM(6, 5, rng=generator(0)), lambda net, rng, state: cd.epochs(net, CASES, config=config, rng=rng, state=state)


def make_greedy(labels):
    layer = CDConfig(passes=2, batch_size=20, final_learning_rate=0.02)
    config = GreedyConfig(layer, CDConfig(passes=2, batch_size=20, persistent=True))
    given = LABELS if labels else None
    return (
        lambda: DBN((6, 5, 4, 7), labels=labels, rng=generator(0)),
        lambda net, rng, state: greedy.epochs(net, CASES, given, config=config, rng=rng, state=state),
    )


def make_chains():
    layer = CDConfig(passes=0)
    config = GreedyConfig(layer, CDConfig(passes=4, batch_size=20), ChainsConfig(share=0.75, pool=2))
    return (
        lambda: DBN((6, 5, 7), labels=3, rng=generator(0)),
        lambda net, rng, state: greedy.epochs(net, CASES, LABELS, config=config, rng=rng, state=state),
    )


def make_backprop(**options):
    config = BackpropConfig(passes=4, batch_size=20, cg_top_passes=2, cg_batch_size=25, **options)
    return (
        lambda: backprop.random_classifier((6, 5, 3), rng=generator(0)),
        lambda net, rng, state: backprop.epochs(net, CASES, LABELS, config=config, rng=rng, state=state),
    )


LOOPS = {
    "cd": make_cd(),
    "pcd": make_cd(persistent=True),
    "sparse": make_cd(sparsity_cost=0.1),
    "greedy": make_greedy(0),
    "greedy with labels": make_greedy(3),
    "memory with chains": make_chains(),
    "sgd": make_backprop(),
    "conjugate gradient": make_backprop(method="cg"),
}


@pytest.mark.parametrize("left_after", [1, 2, 3, 4])
@pytest.mark.parametrize("loop", LOOPS)
def test_resuming_is_bit_identical(loop, left_after):
    make, epochs = LOOPS[loop]
    whole, rng = make(), generator(1)
    records = [(record.stage, record.epoch, record.metrics) for record in epochs(whole, rng, None)]
    part, second_rng = make(), generator(1)
    first = list(islice(epochs(part, second_rng, None), left_after))
    state = deepcopy(first[-1].state)
    saved, standing = deepcopy(part), second_rng.get_state()
    later_rng = torch.Generator()
    later_rng.set_state(standing)
    rest = list(epochs(saved, later_rng, state))
    assert [(record.stage, record.epoch, record.metrics) for record in first + rest] == records
    assert len(records) == (6 if loop.startswith("greedy") else 4)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name]), name
    assert torch.equal(rng.get_state(), later_rng.get_state())


@pytest.mark.parametrize("loop", LOOPS)
def test_another_seed_gives_another_net(loop):
    make, epochs = LOOPS[loop]
    nets = [make() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        list(epochs(net, generator(seed), None))
    same, again, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


@pytest.mark.parametrize("loop", LOOPS)
def test_loops_leave_the_global_generator_alone(loop):
    make, epochs = LOOPS[loop]
    net = make()
    before = torch.get_rng_state()
    list(epochs(net, generator(1), None))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "act",
    [
        lambda: backprop.random_classifier((6, 5, 3), rng=generator(0)),
        lambda: backprop.classifier(DBN((6, 5), labels=3, rng=generator(0)), 3, rng=generator(0)),
        lambda: dreams.dream(DBN((6, 5), labels=3, rng=generator(0)), rng=generator(0), steps=2),
    ],
    ids=["random_classifier", "classifier", "dream"],
)
def test_making_nets_and_dreaming_leave_the_global_generator_alone(act):
    before = torch.get_rng_state()
    act()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_loop_yields_nothing_more():
    make, epochs = LOOPS["cd"]
    net = make()
    last = list(epochs(net, generator(1), None))[-1]
    assert list(epochs(net, generator(2), last.state)) == []
