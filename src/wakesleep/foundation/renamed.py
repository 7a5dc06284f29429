"""Names that changed: the old ones still work and warn, once, with the new one. Nothing here needs
PyTorch.
"""

from __future__ import annotations

import functools
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)
FIELDS = {
    "passes": "epochs",
    "initial_momentum_passes": "initial_momentum_epochs",
    "cg_top_passes": "cg_top_epochs",
}
"""Settings of a run that had other names in version 0.1: in its config.json and on its command
line.
"""
FLAG = re.compile(rf"(--(?:[\w-]+\.)*)({'|'.join(FIELDS).replace('_', '[-_]')})(?==|$)")


@functools.cache
def warn(old: str, new: str) -> None:
    """Warn that what is called `old` is now called `new`, once in a process."""
    warnings.warn(f"{old} is now called {new}", DeprecationWarning, stacklevel=3)


def fields(**names: str) -> Callable[[Class], Class]:
    """Return a decorator of a dataclass that can also be made with, and read by, old names of its
    fields (old="new") and methods.
    """

    def decorate(kind: Class) -> Class:
        original_init: Callable[..., None] = kind.__init__  # type: ignore[misc]

        @functools.wraps(original_init)
        def init(self: Any, *args: Any, **given: Any) -> None:
            for old in [name for name in given if name in names]:
                warn(f"{kind.__name__}({old}=...)", f"{names[old]}=...")
                given[names[old]] = given.pop(old)
            original_init(self, *args, **given)

        def reader(old: str) -> property:
            def read(self: Any) -> Any:
                warn(f"{kind.__name__}.{old}", names[old])
                return getattr(self, names[old])

            return property(read)

        kind.__init__ = init  # type: ignore[misc]
        for old in names:
            setattr(kind, old, reader(old))
        return kind

    return decorate


def attributes(module: str, **names: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module that also finds what it defines by old names
    (old="new").
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(f"{module}.{name}", names[name])
        return getattr(sys.modules[module], names[name])

    return find


def flags(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with the new names of options, and say on the error stream
    which have one.
    """
    renamed_words = []
    for word in words:
        match = FLAG.match(word)
        new = (
            word
            if match is None
            else match[1]
            + FIELDS[match[2].replace("-", "_")].replace("_", "-")
            + word[match.end() :]
        )
        if new != word:
            print(
                f"wakesleep: {word.partition('=')[0]} is now called {new.partition('=')[0]}",
                file=sys.stderr,
            )
        renamed_words.append(new)
    return renamed_words


def keys(values: Any) -> Any:
    """Return settings as they were read from JSON, with the new names of their fields, at any
    depth.
    """
    if isinstance(values, dict):
        return {FIELDS.get(name, name): keys(value) for name, value in values.items()}
    return values
