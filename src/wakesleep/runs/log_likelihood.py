"""A run's likelihood, kept in its folder as it grows, so that a stopped estimate goes on where it
stood.

RUN/likelihood/KEY.json           finished: log Z of one depth, both ways
RUN/likelihood/KEY.safetensors    while annealing: betas, chains, log weights, generator;
                                  afterwards the traces, for plots
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wakesleep.data import Dataset, Split, some
from wakesleep.evaluation import ais, classify, likelihood
from wakesleep.evaluation.ais import Annealing
from wakesleep.evaluation.likelihood import LogZ, Score, Traces
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.learning import greedy
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.runs import tensor_files
from wakesleep.sources.arrays import as_probs, chunks, draw_binary, require_binary

Say = Callable[[str], None]
MOST_CASES = 20_000
"""Training cases from which base rates and the states of the reverse direction come."""


@dataclass(frozen=True)
class LikelihoodConfig:
    """How a likelihood is estimated."""

    binarise: str = "refuse"
    """refuse grey pixels, sample them, or round them."""
    chains: int = 100
    """Chains of each direction."""
    target_error: float = 0.1
    """Wanted standard error of log Z, nats."""
    limit: int = 20_000
    """Most temperatures."""
    published: bool = False
    """The published temperatures instead of a search."""
    reverse_steps: int = 1000
    """Gibbs steps before the reverse direction; 0: none."""
    samples: int = 10
    """Samples of q a case."""
    cases: int = 10_000
    """Most test cases."""
    labels: bool = False
    """Score log p(v, label)."""
    seed: int = 0
    """Seed of everything random."""


class RunScore(NamedTuple):
    """The score of one depth, and what it was measured on."""

    depth: int
    layers: str
    part: str
    cases: int
    score: Score
    label_log_prob: float | None
    """Mean log p(label | v), nats a case, at the full depth of a net with labels: exact for one
    layer, else given the up-pass.
    """

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        score = {**self.score._asdict(), "log_z": self.score.log_z.as_json()}
        header = {"layers": self.layers, "label_log_prob": self.label_log_prob}
        return {
            **header,
            **score,
            "kind": "exact up to log Z" if self.depth == 1 else "lower bound",
        }


def binary(images: Tensor, how: str, seed: int) -> Tensor:
    """Return `images` (N, pixels) as 0 and 1, float32: as they are, drawn from their intensities,
    or rounded.

    Raises:
        DataError: grey pixels, and `how` is "refuse".
    """
    if how == "refuse":
        require_binary(images)
    return draw_binary(images, generator(seed)) if how == "sample" else as_probs(images).round()


def score(
    folder: Path,
    dbn: DBN,
    dataset: Dataset,
    depth: int,
    plan: LikelihoodConfig,
    *,
    cases: tuple[str, Split] | None = None,
    say: Say = lambda line: None,
) -> RunScore:
    """Return the score of the lowest `depth` RBMs of a run's stack on `cases`, which are named
    "test", "validation" or "train".

    Without `cases` they are the set's test cases, or its training cases where it has no others.

    Raises:
        ConfigError: a depth that is not there, or whose weights are untied.
        DataError: grey pixels that the plan refuses.
    """
    if plan.labels and not dbn.labels:
        raise ConfigError(
            "--labels: this net's memory holds no labels; leave it out to score pictures alone"
        )
    device, whole = dbn.memory.weight.device, depth == dbn.depth
    name, part = cases or (
        ("train", dataset.train) if dataset.test is None else ("test", dataset.test)
    )
    scored = some(dataset, part, plan.cases)
    tested = binary(scored.images, plan.binarise, plan.seed).to(device)
    log_z = _log_partition(folder, dbn, some(dataset, dataset.train, MOST_CASES), depth, plan, say)
    labels = (
        scored.labels.to(device) if scored.labels is not None and dbn.labels and whole else None
    )
    rng = generator(plan.seed, device)
    bounds = likelihood.score(
        dbn,
        tested,
        log_z,
        rng=rng,
        samples=plan.samples,
        labels=labels if plan.labels else None,
        depth=depth,
    )
    label = (
        None
        if labels is None
        else float(classify.log_probs(dbn, tested).gather(1, labels[:, None]).mean())
    )
    rbm = dbn.rbm(depth - 1)
    layers = "-".join(map(str, (*dbn.sizes[:depth], rbm.hidden.size))) + (
        f" + {dbn.labels} labels" if whole and dbn.labels else ""
    )
    return RunScore(
        depth, layers, "training" if name == "train" else name, len(tested), bounds, label
    )


def _cases(dbn: DBN, train: Split, depth: int, plan: LikelihoodConfig) -> Tensor:
    """Return what the RBM at `depth` learned from, as binary states: pictures, or features drawn
    from their probabilities.
    """
    device = dbn.memory.weight.device
    images = binary(train.images, plan.binarise, plan.seed).to(device)
    if depth == dbn.depth:
        cases = greedy.memory_cases(
            dbn, images, None if train.labels is None else train.labels.to(device), checked=True
        )
    else:
        cases = greedy.features(dbn, images, depth - 1, checked=True)
    rng = generator(plan.seed, device)
    return torch.cat([draw_binary(chunk, rng) for chunk in chunks(cases)]) if depth > 1 else cases


def _key(rbm: RBM, depth: int, plan: LikelihoodConfig) -> str:
    """Return a name that changes with the weights and with every setting that log Z depends on."""
    digest = hashlib.sha256()
    for parameter in rbm.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    settings = {
        name: value
        for name, value in asdict(plan).items()
        if name not in ("samples", "cases", "labels")
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return f"depth-{depth}-{digest.hexdigest()[:12]}"


def _log_partition(
    folder: Path, dbn: DBN, train: Split, depth: int, plan: LikelihoodConfig, say: Say
) -> LogZ:
    """Return log Z of the RBM at `depth`: read, gone on with, or begun."""
    rbm, device = dbn.rbm(depth - 1), dbn.memory.weight.device
    path = folder / "likelihood" / _key(rbm, depth, plan)
    if path.with_suffix(".json").exists():
        kept = files.read_json(path.with_suffix(".json"))
        sides = [
            None if kept[name] is None else _estimate(kept[name]) for name in ("forward", "reverse")
        ]
        assert sides[0] is not None
        return LogZ(sides[0], sides[1], kept["exact"])
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = _cases(dbn, train, depth, plan)
    base, rng = ais.base_model(rbm, cases), generator(plan.seed, device)
    traces = _read(path, rng, device)
    for traces in likelihood.both_ways(  # noqa: B020 - the chains are what moves on
        rbm,
        base,
        cases,
        rng=rng,
        chains=plan.chains,
        target_error=plan.target_error,
        limit=plan.limit,
        betas=ais.published_betas() if plan.published else None,
        reverse_steps=plan.reverse_steps,
        state=traces,
    ):
        _keep(path, traces, rng)
        way, now = (
            ("forward", traces.forward) if traces.reverse is None else ("reverse", traces.reverse)
        )
        say(f"depth {depth}, {way}: {now.step:,} of {len(now.betas):,} temperatures")
    assert traces is not None
    log_z = likelihood.from_traces(rbm, base, traces)
    files.write_json(path.with_suffix(".json"), log_z.as_json())
    return log_z


def _estimate(kept: dict[str, Any]) -> ais.Estimate:
    """Return the estimate that was kept as JSON, where an interval without a lower end reads
    null.
    """
    return ais.Estimate(**{**kept, "low": -math.inf if kept["low"] is None else kept["low"]})


def _keep(stem: Path, traces: Traces, rng: torch.Generator) -> None:
    there = {name: trace for name, trace in traces._asdict().items() if trace is not None}
    tensors = {
        f"{name}/{part}": tensor
        for name, trace in there.items()
        for part, tensor in trace._asdict().items()
    }
    tensor_files.save_tensors(
        stem.with_suffix(".safetensors"), {**tensors, "rng": rng.get_state()}, {}, "annealing"
    )


def _read(stem: Path, rng: torch.Generator, device: torch.device) -> Traces | None:
    """Return the traces kept so far, if any, and set `rng` to where it stood."""
    path = stem.with_suffix(".safetensors")
    if not path.exists():
        return None
    tensors, _ = tensor_files.load_tensors(path, "annealing")
    rng.set_state(tensors.pop("rng"))
    parts = tensor_files.unflatten(tensors, {})
    return Traces(
        **{
            name: Annealing(
                part["betas"],
                part["steps"],
                part["log_weights"].to(device),
                part["visible"].to(device),
            )
            for name, part in parts.items()
        }
    )
