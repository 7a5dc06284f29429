"""A loop that stops after any epoch and goes on ends as if it had not stopped, and leaves the net
at the best of its epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wakesleep.compute import distributed
from wakesleep.foundation.errors import CheckpointError
from wakesleep.foundation.rng import generator
from wakesleep.learning.records import EpochResult
from wakesleep.learning.state import EpochState
from wakesleep.runs.progress import Progress, read, resumed, run

CPU = torch.device("cpu")
EPOCHS = 5
SCORES = [(3, 0.5), (1, 0.9), (1, 0.4), (1, 0.4), (2, 0.1)]
"""Of each epoch. The fewest errors are 1; of those epochs the third and the fourth are equally
sure, and the later one counts.
"""


@dataclass
class WalkState(EpochState):
    """A random walk's: its velocity, and chains that a rank has for itself."""

    velocity: Tensor | None = None
    chains: Tensor | None = None


def walk(net: nn.Linear, progress: Progress) -> Iterator[EpochResult]:
    """The weights go where the generator says, and on in that direction."""
    state = WalkState.read(progress.state) or WalkState(
        velocity=torch.zeros(2, 3), chains=torch.zeros(4)
    )
    assert state.velocity is not None
    while state.epoch < EPOCHS:
        state.velocity += torch.randn(2, 3, generator=progress.rng)
        with torch.no_grad():
            net.weight += state.velocity
        state.epoch += 1
        yield EpochResult(
            "walk", state.epoch, EPOCHS, 1, {"speed": float(state.velocity.norm())}, state
        )


def begin(path: Path) -> tuple[nn.Linear, Progress]:
    """A net at its start, or where the file left it."""
    net = nn.Linear(3, 2)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    return net, resumed(path, generator(7), {"net": net})


def go(
    net: nn.Linear,
    progress: Progress,
    seen: list[Tensor],
    *,
    scored: bool = True,
    keep_best: bool = True,
) -> Iterator[EpochResult]:
    """Run what is left; each epoch's weights are put to `seen`, and its speed to the notes."""
    speeds = progress.notes.setdefault("speeds", [])

    def note(record: EpochResult) -> None:
        seen.append(net.weight.detach().clone())
        speeds.append(record.metrics["speed"])

    score = (lambda: SCORES[progress.state.epoch - 1]) if scored else None
    return run(
        progress,
        walk(net, progress),
        {"net": net},
        net,
        score=score,
        keep_best=keep_best,
        note=note,
    )


@pytest.mark.parametrize("stops", [{0}, {1}, {2}, {3}, {4}, {5}, {1, 2, 3, 4, 5}])
def test_a_loop_stopped_after_any_epoch_goes_on_to_the_same_bits(
    stops: set[int], tmp_path: Path
) -> None:
    whole, progress = begin(tmp_path / "whole")
    records = [record.metrics for record in go(whole, progress, [])]
    actual, path = [], tmp_path / "parts"
    for stop in sorted(stops):
        net, parts = begin(path)
        left = go(net, parts, [])
        while len(actual) < stop:
            actual.append(next(left).metrics)
        left.close()
    net, parts = begin(path)
    actual += [record.metrics for record in go(net, parts, [])]
    assert actual == records
    assert torch.equal(net.weight, whole.weight)
    assert torch.equal(parts.rng.get_state(), progress.rng.get_state())
    assert parts.notes["speeds"] == progress.notes["speeds"] == [line["speed"] for line in records]
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    (net, progress), seen = begin(tmp_path / "file"), []
    records = list(go(net, progress, seen))
    assert [
        (line.metrics["validation_errors"], line.metrics["validation_cross_entropy"])
        for line in records
    ] == SCORES
    assert progress.best is not None
    assert (progress.best.epoch, progress.best.score) == (4, [1, 0.4])
    assert torch.equal(net.weight, seen[3])
    assert not torch.equal(net.weight, seen[4])


@pytest.mark.parametrize("scored", [False, True])
def test_where_nothing_is_scored_or_scores_do_not_pick_the_last_epoch_stays(
    scored: bool, tmp_path: Path
) -> None:
    (net, progress), seen = begin(tmp_path / "file"), []
    records = list(go(net, progress, seen, scored=scored, keep_best=False))
    assert progress.best is None
    assert torch.equal(net.weight, seen[-1])
    assert [line.metrics.get("validation_errors") for line in records] == [
        errors if scored else None for errors, _ in SCORES
    ]


def test_an_epoch_is_in_the_file_before_it_is_told(tmp_path: Path) -> None:
    (net, progress), seen = begin(tmp_path / "file"), []
    for record in go(net, progress, seen):
        there, parts = read(tmp_path / "file", CPU)
        assert there.state["epoch"] == record.epoch
        assert torch.equal(parts["net"]["weight"], seen[-1])
        assert there.notes["speeds"] == progress.notes["speeds"]
        assert there.best is not None
        assert progress.best is not None
        assert (there.best.score, there.best.epoch) == (progress.best.score, progress.best.epoch)


def test_a_loop_that_has_not_begun_has_no_state(tmp_path: Path) -> None:
    net, progress = begin(tmp_path / "file")
    progress.notes = {"lines": 3}
    progress.save({"net": net})
    there, parts = read(tmp_path / "file", CPU)
    assert (there.state, there.best, there.notes["lines"], set(parts)) == (None, None, 3, {"net"})


def test_a_file_of_other_models_is_refused(tmp_path: Path) -> None:
    net, progress = begin(tmp_path / "file")
    next(go(net, progress, []))
    for name, other, output in (
        ("rbm", net, "holds no rbm"),
        ("net", nn.Linear(4, 2), "another shape"),
    ):
        with pytest.raises(CheckpointError, match=output):
            resumed(tmp_path / "file", generator(0), {name: other})
    with pytest.raises(CheckpointError, match="expected a training file"):
        resumed(tmp_path / "file", generator(0), {"net": net}, "training")


def test_each_rank_reads_its_own_generator_and_chains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, progress = begin(tmp_path / "file")
    progress.state = WalkState(1, torch.ones(2, 3), torch.zeros(4))
    theirs = {torch.uint8: generator(9).get_state(), torch.float32: torch.ones(4)}
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    monkeypatch.setattr(distributed, "gather", lambda mine: [mine, theirs[mine.dtype]])
    progress.save({"net": net})
    for rank, (rng, chains) in enumerate(((progress.rng, 0.0), (generator(9), 1.0))):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        actual, _ = read(tmp_path / "file", CPU)
        assert actual.notes["ranks"] == 2
        assert torch.equal(actual.rng.get_state(), rng.get_state())
        assert actual.state["chains"].tolist() == [chains] * 4
        assert torch.equal(actual.state["velocity"], torch.ones(2, 3))
