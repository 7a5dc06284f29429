"""The figures of likelihood: AIS against exact log Z, what both cost, and the density models of
binarised MNIST.

    python -m benchmarks.likelihood --parts against-exact exact-seconds layers
    python -m benchmarks.likelihood --parts rbm dbn published-seconds --mat
    randomly_binarized_mnist.mat --folder runs/likelihood

Training is resumable: an epoch at most is lost. Every choice was made on the last 10,000 training
columns, held out (`--hold-out 10000`); the figures train on all of them. Test columns choose
nothing.
"""

from __future__ import annotations

import copy
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from wakesleep.compute.select import pick_precision
from wakesleep.data import load
from wakesleep.evaluation import ais, exact, likelihood, monitor
from wakesleep.evaluation.likelihood import LogZ
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, greedy
from wakesleep.learning.cd import CDConfig
from wakesleep.learning.greedy import GreedyConfig
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.runs.progress import resumed, run
from wakesleep.sources.arrays import as_probs, chunks, draw_binary

PARTS = ("against-exact", "exact-seconds", "monitors", "layers", "rbm", "dbn", "published-seconds")


def centred_pcd(learning_rate: float, epochs: int) -> CDConfig:
    """Return the settings of persistent CD on digits binarised: centred units, no momentum, and a
    rate that falls to 2e-4.
    """
    return CDConfig(
        epochs=epochs,
        learning_rate=learning_rate,
        final_learning_rate=2e-4,
        momentum=0.0,
        initial_momentum=0.0,
        weight_decay=3e-4,
        persistent=True,
        centred=True,
    )


@dataclass(frozen=True)
class LikelihoodMeasureOptions:
    """Measure the figures of likelihood; resumable."""

    parts: tuple[str, ...] = PARTS
    """What to measure: against-exact, exact-seconds, monitors (their share of an epoch), layers (of
    a stack on digits), rbm, dbn (on the rbm), and published-seconds (of the rbm where it is there,
    else of random weights).
    """
    mat: Path = Path("randomly_binarized_mnist.mat")
    """Binarised MNIST: x_trn (784, 60000) and x_tst (784, 10000), each column a digit in
    column-major order.
    """
    folder: Path = Path("runs/likelihood-figures")
    """Where nets in training and trained ones lie."""
    hold_out: int = 0
    """Score on so many of the last training columns, and do not train on them, instead of on the
    test columns.
    """
    out: Path | None = Path("results/likelihood.json")
    """Where the rows go; None prints them only."""
    start: Path | None = None
    """A model file whose first layer the RBM begins with, e.g. the one that a run with --hold-out
    left; by default small random weights.
    """
    hidden: int = 500
    """Hidden units of the RBM."""
    top: int = 2000
    """Hidden units of the second RBM of the deep belief net."""
    rbm: CDConfig = field(default_factory=lambda: centred_pcd(0.06, epochs=400))
    """How the RBM learns."""
    dbn: CDConfig = field(default_factory=lambda: centred_pcd(0.02, epochs=100))
    """How the second RBM learns."""
    layer_epochs: int = 100
    """Epochs a layer of the stack on digits."""
    average: float = 0.9
    """The weights that count are a running mean over epochs with this decay: it takes out the noise
    of sampling.
    """
    machines: int = 50
    """How many of the list of small RBMs to compare with exact log Z."""
    target_error: float = 0.1
    """Wanted standard error of log Z, nats."""
    limit: int = 30_000
    """Most temperatures."""
    seed: int = 1
    """Seed of everything random."""
    precision: str = "auto"
    """Of products in training: auto, float32 or bfloat16. Likelihoods are always float32 and
    better.
    """
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""


def read_mat(path: Path) -> tuple[Tensor, Tensor]:
    """Return training and test digits of the MATLAB file, (N, 784) each, bool, rows of pixels in
    reading order.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    import scipy.io
    from scipy.io.matlab import MatReadError

    try:
        result = scipy.io.loadmat(str(path))
        parts = [torch.from_numpy(result[name].astype(bool)) for name in ("x_trn", "x_tst")]
    except (OSError, KeyError, IndexError, ValueError, MatReadError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a MATLAB file with x_trn and x_tst, a "
            "digit a column"
        ) from error
    side = round(parts[0].shape[0] ** 0.5)
    train, test = (
        part.t().reshape(-1, side, side).transpose(1, 2).reshape(-1, side * side).contiguous()
        for part in parts
    )
    return train, test


# AIS against exact log Z


def machines() -> Iterator[tuple[str, RBM, Tensor]]:
    """Yield the fixed list: 40 RBMs of random weights and 10 trained on digits, each with its name
    and cases that make its base rates.
    """
    for number, (std, (visible, hidden)) in enumerate(
        product(
            (0.05, 0.1, 0.2, 0.5, 1.0),
            ((30, 12), (50, 20), (100, 16), (150, 14), (300, 12), (500, 18), (784, 16), (784, 20)),
        )
    ):
        rng = generator(number)
        rbm = RBM(visible, hidden, rng=rng, weight_std=std)
        rbm.visible_bias.normal_(0.0, std, generator=rng)
        rbm.hidden_bias.normal_(0.0, std, generator=rng)
        yield (
            (f"random {visible}x{hidden} sd {std}"),
            rbm,
            likelihood.model_samples(rbm, torch.zeros(1, visible), 100, steps=100, rng=rng),
        )
    pixels = as_probs(load("digits").train.images)
    for number, hidden in enumerate((12, 13, 14, 15, 16, 17, 18, 19, 20, 20)):
        rng = generator(100 + number)
        cases, rbm = draw_binary(pixels, rng), RBM(64, hidden, rng=rng)
        config = CDConfig(
            epochs=30, batch_size=20, persistent=number % 2 == 1, learning_rate=0.05, momentum=0.5
        )
        cd.init_visible_bias(rbm, cases)
        for _ in cd.epochs(rbm, cases, config=config, rng=rng):
            pass
        yield f"digits 64x{hidden} {'PCD' if config.persistent else 'CD-1'}", rbm, cases


def against_exact(options: LikelihoodMeasureOptions) -> list[dict[str, Any]]:
    """Return for each small RBM of the list its exact log Z, the AIS estimate, and whether the
    interval of three standard errors holds it.
    """
    result = []
    for number, (name, rbm, cases) in enumerate(machines()):
        if number * options.machines // 50 == (number + 1) * options.machines // 50:
            continue
        base, rng = ais.base_rates(rbm, cases), generator(1000 + number)
        *_, chains = ais.search(
            rbm, base, rng=rng, target_error=options.target_error, limit=options.limit
        )
        estimate, truth = ais.estimate(rbm, base, chains), exact.log_partition(rbm)
        inside = estimate.low <= truth <= estimate.high
        result.append({"name": name, "exact": truth, "inside": inside, **estimate._asdict()})
        print(
            f"{name:<24} exact {truth:9.3f}  AIS {estimate.log_z:9.3f} +- "
            f"{estimate.standard_error:.3f}  {'' if inside else 'OUTSIDE'}",
            flush=True,
        )
    return result


# Costs


def exact_seconds(repeats: int = 5) -> list[float]:
    """Return seconds for exact log Z of 20 hidden x 784 visible units."""
    rbm, seconds = RBM(784, 20, rng=generator(0)), []
    for _ in range(repeats):
        began = time.perf_counter()
        exact.log_partition(rbm)
        seconds.append(time.perf_counter() - began)
    return seconds


def published_seconds(
    rbm: RBM, cases: Tensor, seed: int, betas: Tensor
) -> tuple[float, ais.Estimate]:
    """Return seconds of the published schedule with 100 chains, and what it found."""
    base, rng = ais.base_rates(rbm, cases), generator(seed)
    began = time.perf_counter()
    *_, chains = ais.anneal(rbm, base, ais.init_forward(rbm, base, betas, 100, rng), rng=rng)
    return time.perf_counter() - began, ais.estimate(rbm, base, chains)


# Does another layer help?


def layers(
    seeds: tuple[int, ...], epochs: int = 100, sizes: tuple[int, ...] = (64, 100, 100, 100)
) -> dict[int, list[likelihood.Score]]:
    """Return the scores of each depth of a stack on binarised digits, a score a seed, each RBM
    trained by PCD on the one below.
    """
    result: dict[int, list[likelihood.Score]] = {depth: [] for depth in range(1, len(sizes))}
    dataset = load("digits")
    assert dataset.test is not None
    layer = CDConfig(
        epochs=epochs,
        batch_size=20,
        learning_rate=0.05,
        final_learning_rate=5e-4,
        momentum=0.5,
        persistent=True,
    )
    for seed in seeds:
        rng = generator(seed)
        cases, test = draw_binary(dataset.train.images, rng), draw_binary(dataset.test.images, rng)
        dbn = DBN(sizes, rng=rng)
        for _ in greedy.epochs(dbn, cases, config=GreedyConfig(layer, layer), rng=rng):
            pass
        for depth in result:
            below = draw_binary(greedy.features(dbn, cases, depth - 1), rng)
            log_z = likelihood.log_partition(dbn.rbm(depth - 1), below, rng=rng, target_error=0.05)
            result[depth].append(
                likelihood.score(dbn, test, log_z, rng=rng, samples=50, depth=depth)
            )
            print(
                f"seed {seed} depth {depth}: {result[depth][-1].mean:.2f} (reverse "
                f"{result[depth][-1].reverse:.2f})",
                flush=True,
            )
    return result


def monitor_percent(visible: int, hidden: int, cases: int = 50_000, part: int = 10) -> float:
    """Return what the monitors cost, in % of the processor time of an epoch of CD-1 over `cases`
    (timed on one of `part` parts of them).
    """
    rng = generator(0)
    rbm, some = RBM(visible, hidden, rng=rng), torch.rand(cases // part, visible, generator=rng)
    dtype, began = pick_precision("auto", rbm.weight.device), time.process_time()
    *_, record = cd.epochs(rbm, some, config=CDConfig(epochs=1), rng=rng, dtype=dtype)
    per_epoch, began = part * (time.process_time() - began), time.process_time()
    count = min(monitor.CASES, len(some) // 2)
    monitor.measure(
        rbm, some[:count], some[-count:], rng=rng, increment=record.state.velocity["weight"]
    )
    return 100 * (time.process_time() - began) / per_epoch


# Density models of binarised MNIST


def train(
    path: Path,
    rbm: RBM,
    config: CDConfig,
    draw: Any,
    options: LikelihoodMeasureOptions,
    stage: str,
    look: Callable[[int, RBM], None] = lambda epoch, mean: None,
) -> RBM:
    """Train `rbm` (in place) on what `draw(rng)` returns anew before each epoch, and return its
    weights' running mean; goes on after a stop. `look` sees each epoch's number and the mean.
    """
    mean = copy.deepcopy(rbm)
    models = {"rbm": rbm, "mean": mean}
    progress = resumed(path, generator(options.seed), models, "training")
    settings: dict[str, Any] = {
        "config": config,
        "stage": stage,
        "dtype": pick_precision(options.precision, rbm.weight.device),
    }

    def records() -> Iterator[EpochResult]:
        cases = draw(progress.rng)
        for record in cd.epochs(rbm, cases, rng=progress.rng, state=progress.state, **settings):
            for ours, learned in zip(mean.parameters(), rbm.parameters(), strict=True):
                ours.lerp_(learned, max(1 - options.average, 1 / record.epoch))
            look(record.epoch, mean)
            yield record
            cases.copy_(draw(progress.rng))

    began = time.perf_counter()
    for record in run(progress, records(), models, rbm):
        print(
            f"{stage} {record.epoch}/{record.epochs}  {time.perf_counter() - began:.1f} s",
            flush=True,
        )
        began = time.perf_counter()
    checkpoint.fill(rbm, dict(mean.named_parameters()), [], path)
    return rbm


def features(rbm: RBM, cases: Tensor, rng: torch.Generator) -> Tensor:
    """Return hidden states drawn given `cases`, (N, hidden), bool: the data of the next RBM."""
    return torch.cat([rbm.sample_hidden(chunk, rng).bool() for chunk in chunks(cases)])


def mirror(first: RBM, hidden: int, rng: torch.Generator) -> RBM:
    """Return an RBM on top of `first` that begins as its mirror image, so that the stack begins at
    the likelihood of `first`.

    Its first hidden units take the visible units' place, weights transposed; the others begin near
    zero. Source: Hinton, Osindero & Teh (2006), section 4.
    """
    top, mirrored = (
        RBM(first.hidden, hidden, rng=rng, weight_std=0.01),
        min(hidden, first.visible.size),
    )
    top.weight[:, :mirrored] = first.weight.t()[:, :mirrored]
    top.visible_bias.copy_(first.hidden_bias)
    top.hidden_bias[:mirrored] = first.visible_bias[:mirrored]
    return top


def stack(first: RBM, top: RBM | None) -> DBN:
    """Return the RBM as a net of one layer, or the deep belief net of both."""
    sizes = (
        (first.visible.size, first.hidden.size)
        if top is None
        else (first.visible.size, first.hidden.size, top.hidden.size)
    )
    dbn = DBN(sizes, rng=generator(0))
    for layer, rbm in enumerate([first] if top is None else [first, top]):
        for there, learned in zip(dbn.rbm(layer).parameters(), rbm.parameters(), strict=True):
            there.copy_(learned)
    return dbn


def score_rows(
    name: str,
    metric: str,
    reported: str,
    dbn: DBN,
    cases: Tensor,
    scored: Tensor,
    options: LikelihoodMeasureOptions,
    command: str,
) -> list[results.Row]:
    """Return the rows of one net: its score with log Z at the upper end of its interval, and every
    other reading beside it.
    """
    rng, below = generator(options.seed), cases[:20_000].float()
    for layer in range(dbn.depth - 1):
        below = draw_binary(dbn.recognition[layer].probs(below), rng)
    log_z: LogZ = likelihood.log_partition(
        dbn.rbm(dbn.depth - 1),
        below,
        rng=rng,
        target_error=options.target_error,
        limit=options.limit,
    )
    result = likelihood.score(dbn, scored.float(), log_z, rng=rng, samples=20)
    trained = likelihood.score(dbn, cases[:10_000].float(), log_z, rng=rng, samples=20)
    part = "held_out" if options.hold_out else "test"
    notes: dict[str, Any] = {
        "seeds": [options.seed], "command": command, "log_z": log_z.as_json(),
        "error": result.error,
        "scored_cases": len(scored), "training_columns": len(cases),
        "mean_with_log_z_at_its_estimate": result.mean,
    }  # fmt: skip
    values = {
        f"{part}_{metric}": result.conservative,
        f"{part}_{metric}_reverse": result.reverse,
        f"train_{metric}": trained.conservative,
    }
    if dbn.depth > 1:
        values[f"{part}_importance_weighted"] = result.importance_weighted - (
            log_z.forward.high - log_z.forward.log_z
        )
    shown = {f"test_{metric}": reported}
    return [
        results.row("likelihood", name, key, [value], reported=shown.get(key, ""), **notes)
        for key, value in values.items()
        if value is not None
    ]


DENSITIES = {
    "rbm": ("rbm-500", "log_likelihood", "-86.3"),
    "dbn": ("dbn-500-2000", "bound", "-86.0 (DBM -84.62)"),
}
"""The rows of each net: their name, their metric, and the figure reported elsewhere."""


def density_models(options: LikelihoodMeasureOptions, command: str) -> list[results.Row]:
    """Train what is asked for and not trained yet, and return the rows."""
    cases, test = read_mat(options.mat)
    if options.hold_out:
        cases, test = cases[: -options.hold_out], cases[-options.hold_out :]
    options.folder.mkdir(parents=True, exist_ok=True)
    rng = generator(options.seed)
    first = RBM(cases.shape[1], options.hidden, rng=rng, weight_std=0.01)
    cd.init_visible_bias(first, cases)
    if options.start is not None:
        checkpoint.fill(
            first, dict(checkpoint.load(options.start).rbm(0).named_parameters()), [], options.start
        )
    first = train(
        options.folder / "rbm.safetensors",
        first,
        options.rbm,
        lambda _: cases.clone(),
        options,
        "rbm",
    )
    side = round(cases.shape[1] ** 0.5)
    header = {
        "shape": [side, side],
        "classes": [],
        "data_path": str(options.mat),
        "seed": options.seed,
    }
    nets = {"rbm": stack(first, None)}
    if "dbn" in options.parts:
        top = mirror(first, options.top, rng)
        top = train(
            options.folder / "top.safetensors",
            top,
            options.dbn,
            lambda draws: features(first, cases, draws),
            options,
            "top",
        )
        nets["dbn"] = stack(first, top)
    rows = []
    for name, net in nets.items():
        checkpoint.save_models(options.folder / f"{name}-model.safetensors", {"dbn": net}, header)
        if name in options.parts:
            row, metric, reported = DENSITIES[name]
            rows += score_rows(row, metric, reported, net, cases, test, options, command)
            keep(rows, options)
    return rows


def keep(rows: list[results.Row], options: LikelihoodMeasureOptions) -> None:
    """Save rows as they come, for the next net takes minutes; what was scored on held-out columns
    is printed only.
    """
    if options.out is not None and not options.hold_out:
        results.save(options.out, rows)


def main(argv: list[str]) -> None:
    """Measure what is asked for and save the rows."""
    options = tyro.cli(LikelihoodMeasureOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.likelihood", *argv])
    if options.threads:
        torch.set_num_threads(options.threads)
    rows: list[results.Row] = []
    if "against-exact" in options.parts:
        each = against_exact(options)
        hits, seeds = (
            sum(result["inside"] for result in each),
            [1000 + number for number in range(len(each))],
        )
        rows.append(
            results.row(
                "likelihood",
                "ais-against-exact",
                f"hits_of_{len(each)}",
                [hits],
                seeds=seeds,
                command=command,
                each=each,
            )
        )
    if "exact-seconds" in options.parts:
        seconds = exact_seconds()
        rows.append(
            results.row(
                "likelihood",
                "exact-20x784",
                "seconds",
                [statistics.median(seconds)],
                seeds=[0],
                command=command,
            )
        )
    if "monitors" in options.parts:
        for visible, hidden in ((784, 500), (500, 2000)):
            shares = [monitor_percent(visible, hidden) for _ in range(3)]
            rows.append(
                results.row(
                    "likelihood",
                    f"monitors-{visible}-{hidden}",
                    "percent_of_a_pass",
                    shares,
                    seeds=(0,),
                    command=command,
                )
            )
    if "layers" in options.parts:
        for depth, scores in layers((1, 2, 3), options.layer_epochs).items():
            readings = [{**score._asdict(), "log_z": score.log_z.as_json()} for score in scores]
            # log Z at its upper end too
            tight = [
                score.importance_weighted + score.conservative - score.mean for score in scores
            ]
            name, bounds = f"digits-stack-depth-{depth}", [score.conservative for score in scores]
            rows.append(
                results.row(
                    "likelihood",
                    name,
                    "test_bound",
                    bounds,
                    seeds=(1, 2, 3),
                    command=command,
                    readings=readings,
                )
            )
            rows.append(
                results.row(
                    "likelihood",
                    name,
                    "test_importance_weighted",
                    tight,
                    seeds=(1, 2, 3),
                    command=command,
                )
            )
    if "rbm" in options.parts or "dbn" in options.parts:
        rows += density_models(options, command)
    if "published-seconds" in options.parts:
        model = options.folder / "rbm-model.safetensors"
        cases = read_mat(options.mat)[0] if model.exists() else torch.zeros(10, 784)
        rbm = (
            checkpoint.load(model).memory
            if model.exists()
            else RBM(784, options.hidden, rng=generator(0))
        )
        took, result = published_seconds(rbm, cases, options.seed, ais.published_betas())
        notes = {"log_z": result._asdict(), "trained": model.exists()}
        rows.append(
            results.row(
                "likelihood",
                "ais-published-schedule",
                "seconds",
                [took],
                seeds=[options.seed],
                reported="480",
                command=command,
                **notes,
            )
        )
    for one in rows:
        print(one["row"], one["metric"], one["value"])
    keep(rows, options)


if __name__ == "__main__":
    main(sys.argv[1:])
