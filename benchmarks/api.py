"""The API reference, docs/api.md, from the docstrings: every public name with its signature and
what it says of itself.

python -m benchmarks.api docs/api.md
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import wakesleep

HEAD = """# API reference

Made from the docstrings by `python -m benchmarks.api docs/api.md`; change it there. Every
name is an attribute of `wakesleep` and is loaded when first asked for. Cases are rows; energies and
log-probabilities are in nats a case; whatever is refused on purpose is a `WakesleepError` with its
cure.
"""


def reference() -> str:
    """Return the page: classes and functions first, then modules with what is public in them."""
    names = [name for name in wakesleep.__all__ if not name.startswith("_")]
    public = {name: getattr(wakesleep, name) for name in names}
    parts = [HEAD]
    for title, wanted in (("Classes and functions", False), ("Modules", True)):
        parts.append(f"## {title}\n")
        for name in sorted(
            (name for name in public if isinstance(public[name], ModuleType) == wanted),
            key=str.lower,
        ):
            thing = public[name]
            parts.append(
                _module(name, thing)
                if isinstance(thing, ModuleType)
                else _entry(f"wakesleep.{name}", thing, "###")
            )
    return "\n".join(parts)


def _module(name: str, module: ModuleType) -> str:
    """Return a module's words and the functions and classes it defines or hands on."""
    exported = _exported(module)
    own = [
        (key, value)
        for key, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ or key in exported
    ]
    public = [
        (key, value)
        for key, value in own
        if not key.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    ]
    inner = [
        _entry(f"wakesleep.{name}.{key}", value, "####")
        for key, value in public
        if not hasattr(wakesleep, key)
    ]
    return "\n".join([f"### wakesleep.{name}\n", _words(module), *inner])


def _exported(module: ModuleType) -> set[str]:
    """Return the names that a module takes from another to hand on: `from x import y as y`."""
    return {
        name.name
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.asname == name.name
    }


def _entry(name: str, thing: Any, mark: str) -> str:
    """Return heading, signature and words of a class or function; of a class also its fields and
    methods.
    """
    lines = [
        f"{mark} {name}\n",
        f"```text\n{name.rsplit('.', 1)[-1]}{_signature(thing)}\n```\n",
        _words(thing),
    ]
    if not inspect.isclass(thing):
        return "\n".join(lines)
    if dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"):
        lines.append(_fields(thing))
    for key in sorted(dir(thing)):
        method = inspect.getattr_static(thing, key)
        method = getattr(method, "__func__", method)
        if (
            not key.startswith("_")
            and inspect.isfunction(method)
            and method.__module__.startswith("wakesleep.")
            and method.__doc__
        ):
            lines.append(f"- **`{key}{_signature(method)}`** {' '.join(_words(method).split())}")
    return "\n".join(lines) + "\n"


def _signature(thing: Any) -> str:
    """Return a signature without annotations, which the words give as shapes and units."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    return re.sub(r"<factory>|<[^<>]* at 0x[0-9a-f]+>", "...", str(inspect.Signature(plain)))


def _fields(thing: type) -> str:
    """Return the fields of a data class or named tuple, each with the docstring below it."""
    source = inspect.getsource(thing)
    documented = re.findall(
        r'^    (\w+): [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL
    )
    return "\n".join(f"- `{name}`: {' '.join(words.split())}" for name, words in documented) + "\n"


def _words(thing: Any) -> str:
    """Return the docstring as Markdown: indented blocks as they are, sections in bold, examples
    fenced.
    """
    text = inspect.getdoc(thing) or ""
    text = re.sub(
        r"^(Args|Attributes|Raises|Returns|Yields):$", r"**\1**\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^    (?! )(\*?\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)
    text = re.sub(r"\n {6,8}(?=\S)", " ", text)
    return re.sub(r"(^>>> .*(?:\n(?!\n).+)*)", r"```text\n\1\n```", text, flags=re.MULTILINE) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
