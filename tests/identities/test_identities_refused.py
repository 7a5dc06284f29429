"""What cannot be meant is refused in words where it enters: states, settings and generators of
another kind, seeds, cases.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

import wakesleep as ws
from wakesleep.foundation.errors import CheckpointError, ConfigError, WakesleepError
from wakesleep.learning import chains, strategies
from wakesleep.learning.chains import ChainsConfig

CASES = torch.randint(2, (12, 6), generator=ws.generator(0)).float()
LABELS = torch.arange(12) % 3
PLAIN = ws.CDConfig(epochs=1, batch_size=4)
SETTINGS = {
    "plain": PLAIN,
    "persistent": replace(PLAIN, persistent=True),
    "tempered": replace(PLAIN, persistent=True, temperatures=3),
    "larger batches": replace(PLAIN, persistent=True, batch_size=6),
    "other temperatures": replace(PLAIN, persistent=True, temperatures=4),
    "sparse": replace(PLAIN, sparsity_cost=0.1),
    "centred": replace(PLAIN, centred=True),
    "no momentum": replace(PLAIN, momentum=0.0, initial_momentum=0.0),
}
MISFITS = [
    ("plain", "persistent", "chains of None came"),
    ("persistent", "plain", r"chains of shape \(4, 5\) came, expected None"),
    ("persistent", "tempered", r"expected shape \(3, 4, 6\)"),
    ("tempered", "persistent", r"chains of shape \(3, 4, 6\) came"),
    ("tempered", "other temperatures", r"expected shape \(4, 4, 6\)"),
    ("persistent", "larger batches", r"expected shape \(6, 5\)"),
    ("plain", "sparse", "activity of None came"),
    ("plain", "centred", "visible_mean of None came"),
    ("no momentum", "plain", "velocity of no parameters came"),
]


def machine():
    return ws.RBM(6, 5, rng=ws.generator(0))


def last(rbm, config, state=None):
    return list(ws.cd.epochs(rbm, CASES, config=config, rng=ws.generator(1), state=state))[-1]


@pytest.mark.parametrize("kept", ["as an object", "as tensors"])
@pytest.mark.parametrize(
    ("before", "now", "words"), MISFITS, ids=[f"{before}-{now}" for before, now, _ in MISFITS]
)
def test_a_state_of_other_settings_is_refused_in_words(before, now, words, kept):
    state = last(machine(), SETTINGS[before]).state
    rbm = machine()
    with pytest.raises(CheckpointError, match=words):
        last(rbm, SETTINGS[now], state if kept == "as an object" else state.to_tensors())
    assert torch.equal(rbm.weight, machine().weight)


@pytest.mark.parametrize(
    ("before", "now"),
    [("larger batches", "persistent"), ("plain", "no momentum"), ("centred", "centred")],
)
def test_a_state_that_the_settings_can_go_on_from_is_taken(before, now):
    state = replace(last(machine(), SETTINGS[before]).state, epoch=0)
    assert last(machine(), SETTINGS[now], state).epoch == 1


def test_a_record_a_state_of_another_machine_and_of_another_loop_are_refused():
    record = last(machine(), PLAIN)
    for state, words in (
        (record, "EpochResult came; .*give its `state`"),
        (
            last(ws.RBM(6, 4, rng=ws.generator(0)), PLAIN).state,
            r"hidden_bias \(4,\) came, expected "
            r"hidden_bias \(5,\)",
        ),
        (ws.backprop.BackpropState(), "BackpropState came; expected the CDState"),
    ):
        with pytest.raises(CheckpointError, match=words):
            last(machine(), PLAIN, state)


def dbn(top=4):
    return ws.DBN((6, 5, top), labels=3, rng=ws.generator(0))


def net(middle=4):
    return ws.backprop.random_classifier((6, middle, 3), rng=ws.generator(0))


UPDOWN = ws.UpDownConfig(epochs=1, batch_size=10, persistent=0.5, chain_pool=2)
ROBUST = ws.RobustConfig(epochs=1, batch_size=4, vat_epsilon=0.5)
GREEDY = ws.GreedyConfig(PLAIN, PLAIN)
LOOPS = {
    "cd": (machine, ws.cd.epochs, PLAIN, False),
    "greedy": (dbn, ws.greedy.epochs, GREEDY, True),
    "chunk": (dbn, ws.greedy.chunk, GREEDY, True),
    "up-down": (dbn, ws.up_down.epochs, UPDOWN, True),
    "hybrid": (dbn, ws.hybrid.epochs, ws.HybridConfig(UPDOWN), True),
    "backprop": (net, ws.backprop.epochs, ws.BackpropConfig(epochs=1, batch_size=4), True),
    "robust": (net, ws.robust.epochs, ROBUST, True),
    "semi-supervised": (
        net,
        ws.semi_supervised.epochs,
        ws.SemiSupervisedConfig(epochs=1, batch_size=4),
        True,
    ),
    "evolution": (net, strategies.evolve, strategies.EvolutionConfig(epochs=1, batch_size=4), True),
    "autoencoder": (
        net,
        strategies.autoencode,
        strategies.AutoencoderConfig(epochs=1, batch_size=4),
        False,
    ),
    "wake-sleep": (
        lambda: ws.Helmholtz((6, 4), rng=ws.generator(0)),
        ws.wake_sleep.epochs,
        ws.WakeSleepConfig(epochs=1),
        False,
    ),
}


def learned(loop, **settings):
    make, epochs, config, labelled = LOOPS[loop]
    return list(
        epochs(
            make(),
            CASES,
            *([LABELS] if labelled else []),
            **{"config": config, "rng": ws.generator(1), **settings},
        )
    )


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["none", "dictionary", "class", "another", "number"])
def test_settings_of_another_kind_are_refused_in_words(loop, kind):
    config = LOOPS[loop][2]
    another = ws.WakeSleepConfig() if loop != "wake-sleep" else PLAIN
    wrong = {
        "none": None,
        "dictionary": {"epochs": 1},
        "class": type(config),
        "another": another,
        "number": 3,
    }[kind]
    with pytest.raises(ConfigError, match=f"expected a {type(config).__name__}"):
        learned(loop, config=wrong)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("rng", [None, 0, np.random.default_rng(0)], ids=["none", "seed", "numpy"])
def test_a_loop_refuses_what_is_no_generator(loop, rng):
    with pytest.raises(ConfigError, match=r"expected a torch\.Generator"):
        learned(loop, rng=rng)


@pytest.mark.parametrize(
    ("loop", "config"), [("up-down", UPDOWN), ("hybrid", ws.HybridConfig(UPDOWN))]
)
@pytest.mark.parametrize(
    "change",
    [
        {"persistent": 0.0},
        {"batch_size": 20},
        {"chain_pool": 3},
        {"hold_labels": False},
        {"average": 0.0},
    ],
    ids=str,
)
def test_a_state_of_contrastive_wake_sleep_fits_its_settings(loop, config, change):
    state = learned(loop)[-1].state
    other = replace(UPDOWN, **change)
    with pytest.raises(CheckpointError, match="came, expected"):
        learned(loop, state=state, config=other if loop == "up-down" else ws.HybridConfig(other))


@pytest.mark.parametrize(
    "loop",
    [
        "backprop",
        "robust",
        "semi-supervised",
        "evolution",
        "up-down",
        "hybrid",
        "greedy",
        "wake-sleep",
    ],
)
def test_no_loop_goes_on_from_the_state_of_another_net_or_loop(loop):
    make, epochs, config, labelled = LOOPS[loop]
    given = [LABELS] if labelled else []
    larger = ws.Helmholtz((6, 7), rng=ws.generator(0)) if loop == "wake-sleep" else make(7)
    *_, record = epochs(larger, CASES, *given, config=config, rng=ws.generator(1))
    states = [record.state, last(machine(), SETTINGS["persistent"]).state, record]
    for state in states:
        with pytest.raises(CheckpointError):
            learned(
                loop,
                state=replace(state, epoch=0)
                if loop == "evolution" and state is record.state
                else state,
            )


def test_the_optimizer_of_a_state_is_that_of_the_settings():
    state = learned("robust", config=replace(ROBUST, optimizer="adam"))[-1].state
    with pytest.raises(CheckpointError, match="exp_avg"):
        learned("robust", state=state, config=replace(ROBUST, optimizer="sgd"))
    with pytest.raises(CheckpointError, match="mean"):
        learned("robust", state=state, config=replace(ROBUST, optimizer="adam", mean_epochs=0.0))


def test_a_greedy_state_of_a_layer_that_the_net_has_not_is_refused():
    with pytest.raises(CheckpointError, match="layer 5, and this net has layers 0 to 1"):
        learned("greedy", state=ws.greedy.GreedyState(5))


def test_a_memory_with_chains_goes_on_with_its_own_pool():
    memory, config = replace(PLAIN, epochs=2), ChainsConfig(share=1.0, pool=2, persistent=0.5)
    cases = torch.cat([CASES[:, :5], torch.eye(3)[LABELS]], 1)

    def go(state, config):
        return list(
            chains.epochs(
                dbn().memory, cases, config=config, memory=memory, rng=ws.generator(1), state=state
            )
        )

    state = go(ws.cd.init_state(dbn().memory, memory, ws.generator(0)), config)[0].state
    assert len(go(replace(state, epoch=1), config)) == 1
    for change in ({"pool": 3}, {"persistent": 1.0}, {"average": 0.0}):
        with pytest.raises(CheckpointError, match="came, expected"):
            go(replace(state, epoch=1), replace(config, **change))


@pytest.mark.parametrize(("before", "now"), [(before, now) for before, now, _ in MISFITS])
def test_chunks_go_on_with_other_settings_and_start_anew_what_does_not_fit(before, now):
    net = dbn()
    configs = [ws.GreedyConfig(SETTINGS[name], SETTINGS[name]) for name in (before, now)]
    states = None
    for config in configs:
        states = ws.greedy.chunk(
            net, CASES, LABELS, config=config, rng=ws.generator(1), states=states
        )
    fresh = ws.cd.init_state(net.rbm(0), SETTINGS[now], ws.generator(0))
    assert set(states[0].to_tensors()) == set(fresh.to_tensors())


def test_a_chunk_goes_on_after_pretraining_with_chains():
    net, config = (
        dbn(),
        ws.GreedyConfig(PLAIN, replace(PLAIN, epochs=3), ChainsConfig(share=1.0, pool=2)),
    )
    *_, record = ws.greedy.epochs(net, CASES, LABELS, config=config, rng=ws.generator(1))
    states = {1: deepcopy(record.state.inner)}
    ws.greedy.chunk(
        net, CASES, LABELS, config=config, rng=ws.generator(1), layers=[1], states=states
    )
    assert issubclass(CheckpointError, WakesleepError)


@pytest.mark.parametrize("seed", [1.5, "1", None, True, [1], 2**64], ids=repr)
def test_a_seed_that_is_no_whole_number_is_refused_in_words(seed):
    with pytest.raises(ConfigError, match=r"seed = .*expected a whole number"):
        ws.generator(seed)


@pytest.mark.parametrize("seed", [np.int64(1), np.uint8(1), torch.tensor(1), np.array(1)], ids=repr)
def test_whole_numbers_of_any_library_are_seeds(seed):
    assert torch.equal(ws.generator(seed).get_state(), ws.generator(1).get_state())


@pytest.mark.parametrize("device", ["gpu", None, 0, "cuda:99"], ids=repr)
def test_a_device_that_is_not_there_is_refused_in_words(device, tmp_path):
    ws.save(machine(), tmp_path / "rbm.safetensors")
    for act in (
        lambda: ws.generator(0, device),
        lambda: ws.load(tmp_path / "rbm.safetensors", device),
    ):
        with pytest.raises(ConfigError, match=r"device = .*expected 'cpu'"):
            act()


LOOK = {
    "features": lambda cases: ws.greedy.features(dbn(), cases, 1),
    "no layers": lambda cases: ws.greedy.features(dbn(), cases, 0),
    "memory_cases": lambda cases: ws.greedy.memory_cases(dbn(), cases, LABELS),
    "free_energy_gap": lambda cases: ws.monitor.free_energy_gap(machine(), CASES, cases),
    "training cases": lambda cases: ws.monitor.free_energy_gap(machine(), cases, CASES),
    "measure": lambda cases: ws.monitor.measure(machine(), cases, None, rng=ws.generator(0)),
    "pseudo_log_likelihood": lambda cases: ws.monitor.pseudo_log_likelihood(
        machine(), cases, ws.generator(0)
    ),
}


@pytest.mark.parametrize("look", LOOK)
def test_what_looks_at_cases_checks_them_as_loops_do(look):
    for wrong in (
        CASES.to(torch.uint8),
        CASES * 7,
        CASES - 2,
        CASES * float("nan"),
        CASES[:, :5],
        CASES[0],
        None,
    ):
        with pytest.raises(ws.WakesleepError):
            LOOK[look](wrong)
    mended = [LOOK[look](cases) for cases in (CASES, CASES.numpy(), CASES.bool())]
    assert str(mended[0]) == str(mended[1])


@pytest.mark.parametrize("layers", [-1, 2, 1.5])
def test_features_of_layers_that_the_net_has_not_are_refused(layers):
    with pytest.raises(ConfigError, match="layers = "):
        ws.greedy.features(dbn(), CASES, layers)


NONSENSE = {
    "start": lambda: ws.backprop.classifier(dbn(), 3, rng=ws.generator(0), start="x"),
    "classes": lambda: ws.backprop.classifier(dbn(), 3.5, rng=ws.generator(0), start="small"),
    "no classes": lambda: ws.backprop.classifier(dbn(), 0, rng=ws.generator(0), start="small"),
    "one size": lambda: ws.backprop.random_classifier((5,), rng=ws.generator(0)),
    "labels in a column": lambda: ws.classify.count_errors(LABELS, LABELS[:, None]),
    "no generator": lambda: ws.gibbs.gibbs_step(machine(), CASES[:, :5], None),
    "most confused": lambda: ws.interpretation.most_confused(torch.zeros(12, 3), LABELS, -1),
    "names": lambda: ws.save(dbn(), "never written", classes=["x"]),
    "a shape": lambda: ws.save(dbn(), "never written", shape=(9, 9)),
    "no path": lambda: ws.save(dbn(), None),
    "no path to load": lambda: ws.load(None),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_what_cannot_be_meant_is_refused_in_words(what):
    with pytest.raises(ws.WakesleepError):
        NONSENSE[what]()


def test_a_bound_of_one_sample_has_no_known_error():
    bound = ws.bound.lower_bound(dbn(), CASES, 0.0, rng=ws.generator(0), samples=1)
    assert bool(bound.error.isnan().all())
    exact = ws.bound.lower_bound(
        ws.DBN((6, 4), rng=ws.generator(0)), CASES, 0.0, rng=ws.generator(0)
    )
    assert not bool(exact.error.any())
