"""Source code quoted in the documentation: refresh every block between `<!-- source: NAME -->` and
`<!-- end source -->`.

python -m benchmarks.quotes docs/architecture.md ...
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
from functools import reduce
from pathlib import Path
from types import ModuleType

BLOCK = re.compile(r"(<!-- source: ([\w.]+) -->\n).*?(<!-- end source -->)", re.DOTALL)


def quoted(page: str) -> str:
    """Return the page with every quoted function as its source is now."""
    return BLOCK.sub(
        lambda result: f"{result[1]}```python\n{source(result[2])}```\n{result[3]}", page
    )


def source(name: str) -> str:
    """Return the source of a function or method by its full name, flush left, without decorators:
    how arguments are checked is not what a page is about.
    """
    module, inner = _module(name)
    code = textwrap.dedent(inspect.getsource(reduce(getattr, inner, module)))
    return code[re.search(r"^(def|class) ", code, re.MULTILINE).start() :]  # type: ignore[union-attr]


def _module(name: str) -> tuple[ModuleType, list[str]]:
    """Return the module that a full name begins with, and the names within it."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(name)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(quoted(path.read_text(encoding="utf-8")), encoding="utf-8")
