"""Following a run folder that another process fills: which network is newest, and what its passes
measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_LINES = 5_000


def stamp(folder: Path) -> tuple[str, int, int] | None:
    """Return what tells one state of a run's network from the next: the file that holds it, when it
    was written, its size.
    """
    for name in ("model.safetensors", "checkpoint.safetensors"):
        try:
            stat = (folder / name).stat()
        except OSError:
            continue
        return name, stat.st_mtime_ns, stat.st_size
    return None


def describe(folder: Path) -> dict[str, Any]:
    """Return where a run stands: its name, whether it is finished, its stages, its errors, and a
    line of metrics a pass.
    """
    config, evaluation = _json(folder / "config.json"), _json(folder / "evaluation.json")
    return {
        "name": folder.name,
        "finished": (folder / "model.safetensors").exists(),
        "stages": config.get("stages", []),
        "hidden": config.get("hidden", []),
        "evaluation": evaluation.get("rows", []),
        "metrics": _lines(folder / "metrics.jsonl"),
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file that may be growing: the last one may be half written."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    lines = []
    for line in text.splitlines()[-MOST_LINES:]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
