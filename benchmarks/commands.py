"""The reference of the command line, docs/commands.md, from what `wakesleep COMMAND --help` prints.

python -m benchmarks.commands docs/commands.md
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from unittest import mock

from wakesleep import cli

HEAD = """# Command line

Made from the help of each command by `python -m benchmarks.commands docs/commands.md`; change it
there. What an option sets, with its reason, is in the [API reference](api.md) under the class that
the name of its group names.
"""
COLUMNS = 100


def help_of(command: str) -> str:
    """Return what `wakesleep COMMAND --help` prints on a terminal of 100 columns."""
    printed = io.StringIO()
    width = {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    environment, printing = mock.patch.dict(os.environ, width), contextlib.redirect_stdout(printed)
    with environment, printing, contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def reference() -> str:
    """Return the page: a section for each group of commands."""
    parts = [HEAD]
    for group, commands in cli.GROUPS.items():
        parts.append(f"## {group}\n")
        for name, words in commands.items():
            parts.append(f"### wakesleep {name}\n\n{words.capitalize()}.\n")
            parts.append(f"```text\n{help_of(name)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
