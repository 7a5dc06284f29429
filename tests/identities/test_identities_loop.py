"""The one loop: what it asks of an algorithm, running means by hand, sources that are the same
cases, and states that files keep.
"""

import json
from dataclasses import MISSING, fields, replace
from typing import get_type_hints

import pytest
import torch
from exact import assert_same_state
from safetensors.torch import load_file, save_file
from torch import nn

from wakesleep.foundation.errors import CheckpointError, ConfigError, DivergedError
from wakesleep.foundation.rng import generator
from wakesleep.learning import (
    backprop,
    cd,
    chains,
    greedy,
    loop,
    robust,
    strategies,
    up_down,
    wake_sleep,
)
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.learning.chains import ChainsConfig, MemoryState
from wakesleep.learning.state import EpochState, RunningMean, State
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import tensor_files
from wakesleep.sources.minibatches import Resident, Streamed

CASES = torch.randint(256, (50, 6), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(50) % 3


class Chunks:
    """What `Streamed` asks of shards: cases in chunks of at most `size`, in their own order."""

    def __init__(self, size, images=CASES, labels=LABELS):
        self.images, self.labels, self.size = images, labels, size

    def __len__(self):
        return len(self.images)

    def chunks(self, rng):
        yield from zip(self.images.split(self.size), self.labels.split(self.size), strict=True)


def streamed(size, images=CASES, **given):
    return Streamed(
        Chunks(size, images),
        torch.device("cpu"),
        lambda images, labels: Resident(images, labels, classes=labels, **given),
    )


class Adding(loop.Algorithm):
    """Adds to its only weight, 0 at first, the numbers 1, 2, 3, ..., and notes what it was
    asked.
    """

    def __init__(self, state=None, last=torch.inf):
        self.net = nn.Linear(1, 1, bias=False)
        self.net.weight.data.zero_()
        self.net.requires_grad_(False)
        self.state, self.last, self.done, self.told = state or EpochState(), last, 0, []

    def begin_epoch(self, epoch):
        self.told.append(("epoch", epoch))
        return (0.5,)

    def begin_chunk(self, cases):
        self.told.append(("chunk", len(cases)))

    def step(self, cases, *batch):
        (index,) = batch
        self.told.append(len(index))
        self.done += 1
        self.net.weight += self.done if self.done <= self.last else torch.nan

    def end_epoch(self, cases):
        return {"cases": float(cases)}


def run(algorithm, source, *, epochs=2, **given):
    return loop.run(
        algorithm, source, epochs=epochs, batch_size=20, rng=generator(0), stage="adding", **given
    )


def test_an_epoch_is_all_minibatches_of_all_chunks_and_then_a_record():
    algorithm = Adding()
    records = list(run(algorithm, streamed(30)))
    each = [("chunk", 30), 20, 10, ("chunk", 20), 20]
    assert algorithm.told == [("epoch", 0), *each, ("epoch", 1), *each]
    assert [record[:5] for record in records] == [
        ("adding", epoch, 2, 50, {"cases": 50.0}) for epoch in (1, 2)
    ]
    assert [record.state.epoch for record in records] == [1, 2]
    assert float(algorithm.net.weight) == sum(range(1, 7))


def test_epochs_that_are_done_are_not_done_again():
    algorithm = Adding(EpochState(epoch=2))
    assert [record.epoch for record in run(algorithm, Resident(CASES), epochs=3)] == [3]
    assert algorithm.told[0] == ("epoch", 2)
    assert list(run(Adding(EpochState(epoch=3)), Resident(CASES), epochs=3)) == []


@pytest.mark.parametrize("after", [0, 2, 4])
def test_weights_that_are_not_finite_end_the_loop_before_the_record(after):
    algorithm, records = Adding(last=after), []
    with pytest.raises(
        DivergedError,
        match=r"weight went to NaN or infinity; the learning "
        r"rate \(0\.5\)",
    ):
        records.extend(record.epoch for record in run(algorithm, Resident(CASES)))
    assert algorithm.state.epoch == after // 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_low_precision_are_told_to_learn_in_a_higher_one(dtype):
    algorithm = Adding()
    algorithm.net.to(dtype)
    with pytest.raises(ConfigError, match=f"a Linear of {dtype} is to learn: expected float32"):
        list(run(algorithm, Resident(CASES)))
    rbm = RBM(6, 4, rng=generator(0)).to(dtype)
    with pytest.raises(ConfigError, match="expected float32 or float64"):
        list(cd.epochs(rbm, CASES, config=CDConfig(epochs=1), rng=generator(0)))


class Averaged(Adding):
    """The same with a running mean."""

    def __init__(self):
        super().__init__()
        self.state = robust.RobustState(mean=RunningMean.start(self.net))


@pytest.mark.parametrize("chunk", [50, 20])
@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("epochs", [0.5, 1.0, 10.0])
def test_between_epochs_the_net_holds_the_running_mean_by_hand(epochs, every, chunk):
    """Three updates an epoch, so the weights are 1, 3, 6 and 10, 15, 21; the mean looks at each
    `every`-th and at the last of an epoch.
    """
    algorithm, horizon = Averaged(), epochs * 2.5
    weights, mean, waiting = [1, 3, 6, 10, 15, 21, 28, 36, 45], 0.0, 0
    records = run(algorithm, streamed(chunk), epochs=3, mean_epochs=epochs, mean_every=every)
    for number, weight in enumerate(weights, 1):
        waiting += 1
        if waiting == every or number % 3 == 0:
            mean += (weight - mean) * waiting / min(number, max(horizon, waiting))
            waiting = 0
        if number % 3 == 0:
            state = next(records).state
            assert float(algorithm.net.weight) == pytest.approx(mean, rel=1e-6)
            assert float(state.mean.mean["weight"]) == weight, (
                "the weights that learn wait in the state"
            )
            assert (state.mean.updates, state.mean.averaged) == (number, number)


# ------------------------------------------------------------------------------
# sources


def learn_cd(config):
    return lambda net, source, rng: cd.learn(net.memory, source, config, rng, None, "cd", None)


def learn_chains(net, source, rng):
    memory = CDConfig(epochs=3, batch_size=20)
    state = cd.init_state(net.memory, memory, rng)
    return chains.learn(
        net.memory,
        source,
        config=ChainsConfig(share=1.0, pool=2),
        memory=memory,
        rng=rng,
        state=state,
    )


@pytest.mark.parametrize(
    "learn",
    [
        learn_cd(CDConfig(epochs=3, batch_size=20)),
        learn_cd(CDConfig(epochs=3, batch_size=20, persistent=True)),
        learn_chains,
    ],
    ids=["cd", "pcd", "chains"],
)
def test_one_chunk_of_a_stream_is_the_cases_in_memory(learn):
    cases = torch.cat([torch.rand(50, 6, generator=generator(1)).round(), torch.eye(3)[LABELS]], 1)
    nets, records = [DBN((6, 5), labels=3, rng=generator(0)) for _ in range(2)], []
    for net, source in zip(
        nets, (Resident(cases, LABELS, classes=LABELS), streamed(50, cases)), strict=True
    ):
        records.append(list(learn(net, source, generator(2))))
    assert all(
        torch.equal(one, other)
        for one, other in zip(*(net.parameters() for net in nets), strict=True)
    )
    for one, other in zip(*records, strict=True):
        assert one[:5] == other[:5]
        assert_same_state(one.state, other.state)


@pytest.mark.parametrize("method", ["sgd", "cg"])
def test_one_chunk_of_a_stream_is_what_backpropagation_has_in_memory(method, monkeypatch):
    config = BackpropConfig(epochs=3, batch_size=20, method=method, cg_batch_size=25)
    nets = [backprop.random_classifier((6, 5, 3), rng=generator(0)) for _ in range(2)]
    monkeypatch.setattr(backprop, "Shards", Chunks)
    told = []
    for net, images, labels in ((nets[0], CASES, LABELS), (nets[1], Chunks(50), None)):
        told.append(
            [
                record[:5]
                for record in backprop.epochs(net, images, labels, config=config, rng=generator(2))
            ]
        )
    assert told[0] == told[1]
    assert all(
        torch.equal(one, other)
        for one, other in zip(*(net.parameters() for net in nets), strict=True)
    )


def test_metrics_over_chunks_are_those_of_all_cases():
    """Weights that hardly move reconstruct every case alike, whatever its chunk; chunks of 30 and
    20 count by their cases.
    """
    config = CDConfig(
        epochs=1, batch_size=10, learning_rate=1e-12, final_learning_rate=1e-12, gibbs_steps=1
    )
    rbm = RBM(6, 1, rng=generator(0), weight_std=0.0)
    (record,) = cd.learn(rbm, streamed(30), config, generator(1), None, "cd", None)
    expected = (CASES.double() / 255 - 0.5).square().mean()
    assert record.metrics["reconstruction_error"] == pytest.approx(float(expected), rel=1e-5)
    assert record.cases == 50


def test_a_memory_that_streams_keeps_one_running_mean_over_an_epoch():
    """The mean takes in what was learned from all chunks; each chunk goes on from the weights that
    learn.
    """
    cases = torch.cat([torch.rand(50, 6, generator=generator(1)).round(), torch.eye(3)[LABELS]], 1)
    memory, config = CDConfig(epochs=2, batch_size=10), ChainsConfig(share=1.0, pool=2, average=2.0)
    plain, averaged = (DBN((6, 5), labels=3, rng=generator(0)).memory for _ in range(2))
    for rbm, each in ((plain, replace(config, average=0.0)), (averaged, config)):
        state = cd.init_state(rbm, memory, generator(2))
        *_, record = chains.learn(
            rbm, streamed(20, cases), config=each, memory=memory, rng=generator(3), state=state
        )
    assert (record.state.mean.updates, record.state.mean.averaged) == (10, 10)
    for name, learns in plain.named_parameters():
        assert torch.equal(record.state.mean.mean[name], learns)
        assert not torch.equal(averaged.get_parameter(name), learns)


# ------------------------------------------------------------------------------
# states


def kinds(kind=State):
    return [kind] * (kind is not State) + [
        found for each in kind.__subclasses__() for found in kinds(each)
    ]


def some_value(kind, number):
    """Return a value of a field whose annotation is `kind`."""
    inner = next((each for each in kinds() if each.__name__ in str(kind)), None)
    if inner is not None:
        return some_state(inner, number)
    if "dict[str, dict" in str(kind):
        return {
            "0.weight": {"exp_avg": torch.rand(2, 3), "step": torch.tensor(4.0)},
            "0.bias": {"exp_avg": torch.rand(3)},
        }
    if "dict" in str(kind):
        return {"weight": torch.rand(2, 3), "memory.weight": torch.rand(4, dtype=torch.float64)}
    return torch.arange(number) if "Tensor" in str(kind) else number


def some_state(kind, number=3):
    hints = get_type_hints(kind)
    return kind(
        **{
            field.name: some_value(hints[field.name], number + at)
            for at, field in enumerate(fields(kind))
        }
    )


def test_all_states_are_known():
    modules = (backprop, cd, chains, greedy, robust, strategies, up_down, wake_sleep)
    named = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, State)
    }
    assert {kind for kind in named if kind is not State} <= set(kinds())
    assert len(kinds()) >= 9


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_state_comes_back_from_a_file_as_it_was(kind, filled, tmp_path):
    needed = any(
        field.default is MISSING and field.default_factory is MISSING for field in fields(kind)
    )
    state = some_state(kind) if filled or needed else kind()
    tensors, values = tensor_files.flatten(state.to_tensors())
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "state.safetensors"
    )
    read = tensor_files.unflatten(
        load_file(tmp_path / "state.safetensors"), json.loads(json.dumps(values))
    )
    back = kind.from_tensors(read)
    assert type(back) is kind
    assert_same_state(state, back)
    for field in fields(kind):
        one, other = getattr(state, field.name), getattr(back, field.name)
        assert type(one) is type(other), field.name


def test_a_state_of_another_loop_or_version_is_refused():
    with pytest.raises(
        CheckpointError,
        match=r"increment\.weight came, and CDState "
        r"has .*velocity",
    ):
        CDState.read({"epoch": 2, "increment.weight": torch.zeros(3)})
    assert CDState.read(None) is None
    state = MemoryState(epoch=2)
    assert MemoryState.read(state) is state
