"""The command line: find the command, parse its options, call it, print.

Only the command that was called is loaded, and PyTorch only once its options are parsed, so that
help and errors in a call come at once.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import inspect
import io
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from wakesleep.foundation import renamed
from wakesleep.foundation.errors import ConfigError, WakesleepError

GROUPS = {
    "Train a network": {
        "train": "pretrain a network on a data set, fine-tune it, count its errors",
        "finetune": "train a finished network further, in another of three ways",
        "advise": "find out how many layers and units suit a data set",
    },
    "Use a network": {
        "serve": "open the web page: draw a digit, watch it recognised and dreamt",
        "page": "write the web page as a folder for any static host",
        "recognize": "say what picture files show",
        "dream": "write pictures that the network generates, of one class or any",
        "recall": "hear a digit and see it, see one and hear it: several senses",
    },
    "Judge a network": {
        "evaluate": "count the errors on test cases",
        "likelihood": "bound the log-probability of test cases",
        "mixing": "find out whether chains mix, and how many steps a dream needs",
        "plot": "draw receptive fields, training curves, dreams, the worst errors",
    },
    "Data and tables": {
        "data": "check and describe a data set: a known one or your own",
        "reproduce": "re-run the tables of the paper (hours to a day)",
    },
}
"""The commands as the help lists them; each is a file of that name beside this one."""
COMMANDS = tuple(name for group in GROUPS.values() for name in group)
MOVED = {"bench": "`python -m benchmarks.bench` in a checkout of the source"}
"""Commands of earlier versions, and what does their work now."""
FIRST = {
    "wakesleep serve": "a trained network, in your browser",
    "wakesleep train": "1,797 small digits, about a minute",
    "wakesleep dream runs/digits": "what it generates, as dreams.png",
    "wakesleep train --data FOLDER": "your pictures, a folder for each class",
}


BY_OPTION = ("train", "advise")
"""Commands that take nothing but options."""
ALL = "--help-all"
"""Explains every option of a command whose --help explains the usual ones alone."""


class Call(NamedTuple):
    """A command whose options are parsed."""

    args: Any
    """Its options, a dataclass."""
    run: Callable[[Any, str], int]
    """What it does with them, given the whole command as a line; returns the exit status."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 for a refusal, 2 for a wrong call, 130 after
    Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(overview())
            return 0 if argv else 2
        if argv[0] == "--version":
            from wakesleep import __version__

            print(f"wakesleep {__version__}")
            return 0
        call = parse(argv)
        return _run(call, shlex.join(["wakesleep", *argv]))
    except WakesleepError as error:
        print(f"wakesleep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wakesleep: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"wakesleep: {error}; check that the path exists and that there is space",
            file=sys.stderr,
        )
        return 1


def _run(call: Call, command: str) -> int:
    """Let a command do its work, by the backend that it was called with."""
    if not hasattr(call.args, "backend"):
        return call.run(call.args, command)
    from wakesleep.compute import ops

    with ops.backend(call.args.backend):
        return call.run(call.args, command)


def overview() -> str:
    """Return what `wakesleep --help` shows: what to try first, then a line for each command."""
    width = max(map(len, FIRST)) + 3
    lines = ["usage: wakesleep COMMAND [OPTIONS]", ""]
    lines += [
        "Networks that learn to generate pictures and then recognise them better for it.",
        "",
        "Try first:",
    ]
    lines += [f"  {command:<{width}}{what}" for command, what in FIRST.items()]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<12}{what}" for name, what in commands.items()]
    return "\n".join(
        [*lines, "", "wakesleep COMMAND --help explains its options; wakesleep --version."]
    )


def parse(argv: Sequence[str]) -> Call:
    """Return the call that `argv`, a command and its options, stands for.

    A command may have a function `suited`, which takes the options of a first parse and returns
    defaults that suit the data set or the run they name; then the options are parsed again with
    those: one parse cannot tell a default from the same value asked for. A command with many
    options names the `USUAL` ones, which its --help explains.

    Raises:
        ConfigError: no such command.
        SystemExit: options that cannot be parsed, after a message; or --help, after the
            explanation.
    """
    name, words = argv[0], renamed.flags(argv[1:])
    if name in MOVED:
        raise ConfigError(f"there is no command {name!r} any more: it is {MOVED[name]}")
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {name!r}: {meant} (wakesleep --help explains them)")
    module = import_module(f"wakesleep.cli.{name}")
    kind, usual = getattr(module, f"{name.capitalize()}Options"), getattr(module, "USUAL", ())
    if name in BY_OPTION and words and not words[0].startswith("-"):
        raise ConfigError(
            f"{words[0]} came after {name}, which takes its data set as an option: wakesleep "
            f"{name} --data {shlex.join(words)}"
        )
    asked = [word for word in words if word in ("-h", "--help", ALL)]
    rest = [word for word in words if word not in asked]
    default: Any = None
    if hasattr(module, "suited"):
        with contextlib.ExitStack() as quiet:
            # help shows the defaults for what the rest of the call names, where that can be parsed
            # and read
            if asked:
                quiet.enter_context(contextlib.suppress(SystemExit, WakesleepError))
                quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
            default = module.suited(_options(kind, name, rest))
    if not asked:
        args = _options(kind, name, words, default)
        _check_seeds(args)
        return Call(args, module.run)
    _join_help(kind)
    if not usual or ALL in asked:
        return Call(_options(kind, name, [*rest, "--help"], default), module.run)
    try:
        return Call(_options(_usual_only(kind, usual, default), name, ["--help"]), module.run)
    except SystemExit:
        print(_further(kind, usual, name))
        raise


def _options(kind: type, name: str, words: Sequence[str], default: Any = None) -> Any:
    """Return an instance of the dataclass `kind` filled from `words`."""
    import tyro

    given = {} if default is None else {"default": default}
    return tyro.cli(
        kind, prog=f"wakesleep {name}", description=inspect.getdoc(kind), args=words, **given
    )


def _join_help(kind: Any) -> None:
    """Join the lines of the options' docstrings, in place: tyro would break its help where they
    break.
    """
    import tyro

    hints = get_type_hints(kind, include_extras=True)
    for hint in hints.values():
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(inner):
            _join_help(inner)
    for owner in kind.__mro__[:-1]:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(definition, ast.ClassDef)
        for option, text in pairwise(definition.body):
            match option, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ) if "\n" in words and not dataclasses.is_dataclass(hints[name]):
                    joined = tyro.conf.arg(help=" ".join(words.split()))
                    owner.__annotations__[name] = Annotated[hints[name], joined]


def _check_seeds(args: Any) -> None:
    """Raise ConfigError for a seed that some of what draws random numbers would refuse: PyTorch,
    NumPy and scikit-learn take different ones.
    """
    for option in dataclasses.fields(args):
        value = getattr(args, option.name)
        if dataclasses.is_dataclass(value):
            _check_seeds(value)
        elif option.name in ("seed", "seeds"):
            wrong = [
                seed
                for seed in (value if isinstance(value, tuple) else (value,))
                if not 0 <= seed < 2**32
            ]
            if wrong:
                raise ConfigError(
                    f"--{option.name} {wrong[0]}: expected a whole number from 0 to {2**32 - 1:,}"
                )


def _usual_only(kind: Any, usual: Sequence[str], default: Any) -> Any:
    """Return a dataclass whose help explains the options in `usual` alone, with the values of
    `default`, where there is one, as defaults.
    """
    import tyro

    hints, marked, values = get_type_hints(kind, include_extras=True), {}, {}
    hidden: Any = tyro.conf.Suppress
    for option in dataclasses.fields(kind):
        hint, (inner, *notes) = hints[option.name], get_args(hints[option.name]) or (None,)
        value = getattr(default, option.name, option.default)
        if value is dataclasses.MISSING and option.default_factory is not dataclasses.MISSING:
            value = option.default_factory()
        if get_origin(hint) is Annotated and dataclasses.is_dataclass(inner):
            within = _usual_only(inner, usual, value)
            marked[option.name], values[option.name] = (
                Annotated[(within, *notes)],
                dataclasses.field(default_factory=within),
            )
        elif option.name in usual and value not in (dataclasses.MISSING, tyro.MISSING):
            marked[option.name], values[option.name] = hint, dataclasses.field(default=value)
        elif option.name not in usual:
            marked[option.name], values[option.name] = hidden[Any], dataclasses.field(default=None)
    members = {
        "__annotations__": marked,
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        **values,
    }
    return dataclasses.dataclass(frozen=True)(
        type(kind.__name__, (kind,), {**members, "__post_init__": lambda self: None})
    )


def _further(kind: Any, usual: Sequence[str], name: str) -> str:
    """Return the names of the options that are not in `usual`, by what they belong to, and how to
    have them explained.
    """
    groups: dict[str, list[str]] = {"": []}

    def add(options: Any, prefix: str) -> None:
        hints = get_type_hints(options, include_extras=True)
        for option in dataclasses.fields(options):
            hint, flag = hints[option.name], option.name.replace("_", "-")
            inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            if dataclasses.is_dataclass(inner):
                add(inner, prefix if get_origin(hint) is Annotated else f"{prefix}{flag}.")
            elif option.name not in usual or prefix:
                groups.setdefault(prefix, []).append(flag)

    add(kind, "")
    lines = [f"Further options, explained by wakesleep {name} {ALL}:"]
    alike: dict[tuple[str, ...], list[str]] = {}
    for prefix, flags in groups.items():
        alike.setdefault(tuple(flags), []).append(prefix)
    for names_alike, prefixes in alike.items():
        words = " ".join(names_alike if prefixes[0] else (f"--{flag}" for flag in names_alike))
        names = " ".join(f"--{prefix}(name)" for prefix in prefixes)
        head = f"  {names}  " if prefixes[0] else "  "
        lines += textwrap.wrap(
            words, 80, initial_indent=head, subsequent_indent="      ", break_on_hyphens=False
        )
    return "\n".join(lines)
