"""How well the contestants of the bench learn: machines trained by each, outside the clock, judged by one measure on cases none has seen.

Every contestant trains one machine by CD-1 or PCD in minibatches of 100 and hands over weights and biases. Twice: *plain*, where all have the
same rate and neither momentum nor decay, and *as timed*, with what the clock saw. Passes and cases are the same always.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wakesleep.experiments import results
from wakesleep.foundation.cases import draw_binary
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.judging import ais
from wakesleep.model.rbm import RBM

PLAIN: dict[str, float] = {"rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
TRAINED = {"plain": PLAIN, "as timed": dict[str, float]()}
"""By what settings machines are trained; without any, as the contestant is timed."""


class Judged(NamedTuple):
    """One machine: who trained it by which algorithm and settings, and how good it is on cases that no one has seen."""

    work: str
    name: str
    dtype: str
    trained: str
    reconstruction_error: float
    """Mean squared error a pixel of binary cases against what the machine makes of them: up and down once, by probabilities."""
    log_likelihood: tuple[float, float, float]
    """Mean log p(v), nats a case, with log Z three standard errors higher, as estimated, and three lower."""


def split(data: Path | None, cases: int, visible: int, held_out: int) -> tuple[Tensor, Tensor]:
    """Return pixels to train on, at most `cases` first ones, and binary cases that are no part of them, the last ones, drawn from intensities.

    Raises:
        DataError: a file of too few cases.
    """
    if data is None:
        pixels = np.random.default_rng(0).integers(0, 256, (cases, visible), dtype=np.uint8)
        others = np.random.default_rng(1).integers(0, 256, (held_out, visible), dtype=np.uint8)
    else:
        everything = np.load(data, mmap_mode="r", allow_pickle=False)
        if len(everything) < 2 * held_out:
            raise DataError(f"{len(everything)} cases came, and {held_out} of them are to be held out; expected twice as many or more")
        pixels, others = np.array(everything[: min(cases, len(everything) - held_out)]), np.array(everything[-held_out:])
    return torch.from_numpy(pixels), draw_binary(torch.from_numpy(others), generator(0))


def judge(weights: Path, seen: Tensor, held_out: Tensor, limit: int) -> tuple[float, tuple[float, float, float]]:
    """Return reconstruction error and log-likelihood of the machine in a .npz file on binary cases `held_out` (N, visible).

    log Z is found by annealed importance sampling from the base rates of `seen`, within `limit` temperatures.
    """
    with np.load(weights, allow_pickle=False) as found:
        parts = {name: torch.from_numpy(found[name]) for name in ("weight", "visible_bias", "hidden_bias")}
    rbm = RBM(*parts["weight"].shape, rng=generator(0))
    rbm.load_state_dict(parts)
    if not all(bool(part.isfinite().all()) for part in parts.values()):
        raise DataError("its weights are NaN or infinite")
    error = float((held_out - rbm.visible_probs(rbm.hidden_probs(held_out))).square().mean())
    base, rng = ais.base_rates(rbm, seen), generator(0)
    *_, annealed = ais.search(rbm, base, rng=rng, limit=limit)
    log_z = ais.estimate(rbm, base, annealed)
    mean, spread = float(-rbm.free_energy(held_out).double().mean()) - log_z.log_z, 3 * log_z.standard_error
    return error, (mean - spread, mean, mean + spread)


def measure(
    ask: Sequence[tuple[str, str, Callable[[dict[str, Any]], dict[str, Any]]]],
    request: dict[str, Any],
    *,
    held_out: int,
    limit: int,
    folder: Path,
) -> Iterator[Judged | tuple[str, str, str]]:
    """Let each of `ask`, (name, dtype, who answers requests), train machines as `request` says, and yield each one judged, or why not."""
    seen, others = split(Path(request["data"]) if request["data"] else None, request["cases"], request["visible"], held_out)
    for name, dtype, answer in ask:
        for trained, settings in TRAINED.items():
            path = folder / "weights.npz"
            said = answer({**request, **settings, "cases": len(seen), "dtype": dtype, "hand_over": str(path)})
            try:
                if "error" in said:
                    raise DataError(said["error"])
                yield Judged(request["work"], name, dtype, trained, *judge(path, seen, others, limit))
            except DataError as error:
                yield name, trained, str(error)


def rows(judged: Sequence[Judged], default: str, notes: dict[str, Any]) -> list[results.Row]:
    """Return all figures as rows: each machine in the table "bench", and ours against the rivals' in "speed", plainly trained."""
    found = []
    for one in judged:
        name = f"{one.work}-batch-100-{one.name}-{one.dtype}{'-as-timed' if one.trained == 'as timed' else ''}"
        own = {**notes, "trained": one.trained}
        found.append(results.row("bench", name, "reconstruction_error", [one.reconstruction_error], **own))
        found.append(results.row("bench", name, "log_likelihood", one.log_likelihood, **own))
    by_key = {one[:4]: one for one in judged}
    for rival, short, work in (("scikit-learn", "sklearn", "pcd"), ("rbms", "rbms", "cd1"), ("learnergy", "learnergy", "cd1")):
        ours, theirs = by_key.get((work, "wakesleep", default, "plain")), by_key.get((work, rival, "float32", "plain"))
        if ours is None or theirs is None:
            continue
        ratio = ours.reconstruction_error / theirs.reconstruction_error
        gains = [mine - other for mine, other in zip(ours.log_likelihood, reversed(theirs.log_likelihood), strict=True)]
        found.append(results.row("speed", f"against-{short}", "reconstruction_error_ratio", [ratio], **notes))
        found.append(results.row("speed", f"against-{short}", "log_likelihood_gain_nats", gains, **notes))
    return found


def columns(judged: Sequence[Judged], work: str, name: str, dtype: str) -> str:
    """Return the two columns of the table, reconstruction error and log-likelihood of the plain machine; blank where there is none."""
    for one in judged:
        if one[:4] == (work, name, dtype, "plain"):
            return f"{one.reconstruction_error:>9.4f}{statistics.median(one.log_likelihood):>10.1f}"
    return " " * 19
