"""The tables of README and docs, made from the rows under results/, so that text and data cannot
differ.

`python -m benchmarks.docs_tables README.md docs/*.md` writes each table anew between its two marks.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from benchmarks import shown
from wakesleep.foundation.errors import DataError

MARK = re.compile(r"(<!-- results: ([a-z0-9-]+) -->\n).*?(<!-- end results -->)", re.DOTALL)


def render(name: str, root: Path) -> str:
    """Return the Markdown table `name` from the rows under `root`.

    Raises:
        DataError: a row the table shows was never measured.
    """
    paths, lines_shown = shown.TABLES[name]
    files = [
        json.loads((root / path).read_text(encoding="utf-8"))
        for path in paths
        if (root / path).exists()
    ]
    rows = {(result["row"], result["metric"]): result for file in files for result in file}
    timed = name in shown.TIMED
    head = ["what", "figure", "reported", "ours, median", "range", "seeds"] + ["minutes"] * timed
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for words, which, metric, unit in lines_shown:
        result = rows.get((which, metric))
        if result is None:
            raise DataError(
                f"{paths[0].parent} has no row {which} / {metric}; measure it first, "
                "see benchmarks/"
            )
        spread = (
            (f"{shown_as(result['low'])} to {shown_as(result['high'])}")
            if result["high"] > result["low"]
            else ""
        )
        cells = [
            words,
            unit,
            result["reported"],
            f"**{shown_as(result['value'])}**",
            spread,
            str(len(result["seeds"])),
        ]
        if timed:
            cells.append("" if result["minutes"] is None else format(result["minutes"], ".3g"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown_as(value: float) -> str:
    """Return a figure in words: large ones in whole numbers with their thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"


def update(path: Path, root: Path) -> bool:
    """Write each marked table of a Markdown file anew; return whether the text changed."""
    text = path.read_text(encoding="utf-8")
    new = MARK.sub(lambda result: f"{result[1]}{render(result[2], root)}{result[3]}", text)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, "changed" if update(Path(argument), Path.cwd()) else "up to date")
