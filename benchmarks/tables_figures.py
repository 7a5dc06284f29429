"""The tables' plots, from the rows under results/ and nothing else: `python -m
benchmarks.tables_figures results docs/tables`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wakesleep.paper.depth import DEPTHS
from wakesleep.paper.few_labels import COUNTS, NAMES
from wakesleep.runs import plots

Rows = Iterable[dict[str, Any]]
Curves = dict[str, tuple[list[float], list[float]]]


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what is measured of each data set; return the paths of the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for data in ("mnist", "fashion-mnist"):
        path = results / f"{data}.json"
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        for name, panels, x, logarithmic in (
            (
                "strategies",
                {
                    f"{data}: validation errors against {what}": strategies(rows, at)
                    for what, at in AXES.items()
                },
                "",
                "y",
            ),
            ("few-labels", {f"{data}: test accuracy, %, median": few_labels(rows)}, "labels", "x"),
            (
                "depth",
                {
                    f"{data}: {words}, median": depth(rows, metric)
                    for metric, words in MEASURES.items()
                },
                "hidden layers",
                "",
            ),
        ):
            if any(panels.values()):
                paths.append(
                    plots.save_panels(
                        out / f"{data}-{name}.png",
                        panels,
                        x=x,
                        columns=len(panels),
                        logarithmic=logarithmic,
                    )
                )
    return paths


AXES = {"passes": 0, "minutes": 1}
MEASURES = {
    "validation_errors": "validation errors",
    "test_bound": "bound on log p of test cases, nats",
}


def strategies(rows: Rows, at: int) -> Curves:
    """Return validation errors of each strategy after each epoch, against epochs (`at` = 0) or
    minutes (1).
    """
    result = [
        row
        for row in rows
        if row["row"].startswith("strategy-")
        and row["metric"] == "validation_errors"
        and row.get("curve")
    ]
    return {
        row["row"].removeprefix("strategy-"): (
            [step[at] for step in row["curve"]],
            [step[2] for step in row["curve"]],
        )
        for row in result
    }


def depth(rows: Rows, metric: str) -> Curves:
    """Return a figure of each depth, pretrained and from random weights."""
    values = {row["row"]: row["value"] for row in rows if row["metric"] == metric}
    result: Curves = {}
    for way, ending in (("pretrained", ""), ("random weights", "-random")):
        if known := [
            (float(layers), values[f"depth-{layers}{ending}"])
            for layers in DEPTHS
            if f"depth-{layers}{ending}" in values
        ]:
            result[way] = [layers for layers, _ in known], [value for _, value in known]
    return result


def few_labels(rows: Rows) -> Curves:
    """Return the accuracy of each way to learn against the number of labels."""
    values = {row["row"]: row["value"] for row in rows if row["metric"] == "test_accuracy_percent"}
    result: Curves = {}
    for way in NAMES:
        points = [
            (
                count,
                values.get(
                    f"labels-{count}" if way == "semi-supervised" else f"labels-{count}-{way}"
                ),
            )
            for count in COUNTS
        ]
        known = [(float(count), value) for count, value in points if value is not None]
        if known:
            result[way] = [count for count, _ in known], [value for _, value in known]
    return result


if __name__ == "__main__":
    for picture in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(picture)
