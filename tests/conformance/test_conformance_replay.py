"""Minibatches that are captured and replayed end where plain ones do: on a stand-in for CUDA here,
and on a GPU where there is one.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import islice, pairwise
from types import SimpleNamespace

import pytest
import torch
from stand_in import Machine
from torch.utils._python_dispatch import TorchDispatchMode

from wakesleep import units
from wakesleep.compute import cuda_graphs, distributed, precision
from wakesleep.compute.cpu import CPU
from wakesleep.compute.cuda import CUDA
from wakesleep.compute.fused import Fused
from wakesleep.compute.reference import Reference
from wakesleep.foundation.rng import generator
from wakesleep.learning import (
    backprop,
    cd,
    greedy,
    hybrid,
    robust,
    semi_supervised,
    up_down,
    up_down_phases,
    wake_sleep,
)
from wakesleep.learning.backprop import BackpropConfig
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.hybrid import HybridConfig
from wakesleep.learning.robust import RobustConfig
from wakesleep.learning.semi_supervised import SemiSupervisedConfig
from wakesleep.learning.up_down import UpDownConfig
from wakesleep.learning.wake_sleep import WakeSleepConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.helmholtz import Helmholtz
from wakesleep.models.rbm import RBM
from wakesleep.sources import arrays
from wakesleep.sources.minibatches import Resident
from wakesleep.units import Categorical


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine.stands_in(monkeypatch)


N = 210
CASES = torch.randint(256, (N, 12), generator=generator(100), dtype=torch.uint8)
LABELS = torch.arange(N) % 3
SOME_LABELS = torch.where(torch.arange(N) % 7 == 0, -1, LABELS)


def test_every_minibatch_is_done_once_and_in_turn(machine: Machine) -> None:
    done, rng = [], generator(0)
    step = Reference("cpu").replay(
        lambda index, turn: done.append((index.tolist(), turn.tolist())), rng, 10
    )
    given = [(torch.arange(2) + 2 * number, torch.tensor([number % 2])) for number in range(6)]
    given.insert(4, (torch.tensor([99]), torch.tensor([1])))
    given.append((torch.tensor([98]), torch.tensor([0])))
    for pair in given:
        step(*pair)
    assert done == [(index.tolist(), turn.tolist()) for index, turn in given]
    warm_up = ["side waits for main", "plain on side", "main waits for side"] * cuda_graphs.WARM_UP
    assert machine.told == [
        *warm_up,
        "capture on side",
        "replay",
        "plain on main",
        "replay",
        "replay",
        "plain on main",
    ]
    assert machine.graphs[0].rng is rng


def test_what_is_replayed_is_not_the_callers_tensor(machine: Machine) -> None:
    given = torch.zeros(2, dtype=torch.int64)
    step = Reference("cpu").replay(lambda index: None, generator(0), 10)
    for _ in range(cuda_graphs.WARM_UP + 2):
        step(given.add_(1))
    ((_, (static,)),) = machine.graphs[0].orders
    assert static is not given
    assert torch.equal(static, given)
    step(torch.tensor([7, 7]))
    assert given.tolist() == [5, 5]


def test_a_capture_needs_a_gpu_one_rank_and_enough_minibatches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = SimpleNamespace(device=torch.device("cuda"))
    assert cuda_graphs.captures(gpu, cuda_graphs.MIN_MINIBATCHES)
    assert not cuda_graphs.captures(gpu, cuda_graphs.MIN_MINIBATCHES - 1)
    assert not cuda_graphs.captures(generator(0), 1000)
    step = print
    assert cuda_graphs.replayed(step, generator(0), 1000) is step
    with monkeypatch.context() as patch:
        patch.setattr(distributed, "ranks", lambda: 2)
        assert not cuda_graphs.captures(gpu, 1000)
    monkeypatch.setattr(
        cuda_graphs, "replayed", lambda step, rng, minibatches: pytest.fail("asked for a capture")
    )
    for plain in (Reference("cuda"), CPU(kernels=True), Fused("cuda")):
        assert plain.replay(step, gpu, 1000) is step


def cd_loop(**options):
    config = CDConfig(**{"epochs": 8, "batch_size": 20, "initial_momentum_epochs": 2, **options})
    return (
        lambda device: RBM(12, 8, rng=generator(0, device)),
        lambda net, rng, state, dtype: cd.epochs(
            net, CASES.to(rng.device), config=config, rng=rng, state=state, dtype=dtype
        ),
    )


def greedy_loop():
    config = GreedyConfig(
        CDConfig(epochs=2, batch_size=20), CDConfig(epochs=2, batch_size=20, sample_visible=True)
    )
    return (
        lambda device: DBN((12, 8, 9), labels=3, rng=generator(0, device)),
        lambda net, rng, state, dtype: greedy.epochs(
            net,
            CASES.to(rng.device),
            SOME_LABELS.to(rng.device),
            config=config,
            rng=rng,
            state=state,
            dtype=dtype,
        ),
    )


UP_DOWN = UpDownConfig(
    epochs=4, batch_size=20, learning_rate=0.1, gibbs_steps=(1, 2), chain_pool=3, restart=0.2
)


def up_down_loop(labels, config=UP_DOWN):
    def epochs(net, rng, state, dtype):
        given = None if labels is None else labels.to(rng.device)
        return up_down.epochs(
            net, CASES.to(rng.device), given, config=config, rng=rng, state=state, dtype=dtype
        )

    return lambda device: DBN(
        (12, 8, 6, 9), labels=0 if labels is None else 3, rng=generator(0, device)
    ), epochs


def hybrid_loop(labels, **options):
    config = HybridConfig(UP_DOWN, weight=2.0, **options)
    return (
        lambda device: DBN((12, 8, 6, 9), labels=3, rng=generator(0, device)),
        lambda net, rng, state, dtype: hybrid.epochs(
            net,
            CASES.to(rng.device),
            labels.to(rng.device),
            config=config,
            rng=rng,
            state=state,
            dtype=dtype,
        ),
    )


def backprop_loop(**options):
    config = BackpropConfig(epochs=4, batch_size=20, **options)
    return (
        lambda device: backprop.random_classifier((12, 8, 3), rng=generator(0, device)),
        lambda net, rng, state, dtype: backprop.epochs(
            net,
            CASES.to(rng.device),
            LABELS.to(rng.device),
            config=config,
            rng=rng,
            state=state,
            dtype=dtype,
        ),
    )


def robust_loop(unlabelled=None, **options):
    config = RobustConfig(**{"epochs": 4, "batch_size": 20, **options})

    def epochs(net, rng, state, dtype):
        free = None if unlabelled is None else unlabelled.to(rng.device)
        given = CASES.to(rng.device), LABELS.to(rng.device)
        return robust.epochs(
            net, *given, config=config, rng=rng, unlabelled=free, state=state, dtype=dtype
        )

    return lambda device: backprop.random_classifier((12, 8, 3), rng=generator(0, device)), epochs


def few_labels_loop():
    config = SemiSupervisedConfig(epochs=4, batch_size=20, dropout_hidden=0.2)
    few = torch.where(torch.arange(N) < 30, LABELS, arrays.UNLABELLED)
    return (
        lambda device: backprop.random_classifier((12, 8, 3), rng=generator(0, device)),
        lambda net, rng, state, dtype: semi_supervised.epochs(
            net,
            CASES.to(rng.device),
            few.to(rng.device),
            config=config,
            rng=rng,
            state=state,
            dtype=dtype,
        ),
    )


def wake_sleep_loop():
    config = WakeSleepConfig(epochs=4)
    return (
        lambda device: Helmholtz((12, 8, 6), rng=generator(0, device)),
        lambda net, rng, state, dtype: wake_sleep.epochs(
            net, CASES.to(rng.device), config=config, rng=rng, state=state
        ),
    )


LOOPS = {
    "cd": (cd_loop(), 2),
    "cd with a falling rate": (cd_loop(final_learning_rate=0.01), 8),
    "pcd": (cd_loop(persistent=True, gibbs_steps=2), 2),
    "centred": (cd_loop(centred=True), 2),
    "sparse": (cd_loop(sparsity_cost=0.1), 2),
    "no momentum": (cd_loop(momentum=0.0, initial_momentum=0.0), 1),
    "greedy": (greedy_loop(), 3),
    "up-down": (up_down_loop(LABELS), 4),
    "up-down, some labels": (up_down_loop(SOME_LABELS), 4),
    "up-down, no labels": (up_down_loop(None), 4),
    "up-down as published": (
        up_down_loop(LABELS, UpDownConfig(epochs=4, batch_size=20, persistent=0.0, average=0.0)),
        4,
    ),
    "hybrid": (hybrid_loop(LABELS), 4),
    "hybrid in turns": (hybrid_loop(SOME_LABELS, alternate=True), 4),
    "sgd": (backprop_loop(), 4),
    "sgd of intensities": (backprop_loop(sample_pixels=False, weight_decay=0.01), 4),
    "dropout": (
        robust_loop(sample_pixels=True, dropout_visible=0.1, dropout_hidden=0.3, max_norm=1.0),
        4,
    ),
    "smoothness": (robust_loop(vat_epsilon=0.5), 4),
    "smoothness of other cases, by Adam": (
        robust_loop(CASES[:160], vat_epsilon=0.5, optimizer="adam", learning_rate=0.01),
        4,
    ),
    "few labels": (few_labels_loop(), 4),
    "wake-sleep": (wake_sleep_loop(), 4),
}
"""Each loop, and how often it is captured: whenever an epoch has other numbers."""
TYPES = [None, torch.bfloat16]


def learned(loop, device="cpu", dtype=None):
    """Return the net's tensors, the records without their states, and where the generator
    stands.
    """
    make, epochs = loop
    net, rng = make(device), generator(1, device)
    records = [
        (record.stage, record.epoch, record.metrics) for record in epochs(net, rng, None, dtype)
    ]
    return (
        {name: value.clone() for name, value in net.state_dict().items()},
        records,
        rng.get_state(),
    )


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", LOOPS)
def test_a_captured_loop_ends_where_the_plain_one_does(
    name, dtype, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, captures = LOOPS[name]
    with monkeypatch.context() as patch:
        patch.setattr(cuda_graphs, "captures", lambda rng, minibatches: False)
        weights, records, stands = learned(loop, dtype=dtype)
    assert not machine.graphs
    machine.told.clear()
    again, reported, there = learned(loop, dtype=dtype)
    assert all(torch.equal(value, again[key]) for key, value in weights.items())
    assert reported == records
    assert torch.equal(there, stands)
    assert len(machine.graphs) == captures
    short, full = machine.told.count("plain on main"), machine.told.count("plain on side")
    # ten full minibatches an epoch and one of ten
    assert (short, full) == (len(records), cuda_graphs.WARM_UP * captures)
    assert machine.told.count("replay") == 10 * len(records) - full


@pytest.mark.parametrize("name", LOOPS)
def test_a_captured_run_goes_on_to_the_same_bits(name, machine: Machine) -> None:
    (make, epochs), _ = LOOPS[name]
    weights, _, stands = learned((make, epochs))
    net, rng = make("cpu"), generator(1)
    *_, last = islice(epochs(net, rng, None, None), 2)
    net, state, later = deepcopy(net), deepcopy(last.state), generator(0)
    later.set_state(rng.get_state())
    list(epochs(net, later, state, None))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in weights.items())
    assert torch.equal(later.get_state(), stands)


@pytest.mark.parametrize("name", ["cd", "up-down", "hybrid", "hybrid in turns"])
def test_the_copy_in_low_precision_is_the_net_before_every_minibatch(
    name, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, seen, real = [], [], precision.low_precision_copy

    def replayed(self, step, rng, minibatches):
        def run(*given):
            net, coarse = pairs[-1]
            seen.append(
                all(
                    torch.equal(a.bfloat16(), b)
                    for a, b in zip(net.parameters(), coarse.parameters(), strict=True)
                )
            )
            step(*given)

        return run

    monkeypatch.setattr(
        precision,
        "low_precision_copy",
        lambda net, dtype: pairs.append((net, real(net, dtype))) or pairs[-1][1],
    )
    monkeypatch.setattr(Reference, "replay", replayed)
    learned(LOOPS[name][0], dtype=torch.bfloat16)
    assert len(seen) >= 44
    assert all(seen)


def test_sparse_cases_are_never_captured(machine: Machine) -> None:
    class Rows:
        dtype = torch.float32

        def __len__(self):
            return N

        def __getitem__(self, index):
            return arrays.as_probs(CASES[index])

    list(
        cd.epochs(
            RBM(12, 8, rng=generator(0)),
            Rows(),
            config=CDConfig(epochs=1, batch_size=20),
            rng=generator(1),
        )
    )
    assert machine.told == [], "no step was handed over for capture"
    list(
        cd.epochs(
            RBM(12, 8, rng=generator(0)),
            CASES,
            config=CDConfig(epochs=1, batch_size=20),
            rng=generator(1),
        )
    )
    assert "replay" in machine.told


class Watch(TorchDispatchMode):
    """Notes what would make the host wait for a GPU, or copy to it, which a capture refuses."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "lift_fresh", "equal", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).split(".")[1]
        if name in self.FORBIDDEN or (
            name == "index" and any(one is not None and one.dtype == torch.bool for one in args[1])
        ):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def test_the_watch_sees_what_a_capture_refuses() -> None:
    numbers = torch.arange(3.0)
    acts = (
        lambda: float(numbers[0]),
        lambda: bool((numbers > 1).any()),
        lambda: torch.tensor(1.0),
        lambda: numbers[numbers > 1],
        lambda: torch.nn.functional.one_hot(numbers.long(), 3),
    )
    for act in acts:
        with Watch() as watch:
            act()
        assert watch.seen


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", LOOPS)
def test_no_minibatch_waits_for_the_device(name, dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(self, step, rng, minibatches):
        def run(*given):
            with Watch() as watch:
                step(*given)
            seen.append(watch.seen)

        return run

    # the real one looks for labels, on a CPU alone
    def label_states(dbn, total_input, labels, rng, complete=False):
        drawn = units.sample_categorical(
            torch.softmax(dbn.memory.group_scores(total_input, dbn.label_columns), 1), rng
        )
        known = (
            drawn
            if labels is None
            else labels
            if complete
            else torch.where(labels == -1, drawn, labels)
        )
        return arrays.one_hot(known, dbn.labels, dbn.memory.weight.dtype)

    monkeypatch.setattr(Reference, "replay", watched)
    # a processor looks at the weights' size
    monkeypatch.setattr(CPU, "log_partition_delta", Fused.log_partition_delta)
    if "some" in name or "turns" in name:
        monkeypatch.setattr(up_down_phases, "label_states", label_states)
    loop, _ = LOOPS[name]
    learned(loop, dtype=dtype)
    assert len(seen) > 20
    assert not [actual for actual in seen if actual]


def test_known_labels_are_not_looked_at_again() -> None:
    net, rng = DBN((12, 8, 9), labels=3, rng=generator(0)), generator(1)
    total_input = torch.zeros(4, 9)
    before = rng.get_state()
    assert torch.equal(
        up_down.label_states(
            net, total_input, torch.tensor([0, 2, 1, 2]), rng, complete=True
        ).argmax(1),
        torch.tensor([0, 2, 1, 2]),
    )
    assert torch.equal(rng.get_state(), before)
    algorithm = up_down.UpDown(
        net, UpDownConfig(), up_down.init_state(net, UpDownConfig(), rng), rng, None
    )
    for labels, known in ((LABELS, True), (SOME_LABELS, False), (None, False)):
        algorithm.begin_chunk(Resident(CASES, labels))
        assert algorithm.complete == known


def test_one_hot_is_pytorchs() -> None:
    for labels in (LABELS, LABELS.view(2, -1)):
        assert torch.equal(
            arrays.one_hot(labels, 4), torch.nn.functional.one_hot(labels, 4).float()
        )
    assert arrays.one_hot(LABELS, 4, torch.float64).dtype == torch.float64


def test_columns_of_groups_lie_side_by_side() -> None:
    groups = units.Groups(
        features=units.Bernoulli(2), label=Categorical(3), features2=units.Bernoulli(1)
    )
    assert groups.slices == [slice(0, 2), slice(2, 5), slice(5, 6)]
    assert all(a.stop == b.start for a, b in pairwise(groups.slices))


def test_tf32_is_for_a_gpu_that_learns_and_for_a_while() -> None:
    matmul = torch.backends.cuda.matmul
    assert not matmul.allow_tf32
    with CPU(kernels=True).learning():
        assert not matmul.allow_tf32
    with CUDA(kernels=True).learning():
        assert matmul.allow_tf32
    assert not matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        with CUDA(kernels=True).learning():
            assert matmul.allow_tf32
        assert matmul.allow_tf32, "who allows it always keeps it"
    finally:
        matmul.allow_tf32 = False


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"),
    reason="this PyTorch has one way to say it",
)
def test_who_chose_in_the_new_way_is_left_alone() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with CUDA(kernels=True).learning():
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to capture on")


def assert_close(these, those):
    for key, value in these.items():
        torch.testing.assert_close(those[key], value, rtol=0, atol=1e-6, msg=key)


@gpu
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", LOOPS)
def test_on_a_gpu_replays_end_where_plain_minibatches_do(
    name, dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, captures = LOOPS[name]
    monkeypatch.setattr(cuda_graphs, "MIN_MINIBATCHES", 5)
    made, real = [], cuda_graphs._captured
    monkeypatch.setattr(cuda_graphs, "_captured", lambda *given: made.append(1) or real(*given))
    replayed, _, stands = learned(loop, "cuda", dtype)
    assert len(made) == captures
    monkeypatch.setattr(cuda_graphs, "MIN_MINIBATCHES", 1000)
    plain, _, there = learned(loop, "cuda", dtype)
    assert len(made) == captures
    assert torch.equal(stands, there)
    assert_close(plain, replayed)


@gpu
@pytest.mark.parametrize("name", LOOPS)
def test_on_a_gpu_a_captured_run_goes_on(name, monkeypatch: pytest.MonkeyPatch) -> None:
    (make, epochs), _ = LOOPS[name]
    monkeypatch.setattr(cuda_graphs, "MIN_MINIBATCHES", 5)
    whole, _, _ = learned((make, epochs), "cuda")
    net, rng = make("cuda"), generator(1, "cuda")
    *_, last = islice(epochs(net, rng, None, None), 2)
    net, state, later = deepcopy(net), deepcopy(last.state), generator(0, "cuda")
    later.set_state(rng.get_state())
    list(epochs(net, later, state, None))
    assert_close(whole, net.state_dict())
