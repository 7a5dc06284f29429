"""How well the contestants of the bench learn: machines trained by each, outside the clock, judged
by one measure on cases none has seen.

Every contestant trains machines by CD-1 or PCD in minibatches of 100 and hands over weights and
biases. Twice: *searched*, with neither momentum nor decay at the rate that suits it best, and *as
timed*, with what the clock saw. Epochs and cases are the same always. One half of the held-out
cases chooses the rate, the other half judges.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wakesleep.evaluation import likelihood
from wakesleep.foundation.errors import DataError
from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.sources.arrays import draw_binary

RATES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Where a rate is sought, for all alike: as far up as a gradient divided by its norm may want, and
down to where ten epochs teach little.
"""
START = 0.1
PLAIN: dict[str, float] = {"momentum": 0.0, "weight_decay": 0.0}
"""What a searched machine is trained with beside its rate. A machine as timed gets no settings: it
is trained as the contestant is timed.
"""


class QualityScore(NamedTuple):
    """How good a machine is on cases that no one has seen."""

    reconstruction_error: float
    """Mean squared error a pixel of binary cases against what the machine makes of them: up and
    down once, by probabilities.
    """
    log_likelihood: tuple[float, float, float]
    """Mean log p(v), nats a case: with log Z as high as either direction of annealing allows, at
    the mean of both, as low as either allows.
    """
    directions_differ: float
    """By how much log Z backward exceeds log Z forward, nats; where that is more than a little,
    only the ends of the interval say anything.
    """


class Judged(NamedTuple):
    """One machine: who trained it by which algorithm and settings, how good it is, and what its
    rows note beside.
    """

    work: str
    name: str
    dtype: str
    trained: str
    score: QualityScore
    notes: dict[str, Any]


def split(data: Path | None, cases: int, visible: int, held_out: int) -> tuple[Tensor, Tensor]:
    """Return pixels to train on, at most `cases` first ones, and binary cases that are no part of
    them, the last ones, drawn from intensities.

    Raises:
        DataError: a file of too few cases.
    """
    if data is None:
        pixels = np.random.default_rng(0).integers(0, 256, (cases, visible), dtype=np.uint8)
        others = np.random.default_rng(1).integers(0, 256, (held_out, visible), dtype=np.uint8)
    else:
        everything = np.load(data, mmap_mode="r", allow_pickle=False)
        if len(everything) < 2 * held_out:
            raise DataError(
                f"{len(everything)} cases came, and {held_out} of them are to be held out; "
                "expected twice as many or more"
            )
        pixels, others = (
            np.array(everything[: min(cases, len(everything) - held_out)]),
            np.array(everything[-held_out:]),
        )
    return torch.from_numpy(pixels), draw_binary(torch.from_numpy(others), generator(0))


def judge(weights: Path, seen: Tensor, held_out: Tensor, limit: int) -> QualityScore:
    """Return how good the machine in a .npz file is on binary cases `held_out` (N, visible).

    log Z is found by annealed importance sampling between the base rates of `seen` and the machine,
    both ways, within `limit` temperatures; the way back begins in chains that have left cases of
    `seen` for `limit` Gibbs steps. Each way allows three standard errors.
    """
    with np.load(weights, allow_pickle=False) as result:
        parts = {
            name: torch.from_numpy(result[name])
            for name in ("weight", "visible_bias", "hidden_bias")
        }
    rbm = RBM(*parts["weight"].shape, rng=generator(0))
    rbm.load_state_dict(parts)
    if not all(bool(part.isfinite().all()) for part in parts.values()):
        raise DataError("its weights are NaN or infinite")
    error = float((held_out - rbm.visible_probs(rbm.hidden_probs(held_out))).square().mean())
    known = likelihood.log_partition(rbm, seen, rng=generator(0), limit=limit, reverse_steps=limit)
    forward, backward = known.forward, known.reverse
    assert backward is not None
    ends = [
        one.log_z + sign * 3 * one.standard_error for one in (forward, backward) for sign in (-1, 1)
    ]
    mean = float(-rbm.free_energy(held_out).double().mean())
    middle = mean - (forward.log_z + backward.log_z) / 2
    return QualityScore(
        error, (mean - max(ends), middle, mean - min(ends)), backward.log_z - forward.log_z
    )


def climb(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Return the best rate and the scores of all that were tried, uphill from `START` until both
    neighbours in `RATES` are worse.

    Of two that are as good the lower rate is preferred, so that machines without a score (-inf)
    send the search down.
    """
    scores: dict[float, float] = {}
    best = START
    while True:
        index = RATES.index(best)
        near = RATES[max(0, index - 1) : index + 2]
        scores |= {rate: score(rate) for rate in near if rate not in scores}
        better = max(near, key=lambda rate: (scores[rate], -rate))
        if better == best:
            return best, scores
        best = better


Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Who trains a machine as a request says and writes it where the request says."""


def train(answer: Answer, request: dict[str, Any], path: Path) -> Path:
    """Let a machine be trained and written to `path`, and return it.

    Raises:
        DataError: it was not trained; the reason.
    """
    reply = answer({**request, "hand_over": str(path)})
    if "error" in reply:
        raise DataError(reply["error"])
    return path


def search(
    answer: Answer,
    request: dict[str, Any],
    seen: Tensor,
    choosing: Tensor,
    limit: int,
    folder: Path,
) -> tuple[Path, dict[str, Any]]:
    """Return the machine of the rate that suits the contestant best on the cases `choosing`, and
    what to note of the search.

    What counts is the lower end of the log-likelihood, so that no machine is chosen because
    annealing missed what it dreams of.

    Raises:
        DataError: no rate made a machine that can be judged.
    """
    why = ""

    def score(rate: float) -> float:
        nonlocal why
        try:
            return judge(
                train(answer, {**request, **PLAIN, "rate": rate}, folder / f"{rate}.npz"),
                seen,
                choosing,
                limit,
            ).log_likelihood[0]
        except DataError as error:
            why = str(error)
            return -math.inf

    best, tried = climb(score)
    if not math.isfinite(tried[best]):
        raise DataError(
            f"no rate of {', '.join(map(str, tried))} made a machine that can be judged: {why}"
        )
    reported = {
        str(rate): round(tried[rate], 2) if math.isfinite(tried[rate]) else None
        for rate in sorted(tried)
    }
    return folder / f"{best}.npz", {
        "rate": best,
        "rate_ends_the_grid": best in (RATES[0], RATES[-1]),
        "rates_tried": reported,
    }


def measure(
    ask: Sequence[tuple[str, str, Answer]],
    request: dict[str, Any],
    *,
    held_out: int,
    limits: tuple[int, int],
    folder: Path,
    tell: Callable[[str], None],
) -> Iterator[Judged | tuple[str, str, str]]:
    """Let each of `ask`, (name, dtype, who answers requests), train machines as `request` says, and
    yield each one judged, or why not.

    `limits` are the most temperatures while a rate is chosen and when the chosen machine is judged;
    `tell` hears who trains how.
    """
    seen, others = split(
        Path(request["data"]) if request["data"] else None,
        request["cases"],
        request["visible"],
        held_out,
    )
    choosing, judging = others.chunk(2)
    for name, dtype, answer in ask:
        asked = {**request, "cases": len(seen), "dtype": dtype}
        for trained in ("searched", "as timed"):
            tell(f"quality of {request['work']}: {name} {dtype}, {trained}")
            try:
                if trained == "searched":
                    path, notes = search(answer, asked, seen, choosing, limits[0], folder)
                else:
                    path, notes = train(answer, asked, folder / "as-timed.npz"), {}
                yield Judged(
                    request["work"],
                    name,
                    dtype,
                    trained,
                    judge(path, seen, judging, limits[1]),
                    notes,
                )
            except DataError as error:
                yield name, trained, str(error)


def rows(judged: Sequence[Judged], default: str, notes: dict[str, Any]) -> list[results.Row]:
    """Return all figures as rows: each machine in the table "bench", and ours against the
    baselines' in "speed", like against like.
    """
    result = []
    for one in judged:
        name = f"{one.work}-batch-100-{one.name}-{one.dtype}{_suffix(one.trained)}"
        own = {
            **notes,
            **one.notes,
            "trained": one.trained,
            "directions_differ_nats": round(one.score.directions_differ, 2),
        }
        result.append(
            results.row(
                "bench", name, "reconstruction_error", [one.score.reconstruction_error], **own
            )
        )
        result.append(results.row("bench", name, "log_likelihood", one.score.log_likelihood, **own))
    by_key = {one[:4]: one for one in judged}
    for baseline, short, work in (
        ("scikit-learn", "sklearn", "pcd"),
        ("rbms", "rbms", "cd1"),
        ("learnergy", "learnergy", "cd1"),
    ):
        for trained in ("searched", "as timed"):
            ours, theirs = (
                by_key.get((work, "wakesleep", default, trained)),
                by_key.get((work, baseline, "float32", trained)),
            )
            if ours is not None and theirs is not None:
                result += _against(
                    f"against-{short}{_suffix(trained)}",
                    ours,
                    theirs,
                    {**notes, "trained": trained},
                )
    return result


def _suffix(trained: str) -> str:
    return "-as-timed" if trained == "as timed" else ""


def _against(name: str, ours: Judged, theirs: Judged, notes: dict[str, Any]) -> list[results.Row]:
    """Return how our machine stands against theirs; the gain is least with ours at the lower end of
    its interval and theirs at the upper.
    """
    pair = (ours, theirs)
    differ = [round(one.score.directions_differ, 2) for one in pair]
    notes = {
        **notes,
        "rates": [one.notes.get("rate") for one in pair],
        "directions_differ_nats": differ,
    }
    ratio = ours.score.reconstruction_error / theirs.score.reconstruction_error
    gains = [
        mine - other
        for mine, other in zip(
            ours.score.log_likelihood, reversed(theirs.score.log_likelihood), strict=True
        )
    ]
    return [
        results.row("speed", name, "reconstruction_error_ratio", [ratio], **notes),
        results.row("speed", name, "log_likelihood_gain_nats", gains, **notes),
    ]


def columns(judged: Sequence[Judged], work: str, name: str, dtype: str) -> str:
    """Return the two columns of the table, reconstruction error and log-likelihood of the searched
    machine; blank where there is none.
    """
    for one in judged:
        if one[:4] == (work, name, dtype, "searched"):
            likelihood = statistics.median(one.score.log_likelihood)
            return f"{one.score.reconstruction_error:>9.4f}{likelihood:>10.1f}"
    return " " * 19
