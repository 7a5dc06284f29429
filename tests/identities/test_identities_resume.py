"""A loop that was left after an epoch goes on as if it had never stopped, to the last bit; and no
loop touches the global generator.
"""

import json
from copy import deepcopy
from functools import partial
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file, save_file

from wakesleep.foundation.rng import generator
from wakesleep.learning import (
    backprop,
    cd,
    greedy,
    hybrid,
    robust,
    semi_supervised,
    strategies,
    up_down,
    wake_sleep,
)
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.chains import ChainsConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.semi_supervised import SemiSupervisedConfig
from wakesleep.learning.strategies import AutoencoderConfig, EvolutionConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.learning.wake_sleep import WakeSleepConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.helmholtz import Helmholtz
from wakesleep.models.rbm import RBM
from wakesleep.runs import tensor_files
from wakesleep.samplers import dreams

CASES = torch.randint(256, (50, 6), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(50) % 3
FEW = torch.where(torch.arange(50) < 6, LABELS, -1)


def make_cd(**options):
    config = CDConfig(
        epochs=4, batch_size=20, final_learning_rate=0.02, initial_momentum_epochs=1, **options
    )
    return lambda: RBM(6, 5, rng=generator(0)), lambda net, rng, state: cd.epochs(
        net, CASES, config=config, rng=rng, state=state
    )


def make_greedy(labels, given=LABELS):
    layer = CDConfig(epochs=2, batch_size=20, final_learning_rate=0.02)
    config = GreedyConfig(layer, CDConfig(epochs=2, batch_size=20, persistent=True))
    given = given if labels else None
    return (
        lambda: DBN((6, 5, 4, 7), labels=labels, rng=generator(0)),
        lambda net, rng, state: greedy.epochs(
            net, CASES, given, config=config, rng=rng, state=state
        ),
    )


def make_chains():
    layer = CDConfig(epochs=0)
    config = GreedyConfig(
        layer, CDConfig(epochs=4, batch_size=20), ChainsConfig(share=0.75, pool=2)
    )
    return (
        lambda: DBN((6, 5, 7), labels=3, rng=generator(0)),
        lambda net, rng, state: greedy.epochs(
            net, CASES, LABELS, config=config, rng=rng, state=state
        ),
    )


def make_backprop(**options):
    config = BackpropConfig(epochs=4, batch_size=20, cg_top_epochs=2, cg_batch_size=25, **options)
    return (
        lambda: backprop.random_classifier((6, 5, 3), rng=generator(0)),
        lambda net, rng, state: backprop.epochs(
            net, CASES, LABELS, config=config, rng=rng, state=state
        ),
    )


def make_up_down(learn):
    return (
        lambda: DBN((6, 5, 4, 7), labels=3, rng=generator(0)),
        lambda net, rng, state: learn(net, CASES, LABELS, rng=rng, state=state),
    )


UPDOWN = UpDownConfig(
    epochs=4, batch_size=20, gibbs_steps=(1, 2), persistent=0.5, chain_pool=2, average=2.0
)


def make_wake_sleep():
    config = WakeSleepConfig(epochs=4, batch_size=20)
    return lambda: Helmholtz(
        (6, 5, 4), rng=generator(0)
    ), lambda net, rng, state: wake_sleep.epochs(net, CASES, config=config, rng=rng, state=state)


def make_feed_forward(learn):
    return lambda: backprop.random_classifier(
        (6, 5, 4, 3), rng=generator(0)
    ), lambda net, rng, state: learn(net, rng=rng, state=state)


def make_robust(optimizer):
    config = RobustConfig(
        epochs=4,
        batch_size=4,
        optimizer=optimizer,
        learning_rate=0.01,
        dropout_hidden=0.3,
        vat_epsilon=0.5,
    )
    return make_feed_forward(partial(robust.epochs, images=CASES, labels=LABELS, config=config))


SEMI_SUPERVISED = SemiSupervisedConfig(epochs=4, batch_size=20, certainty=0.5, dropout_hidden=0.3)


LOOPS = {
    "cd": make_cd(),
    "pcd": make_cd(persistent=True),
    "tempered": make_cd(persistent=True, temperatures=3),
    "centred": make_cd(centred=True),
    "without momentum": make_cd(momentum=0.0, initial_momentum=0.0),
    "sparse": make_cd(sparsity_cost=0.1),
    "greedy": make_greedy(0),
    "greedy with labels": make_greedy(3),
    "greedy with few labels": make_greedy(3, FEW),
    "memory with chains": make_chains(),
    "sgd": make_backprop(),
    "conjugate gradient": make_backprop(method="cg"),
    "up-down": make_up_down(partial(up_down.epochs, config=UPDOWN)),
    "hybrid": make_up_down(partial(hybrid.epochs, config=HybridConfig(UPDOWN))),
    "wake-sleep": make_wake_sleep(),
    "robust sgd": make_robust("sgd"),
    "robust adam": make_robust("adam"),
    "semi-supervised": make_feed_forward(
        partial(semi_supervised.epochs, images=CASES, labels=FEW, config=SEMI_SUPERVISED)
    ),
    "evolution": make_feed_forward(
        partial(
            strategies.evolve,
            images=CASES,
            labels=LABELS,
            config=EvolutionConfig(epochs=4, batch_size=20),
        )
    ),
    "autoencoder": make_feed_forward(
        partial(
            strategies.autoencode, images=CASES, config=AutoencoderConfig(epochs=2, batch_size=20)
        )
    ),
}


def through_a_file(state, folder):
    """Return what a file knows of a state."""
    tensors, values = tensor_files.flatten(state.to_tensors())
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in tensors.items()},
        folder / "state.safetensors",
    )
    return tensor_files.unflatten(
        load_file(folder / "state.safetensors"), json.loads(json.dumps(values))
    )


@pytest.mark.parametrize("kept", ["as a copy", "in a file"])
@pytest.mark.parametrize("left_after", [1, 2, 3, 4])
@pytest.mark.parametrize("loop", LOOPS)
def test_resuming_is_bit_identical(loop, left_after, kept, tmp_path):
    make, epochs = LOOPS[loop]
    whole, rng = make(), generator(1)
    records = [(record.stage, record.epoch, record.metrics) for record in epochs(whole, rng, None)]
    part, second_rng = make(), generator(1)
    first = list(islice(epochs(part, second_rng, None), left_after))
    state = (
        deepcopy(first[-1].state)
        if kept == "as a copy"
        else through_a_file(first[-1].state, tmp_path)
    )
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
