"""One contestant of `python -m benchmarks.bench`: a process that answers requests, a line of JSON
each, with the seconds of one epoch.

It is run as a file, by whatever Python holds the contestant, so at its top it needs nothing but
torch and NumPy: a baseline's environment has no wakesleep.

    request: {"work": "cd1", "dtype": "float32", "batch": 100, "cases": 10000, "threads": 2, "data":
    "pixels.npy", "device": "cpu", ...} answer:  {"seconds": 0.31, "peak_memory_gb": 0.42} or
    {"error": "why not"}

An epoch of training moves on from where the last one ended, so the first epoch of each piece of
work, which is thrown away, also warms up.

    request: {"work": "cd1", ..., "epochs": 10, "rate": 0.1, "momentum": 0.0, "weight_decay": 0.0,
    "hand_over": "weights.npz"}

trains one machine anew, outside any clock, and hands its weights over to be judged. Without rate,
momentum and decay it trains as it is timed.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Request = dict[str, Any]
Epoch = Callable[[], object]
"""One epoch over the cases, as many as the request says under "epochs", or one batch of dreams."""


class Machine(NamedTuple):
    """What a contestant has made ready: its epoch, and of one RBM its weights (visible, hidden),
    visible and hidden biases, as they are.
    """

    one_epoch: Epoch
    weights: Callable[[], tuple[Any, Any, Any]] | None = None


PRODUCTS = ("bound", "onednn")
"""Contestants that make products and nothing else."""
PCD = {"rate": 0.03, "momentum": 0.0, "weight_decay": 0.0}
"""What our PCD learns with where nothing is asked for: as scikit-learn's, neither momentum nor
decay, with which its chains fall behind.
"""
GIBBS = {"cd1": 1, "cd10": 10, "pcd": 1}
"""K of each way to train a single machine."""


def pixels(request: Request) -> np.ndarray:
    """Return the cases, (N, visible) uint8: those of the file that all contestants read, as many as
    were asked for; else random ones.
    """
    if request.get("data"):
        cases: np.ndarray = np.load(request["data"], mmap_mode="r", allow_pickle=False)[
            : request["cases"]
        ]
        return cases
    return np.random.default_rng(0).integers(
        0, 256, (request["cases"], request["visible"]), dtype=np.uint8
    )


def device_of(request: Request) -> torch.device:
    """Return where to work; the processor, unless the request says otherwise."""
    return torch.device(request.get("device", "cpu"))


def probabilities(request: Request) -> np.ndarray:
    """Return the cases as float32 in [0, 1], which is what the baselines take."""
    return pixels(request).astype(np.float32) / 255


def _plain(request: Request, **names: str) -> dict[str, Any]:
    """Return settings of the request, where it has them, by the names a contestant gives them:
    {its: ours, ...}.
    """
    return {theirs: request[own] for theirs, own in names.items() if own in request}


def ours(request: Request) -> Machine:
    """Return an epoch of wakesleep."""
    from wakesleep.evaluation import ais
    from wakesleep.foundation.rng import generator
    from wakesleep.learning import backprop, cd, up_down
    from wakesleep.learning.backprop import BackpropConfig
    from wakesleep.learning.cd import CDConfig
    from wakesleep.learning.up_down import UpDownConfig
    from wakesleep.models.dbn import DBN
    from wakesleep.models.rbm import RBM
    from wakesleep.samplers import dreams

    work, batch, dtype, device = (
        request["work"],
        request["batch"],
        getattr(torch, request["dtype"]),
        device_of(request),
    )
    rng = generator(0, device)
    endless: dict[str, Any] = {"epochs": 10**6, "batch_size": batch}
    if work == "ais":
        machine = RBM(request["visible"], request["hidden"], rng=rng)
        base, betas = (
            torch.zeros(request["visible"], device=device),
            torch.linspace(0, 1, request["steps"], dtype=torch.float64),
        )
        return Machine(
            lambda: list(
                ais.anneal(
                    machine, base, ais.init_forward(machine, base, betas, batch, rng), rng=rng
                )
            )
        )
    if work in GIBBS or work in ("cd", "streaming"):
        rbm = RBM(request["visible"], request["hidden"], rng=rng)
        asked = {**(PCD if work == "pcd" else {}), **request}
        plain = _plain(
            asked,
            learning_rate="rate",
            final_learning_rate="rate",
            momentum="momentum",
            initial_momentum="momentum",
        )
        plain |= _plain(asked, weight_decay="weight_decay")
        config = CDConfig(
            **endless,
            **plain,
            gibbs_steps=GIBBS.get(work) or request.get("steps", 1),
            persistent=work == "pcd",
        )
        data = torch.from_numpy(np.require(pixels(request), requirements="W")).to(device)
        records = cd.epochs(rbm, data, config=config, rng=rng, dtype=dtype)
        return Machine(
            lambda: [next(records) for _ in range(request.get("passes", 1))],
            lambda: (rbm.weight, rbm.visible_bias, rbm.hidden_bias),
        )
    sizes = tuple(request["sizes"])
    dbn = DBN(sizes, labels=request["labels"], rng=rng)
    if work == "dreaming":
        held = torch.arange(batch, device=device) % request["labels"]
        net = dbn.to(dtype)
        return Machine(lambda: dreams.dream(net, rng=rng, labels=held, steps=request["steps"]))
    cases = torch.from_numpy(np.require(pixels(request), requirements="W")).to(device)
    labels = torch.arange(len(cases), device=device) % request["labels"]
    if work == "backprop":
        net_records = backprop.epochs(
            backprop.classifier(dbn, request["labels"], rng=rng),
            cases,
            labels,
            config=BackpropConfig(**endless),
            rng=rng,
            dtype=dtype,
        )
        return Machine(lambda: next(net_records))
    updown = UpDownConfig(**endless, gibbs_steps=(request["steps"],))
    up_down_records = up_down.epochs(dbn, cases, labels, config=updown, rng=rng, dtype=dtype)
    return Machine(lambda: next(up_down_records))


def plain(request: Request) -> Machine:
    """Return an epoch of wakesleep without its compiled kernels."""
    from wakesleep.compute import ops

    ops.use_backend("torch")
    return ours(request)


def streaming(request: Request) -> Machine:
    """Return an epoch of wakesleep over cases that stay on the disk."""
    from wakesleep.foundation.rng import generator
    from wakesleep.learning import greedy
    from wakesleep.learning.cd import CDConfig
    from wakesleep.learning.greedy import GreedyConfig
    from wakesleep.models.dbn import DBN
    from wakesleep.sources.shards import Shards

    rng = generator(0)
    dbn = DBN((request["visible"], request["hidden"]), rng=rng)
    config = GreedyConfig(memory=CDConfig(epochs=10**6, batch_size=request["batch"]))
    shards = Shards([_file(request)], **_plain(request, chunk="chunk"))
    records = greedy.epochs(
        dbn, shards, config=config, rng=rng, dtype=getattr(torch, request["dtype"])
    )
    return Machine(lambda: next(records))


def _file(request: Request) -> Path:
    """Return a file of as many random cases as were asked for, written once, a part at a time."""
    path = Path(request["folder"]) / f"cases-{request['cases']}-{request['visible']}.npy"
    if not path.exists():
        made = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.uint8, shape=(request["cases"], request["visible"])
        )
        for start in range(0, len(made), 10_000):
            made[start : start + 10_000] = np.random.default_rng(start).integers(
                0, 256, made[start : start + 10_000].shape, dtype=np.uint8
            )
        made.flush()
    return path


def scikit_learn(request: Request) -> Machine:
    """Return an epoch of scikit-learn's BernoulliRBM, which is PCD with one Gibbs step, in float32
    because its input is.
    """
    from sklearn.neural_network import BernoulliRBM

    cases = probabilities(request)
    epochs, plain = request.get("passes", 1), _plain(request, learning_rate="rate")
    rbm = BernoulliRBM(
        request["hidden"], batch_size=request["batch"], n_iter=epochs, random_state=0, **plain
    )
    return Machine(
        lambda: rbm.fit(cases),
        lambda: (rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_),
    )


def rbms(request: Request) -> Machine:
    """Return an epoch of the inner loop of rbms.training.pcd.train, without its progress bar and
    without the file it writes at every update.
    """
    from rbms.bernoulli_bernoulli.classes import BBRBM  # type: ignore[import-not-found,unused-ignore]
    from rbms.training.pcd import fit_batch_pcd  # type: ignore[import-not-found,unused-ignore]

    device = device_of(request)
    cases, work = torch.from_numpy(probabilities(request)).to(device), request["work"]
    each, batch = torch.ones(len(cases), device=device), request["batch"]
    weight = torch.randn(request["visible"], request["hidden"], device=device) * 1e-4
    params = BBRBM(
        weight,
        torch.zeros(request["visible"], device=device),
        torch.zeros(request["hidden"], device=device),
    )
    for parameter in params.parameters():
        parameter.grad = torch.zeros_like(parameter)
    plain = _plain(request, momentum="momentum", weight_decay="weight_decay")
    optimizer = torch.optim.SGD(
        params.parameters(), lr=request.get("rate", 0.01), maximize=True, **plain
    )
    kept = {"chains": params.init_chains(batch)}

    def one_epoch() -> None:
        with torch.no_grad():
            for index in torch.split(torch.randperm(len(cases), device=device), batch):
                data = cases[index], each[index]
                chains = (
                    kept["chains"]
                    if work == "pcd"
                    else params.init_chains(len(index), weights=data[1], start_v=data[0])
                )
                optimizer.zero_grad(set_to_none=False)
                kept["chains"], _ = fit_batch_pcd(
                    batch=data,
                    parallel_chains=chains,
                    params=params,
                    gibbs_steps=GIBBS[work],
                    beta=1.0,
                    centered=True,
                )
                optimizer.step()

    def epochs() -> None:
        for _ in range(request.get("passes", 1)):
            one_epoch()

    return Machine(epochs, lambda: (params.weight_matrix, params.vbias, params.hbias))


def learnergy(request: Request) -> Machine:
    """Return an epoch of learnergy's RBM.fit, with its own loader."""
    import logging

    from learnergy.models.bernoulli import RBM  # type: ignore[import-not-found,unused-ignore]

    logging.disable(logging.CRITICAL)
    cases = torch.from_numpy(probabilities(request))
    held = torch.utils.data.TensorDataset(cases, torch.zeros(len(cases)))
    plain = {
        "momentum": 0.9,
        **_plain(request, learning_rate="rate", momentum="momentum", decay="weight_decay"),
    }
    rbm = RBM(request["visible"], request["hidden"], steps=GIBBS[request["work"]], **plain)
    return Machine(
        lambda: rbm.fit(held, batch_size=request["batch"], epochs=request.get("passes", 1)),
        lambda: (rbm.W, rbm.a, rbm.b),
    )


def bound(request: Request) -> Machine:
    """Return the same matrix products as ours makes in an epoch, PyTorch's own way, nothing around
    them, into memory that is already there.
    """
    return _products_alone(request, lambda left, right, out: torch.mm(left, right, out=out))


def onednn(request: Request) -> Machine:
    """Return the same by oneDNN, which has no way to write into memory that is already there."""
    from wakesleep.compute.cpu import onednn_product

    return _products_alone(request, lambda left, right, out: onednn_product(left, right))


def _products_alone(
    request: Request, multiply: Callable[[Tensor, Tensor, Tensor], object]
) -> Machine:
    dtype, batch = getattr(torch, request["dtype"]), request["batch"]
    made = [
        [one.to(device_of(request)) for one in product(dtype, *shape)]
        for shape in products(request)
    ]
    times = 1 if request["work"] in ("dreaming", "ais") else -(-request["cases"] // batch)

    def one_epoch() -> None:
        for _ in range(times):
            for left, right, out in made:
                multiply(left, right, out)

    return Machine(one_epoch)


Shape = tuple[str, int, int, int]


def products(request: Request) -> list[Shape]:
    """Return the products of one minibatch, (kind, rows n, below, above) each.

    "up": (n, below) (below, above); "down": (n, above) (below, above)'; "learn": (n, below)' (n,
    above), the statistics of n rows.
    """
    n, work = request["batch"], request["work"]
    if work in GIBBS:
        layer = request["visible"], request["hidden"]
        return [
            ("up", n, *layer),
            *[("down", n, *layer), ("up", n, *layer)] * GIBBS[work],
            ("learn", 2 * n, *layer),
        ]
    if work == "ais":
        layer = request["visible"], request["hidden"]
        return [
            ("up", n, *layer),
            *[("down", n, *layer), ("up", n, *layer)] * (request["steps"] - 2),
        ]
    sizes, labels = request["sizes"], request["labels"]
    directed = list(pairwise(sizes[:-1]))
    memory = sizes[-2] + labels, sizes[-1]
    up = [("up", n, *layer) for layer in directed]
    down = [("down", n, *layer) for layer in directed]
    if work == "backprop":
        layers = [*directed, sizes[-2:], (sizes[-1], labels)]
        forward = [("up", n, *layer) for layer in layers]
        return [
            *forward,
            *[("learn", n, *layer) for layer in layers],
            *[("down", n, *layer) for layer in layers[1:]],
        ]
    settle = [("down", n, *memory), ("up", n, *memory)] * request["steps"]
    if work == "dreaming":
        return [*settle, *down]
    learn = [("learn", n, *layer) for layer in directed] * 2
    return [*up, ("up", n, *memory), *settle, *down, *down, *up, *learn, ("learn", 2 * n, *memory)]


def product(
    dtype: torch.dtype, kind: str, n: int, below: int, above: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what to multiply and where to put it; values of states' size, so that no number is
    special.
    """
    rng = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng).to(dtype)

    if kind == "learn":
        return some(n, below).t(), some(n, above), some(below, above)
    if kind == "up":
        return some(n, below), some(below, above), some(n, above)
    return some(n, above), some(below, above).t(), some(n, below)


CONTESTANTS: dict[str, Callable[[Request], Machine]] = {
    "wakesleep": ours,
    "plain": plain,
    "streaming": streaming,
    "scikit-learn": scikit_learn,
    "rbms": rbms,
    "learnergy": learnergy,
    "bound": bound,
    "onednn": onednn,
}


def version(name: str) -> str:
    """Return the contestant's version, with torch's; ours may be used without being installed."""
    if name in PRODUCTS:
        return f"torch {torch.__version__}"
    package = "wakesleep" if name in ("plain", "streaming") else name
    try:
        result = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "wakesleep":
            raise
        result = "(not installed)"
    return f"{package} {result}, torch {torch.__version__}"


def _forget_peak() -> None:
    """Let the peak of resident memory start anew; Linux alone knows how."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak_memory_gb() -> float | None:
    """Return the peak of resident memory since it was forgotten, GB; None where the system does not
    say.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1.024e-6 for line in lines if line.startswith("VmHWM")), None
    )


def _wait(request: Request) -> None:
    """Let the GPU finish, where the work is on one."""
    if device_of(request).type == "cuda":
        torch.cuda.synchronize(device_of(request))


def answer(name: str, request: Request, ready: dict[str, Epoch]) -> dict[str, Any]:
    """Do one epoch of what is asked for, and one more before it where it is asked for the first
    time.
    """
    torch.set_num_threads(request["threads"])
    key = json.dumps(request, sort_keys=True)
    if key not in ready:
        ready.clear()  # one piece of work in memory at a time
        if name == "streaming":
            _file(request)  # making it is not what is measured
        _forget_peak()
        ready[key] = CONTESTANTS[name](request).one_epoch
        ready[key]()
    _wait(request)
    began = time.perf_counter()
    ready[key]()
    _wait(request)
    return {"seconds": time.perf_counter() - began, "peak_memory_gb": _peak_memory_gb()}


def hand_over(name: str, request: Request) -> dict[str, Any]:
    """Train a machine anew and write its weights to the .npz file of the request, as float32."""
    torch.set_num_threads(request["threads"])
    machine = CONTESTANTS[name](request)
    machine.one_epoch()
    assert machine.weights is not None
    weight, visible_bias, hidden_bias = (
        np.asarray(part.detach().cpu() if isinstance(part, Tensor) else part, np.float32)
        for part in machine.weights()
    )
    np.savez(
        request["hand_over"], weight=weight, visible_bias=visible_bias, hidden_bias=hidden_bias
    )
    return {"written": request["hand_over"]}


def main(name: str) -> None:
    """Answer until nothing more is asked."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a baseline prints is not an answer
    ready: dict[str, Epoch] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["work"] == "version":
                reply = {"version": version(name)}
            else:
                reply = (
                    hand_over(name, request)
                    if "hand_over" in request
                    else answer(name, request, ready)
                )
        except Exception as error:  # whatever a baseline meets is its answer
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
