"""Figures as rows of JSON, as they lie under results/.

A row is {"table", "row", "metric", "value", "low", "high", "seeds", "reported", "command",
"device", "threads", "minutes", "date", "commit"}; of the paper's tables also "each", the values in
the order of the seeds, and "precision".
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from wakesleep.compute import machine
from wakesleep.foundation.files import write_json

Row = dict[str, Any]


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
        "device": notes.pop("device", machine.processor_name()),
        "threads": notes.pop("threads", torch.get_num_threads()),
        "minutes": notes.pop("minutes", None),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        **notes,
    }


@cache
def commit() -> str:
    """Return the short name of the commit the code stands at; "+" marks changes on top, "" says
    there is no repository.
    """
    call = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def save(path: Path, rows: list[Row]) -> None:
    """Put `rows` into the list at `path`, in place of rows of the same table, name and metric; a
    row that says it is `partial` replaces none of more seeds.
    """
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    fuller = {
        (_key(old), len(row["seeds"]))
        for old in there
        for row in rows
        if row.get("partial") and len(old["seeds"]) > len(row["seeds"])
    }
    rows = [row for row in rows if (_key(row), len(row["seeds"])) not in fuller]
    kept = [old for old in there if _key(old) not in map(_key, rows)]
    write_json(path, kept + rows)


def _key(row: Row) -> tuple[str, str, str]:
    return row["table"], row["row"], row["metric"]
