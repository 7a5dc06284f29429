"""Figures as rows of JSON under results/, and the tables of README and docs made from them, so that text and data cannot differ.

A row is {"table", "row", "metric", "value", "low", "high", "seeds", "reported", "command", "device", "threads", "minutes", "date", "commit"}.
`python -m wakesleep.experiments.results README.md docs/*.md` writes each table anew between its two marks.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from wakesleep.checkpoint import write_json
from wakesleep.experiments import shown
from wakesleep.foundation.errors import DataError

Row = dict[str, Any]
MARK = re.compile(r"(<!-- results: ([a-z0-9-]+) -->\n).*?(<!-- end results -->)", re.DOTALL)


def row(
    table: str,
    name: str,
    metric: str,
    values: Sequence[float],
    *,
    seeds: Sequence[int],
    reported: str = "",
    command: str = "",
    **notes: Any,
) -> Row:
    """Return the row for `values`, one a seed: their median, lowest and highest."""
    return {
        "table": table,
        "row": name,
        "metric": metric,
        "value": round(statistics.median(values), 4),
        "low": round(min(values), 4),
        "high": round(max(values), 4),
        "seeds": list(seeds),
        "reported": reported,
        "command": command,
        "device": notes.pop("device", processor()),
        "threads": notes.pop("threads", torch.get_num_threads()),
        "minutes": notes.pop("minutes", None),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        **notes,
    }


def processor() -> str:
    """Return the processor's name where the system tells it, and its vector instructions: one name covers processors far apart in speed."""
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return f"cpu: {found[1] if found else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"


@cache
def commit() -> str:
    """Return the short name of the commit the code stands at; "+" marks changes on top, "" says there is no repository."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def save(path: Path, rows: list[Row]) -> None:
    """Put `rows` into the list at `path`, in place of rows of the same table, name and metric."""
    kept = [old for old in (json.loads(path.read_text(encoding="utf-8")) if path.exists() else []) if _key(old) not in map(_key, rows)]
    write_json(path, kept + rows)


def _key(found: Row) -> tuple[str, str, str]:
    return found["table"], found["row"], found["metric"]


def render(name: str, root: Path) -> str:
    """Return the Markdown table `name` from the rows under `root`.

    Raises:
        DataError: a row the table shows was never measured.
    """
    paths, lines_shown = shown.TABLES[name]
    files = [json.loads((root / path).read_text(encoding="utf-8")) for path in paths if (root / path).exists()]
    rows = {(found["row"], found["metric"]): found for file in files for found in file}
    timed = name in shown.TIMED
    head = ["what", "figure", "reported", "ours, median", "range", "seeds"] + ["minutes"] * timed
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for words, which, metric, unit in lines_shown:
        found = rows.get((which, metric))
        if found is None:
            raise DataError(f"{paths[0].parent} has no row {which} / {metric}; measure it first, see wakesleep.experiments")
        spread = f"{shown_as(found['low'])} to {shown_as(found['high'])}" if found["high"] > found["low"] else ""
        cells = [words, unit, found["reported"], f"**{shown_as(found['value'])}**", spread, str(len(found["seeds"]))]
        lines.append(f"| {' | '.join(cells + ['' if found['minutes'] is None else format(found['minutes'], '.3g')] * timed)} |")
    return "\n".join(lines) + "\n"


def shown_as(value: float) -> str:
    """Return a figure in words: large ones in whole numbers with their thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"


def update(path: Path, root: Path) -> bool:
    """Write each marked table of a Markdown file anew; return whether the text changed."""
    text = path.read_text(encoding="utf-8")
    new = MARK.sub(lambda found: f"{found[1]}{render(found[2], root)}{found[3]}", text)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, "changed" if update(Path(argument), Path.cwd()) else "up to date")
