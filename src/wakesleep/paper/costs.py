"""What it costs: minutes, epochs, multiplications and cases per second of each part, beside a week
on a 3 GHz machine.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from wakesleep.foundation import files
from wakesleep.paper.pretraining import pretrained
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import TableSetup

TABLE = "costs"
PARTS = ("pretrain-50k", "backprop-50k", "random-50k", "updown-50k", "hybrid-60k")


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield the cost of each part of the first seed that is there; pretraining is done if it is
    not.
    """
    seed = setup.seeds[0]
    pretrained(setup, seed, PARTS[0])
    for part in PARTS:
        run_folder = setup.folder / setup.dataset.name / f"seed-{seed}-{part}"
        if (run_folder / "model.safetensors").exists():
            yield from _of_run(
                setup,
                part,
                seed,
                files.read_metrics(run_folder),
                files.read_json(run_folder / "provenance.json"),
            )
    for result in sorted(setup.folder.glob(f"{setup.dataset.name}-*-seed-{seed}-*/result.json")):
        measured = json.loads(result.read_text(encoding="utf-8"))
        name = result.parent.name.removeprefix(f"{setup.dataset.name}-").rsplit("-seed-", 1)[0]
        passes = len(measured["passes"])
        for metric, value in (("minutes", measured["minutes"]), ("passes", passes)):
            yield _row(setup, name, metric, value, seed)


def _of_run(
    setup: TableSetup, part: str, seed: int, lines: list[dict[str, Any]], provenance: dict[str, Any]
) -> Iterator[Row]:
    """Yield minutes, epochs, cases per second (median pass) and multiplications of one run
    folder.
    """
    sizes = (setup.dataset.train.images.shape[1], *setup.config.hidden)
    labels, cases = len(setup.dataset.classes), len(setup.dataset.train)
    cases -= 0 if part.endswith("60k") else int(setup.config.validation)
    total = sum(cases * multiplications(line["stage"], sizes, labels) for line in lines)
    speed = statistics.median(line["cases_per_second"] for line in lines)
    figures = {
        "minutes": sum(provenance["minutes"].values()),
        "passes": len(lines),
        "cases_per_second": speed,
        "tera_multiplications": total / 1e12,
    }
    for metric, value in figures.items():
        yield _row(setup, part, metric, value, seed)


def _row(setup: TableSetup, name: str, metric: str, value: float, seed: int) -> Row:
    reported = "a week (2006)" if (name, metric) == ("updown-50k", "minutes") else ""
    return row(
        setup.dataset.name,
        f"cost-{name}",
        metric,
        [value],
        seeds=(seed,),
        reported=reported,
        command=setup.command,
        **setup.where,
    )


def multiplications(stage: str, sizes: Sequence[int], labels: int, gibbs_steps: int = 3) -> float:
    """Return the multiplications that the products of one case take in one epoch of a stage.

    CD-1: up, down, up and two products of statistics. Backpropagation: forward, weights' gradients,
    and back to every layer but the first. Contrastive wake-sleep: up, down, twice as many to
    predict each from the other, their statistics, and the memory's 2 K + 1 products.
    """
    directed = [below * above for below, above in pairwise(sizes[:-1])]
    memory = (sizes[-2] + labels) * sizes[-1]
    net = [below * above for below, above in pairwise((*sizes, labels))]
    backward = 3 * sum(net) - net[0]
    up_down = 6 * sum(directed) + (2 * gibbs_steps + 3) * memory
    if stage.startswith("layer "):
        return 5 * directed[int(stage.split()[1]) - 1]
    return {"memory": 5 * memory, "updown": up_down, "hybrid": up_down + backward}.get(
        stage, backward
    )
