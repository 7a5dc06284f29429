"""wakesleep evaluate: count errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from wakesleep.commands import shared
from wakesleep.foundation.errors import ConfigError


@dataclass(frozen=True)
class Evaluate:
    """Count the errors of a run's model on test cases."""

    run: Positional[Path]
    """A run folder or a model file."""
    method: Literal["auto", "free-energy", "backprop"] = "auto"
    """free-energy asks the generative model, backprop the net fine-tuned from it; auto takes the fine-tuned net where there is one."""
    data: str | None = None
    """What to evaluate on; by default the test cases of what the run learned from."""
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache, and only then a download."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    json: bool = False
    """Print dataset, n_test, test_errors, test_error_percent and method as JSON."""


def run(args: Evaluate, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep import recipe

    model = shared.model(args.run, args.device)
    method = args.method if args.method != "auto" else "backprop" if model.net is not None else "free-energy"
    if method == "backprop" and model.net is None:
        raise ConfigError(f"{args.run} holds no fine-tuned net; make one: wakesleep finetune {args.run}")
    dataset = shared.load_set(args.data or str(model.header.get("data_path", "digits")), args.data_folder)
    part = dataset.test or dataset.train
    result = recipe.evaluate(model.dbn, model.net if method == "backprop" else None, part, dataset.name, method)
    if args.json:
        print(json.dumps(result))
    else:
        which = "test" if dataset.test else "training (it has no test cases)"
        found = f"{result['test_errors']} errors, {result['test_error_percent']:.2f} %"
        print(f"{dataset.name}, {result['n_test']:,} {which} cases, {method}: {found}")
    return 0
