"""The command line: parse, call, print."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from wakesleep.commands import advise, bench, data, dream, evaluate, finetune, likelihood, plot, recognize, reproduce, serve, train
from wakesleep.foundation.errors import WakesleepError
from wakesleep.settings import preset

COMMANDS: dict[type, Callable[[Any, str], int]] = {
    train.Train: train.run,
    finetune.Finetune: finetune.run,
    evaluate.Evaluate: evaluate.run,
    dream.Dream: dream.run,
    likelihood.Likelihood: likelihood.run,
    plot.Plot: plot.run,
    recognize.Recognize: recognize.run,
    advise.Advise: advise.run,
    reproduce.Reproduce: reproduce.run,
    serve.Serve: serve.run,
    data.Data: data.run,
    bench.Bench: bench.run,
}
"""What each command's options are, by the dataclass that holds them, and what it does. The command is called as the dataclass is."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 for a refusal, 2 for a wrong call, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _run(argv)
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
        print(f"wakesleep: {error}; check that the path exists and that there is space", file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    defaults: dict[type, Any] = {train.Train: train.Train(config=preset(_wanted_data(argv))), finetune.Finetune: finetune.defaults(argv)}
    union: Any = None
    for kind in COMMANDS:
        known: dict[str, Any] = {"default": defaults[kind]} if kind in defaults else {}
        named = tyro.conf.subcommand(kind.__name__.lower(), description=kind.__doc__, **known)
        one: Any = Annotated[kind, named]
        union = one if union is None else union | one
    args = tyro.cli(union, prog="wakesleep", description=__import__("wakesleep").__doc__, args=argv)
    return COMMANDS[type(args)](args, shlex.join(["wakesleep", *argv]))


def _wanted_data(argv: list[str]) -> str:
    """Return the data set a call names, before it is parsed: the defaults shown and used are those that suit the data."""
    for position, word in enumerate(argv):
        if word == "--data" and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith("--data="):
            return word.removeprefix("--data=")
    return "digits"


if __name__ == "__main__":
    sys.exit(main())
