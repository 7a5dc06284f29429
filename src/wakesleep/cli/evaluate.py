"""wakesleep evaluate: count errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from wakesleep.cli import deep, shared, tables
from wakesleep.cli.options import Backend, DataFolder, Device
from wakesleep.foundation import files
from wakesleep.foundation.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from wakesleep.data import Dataset, Split
    from wakesleep.runs.checkpoint import Model


@dataclass(frozen=True)
class EvaluateOptions:
    """Count the errors of a run's model on test cases; of several runs, the errors of their average
    prediction.
    """

    run: Positional[tuple[Path, ...]]
    """A run folder or a model file, or several to be averaged."""
    method: Literal["auto", "free-energy", "backprop"] = "auto"
    """free-energy asks the generative model, backprop the net fine-tuned from it; auto takes the
    fine-tuned net where there is one.
    """
    average: Literal["probs", "log-probs"] = "probs"
    """How predictions become one: the mean of probabilities asks how many agree, that of
    log-probabilities lets a sure no overrule.
    """
    up_passes: int = 0
    """Average that many stochastic up-passes of the generative model instead of one deterministic
    up-pass, which is right by itself and quicker; 20 in the 2006 paper.
    """
    data: str | None = None
    """What to evaluate on; by default the test cases of what the first run learned from. Classes
    are matched by name.
    """
    data_folder: DataFolder = None
    seed: int = 0
    """Seed of the stochastic up-passes."""
    device: Device = "auto"
    backend: Backend = None
    json: bool = False
    """Print dataset, n_test, test_errors, test_error_percent and method as JSON; where the run
    learned from a set without test cases, n_validation and so on of the cases it held out, or
    n_train and so on where it held out none.
    """


def run(args: EvaluateOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.evaluation import ensemble
    from wakesleep.runs import report, scores

    if not args.run:
        raise ConfigError(
            "no run came; expected at least one run folder or model file: wakesleep "
            "evaluate runs/digits"
        )
    table_model = tables.load(args.run[0])
    if table_model is not None:
        return tables.evaluate(args, table_model)
    machine = deep.load(args.run[0], args.device)
    if machine is not None:
        return deep.evaluate(args, machine)
    if not args.up_passes:
        shared.tell_unused(
            args,
            {"seed": "without --up-passes"}
            | ({} if len(args.run) > 1 else {"average": "on one run without --up-passes"}),
        )
    models = [shared.model(path, args.device) for path in args.run]
    methods = [_method(args, path, model) for path, model in zip(args.run, models, strict=True)]
    dataset = shared.set_for(models[0], args.data, args.data_folder)
    part, cases = _cases(args, models, dataset)
    labels = scores.cases_for(models[0].dbn, cases, dataset.name)[1]
    predictions = []
    for path, model, method in zip(args.run, models, methods, strict=True):
        images = scores.cases_for(
            model.dbn, _seen_by(args, models, model, dataset, cases), dataset.name
        )[0]
        predictions.append(
            _as_first(_prediction(args, model, method, images), path, model, args.run[0], models[0])
        )
    method_names = " and ".join(dict.fromkeys(methods)) + (
        f", mean of {len(models)} ({args.average})" if len(models) > 1 else ""
    )
    result = scores.score(
        ensemble.average(predictions, args.average), labels, dataset.name, method_names, part
    )
    if args.json:
        print(files.to_json(result))
    else:
        print(sentence(result))
    for line in report.hardly_better_than_guessing(result):
        shared.tell(line)
    if "backprop" in methods:
        for path in args.run:
            _tell_better(path)
    return 0


def sentence(result: dict[str, Any]) -> str:
    """Return a row of an evaluation in words."""
    part = result["part"]
    which = {
        "test": "test",
        "validation": "validation (held out of the training set)",
        "train": "training (it has no test cases)",
    }[part]
    errors = f"{result[f'{part}_errors']} errors, {result[f'{part}_error_percent']:.2f} %"
    count, method = result[f"n_{part}"], result["method"]
    return f"{result['dataset']}, {count:,} {which} cases, {method}: {errors}"


def _tell_better(path: Path) -> None:
    """Say of a run folder, beside the answer, if its net from random weights was clearly better
    than the pretrained one.
    """
    from wakesleep.runs import report

    try:
        evaluation = files.read_json(path / "evaluation.json")
    except CheckpointError:
        # a model file, an unfinished run, or a file that only this sentence would need
        return
    for line in report.random_is_better(evaluation):
        shared.tell(f"{path}: {line}")


def _cases(args: EvaluateOptions, models: list[Model], dataset: Dataset) -> tuple[str, Split]:
    """Return the cases to count errors on, and which part of their set they are; all cases of a set
    that no run learned from are new.
    """
    from wakesleep.runs import scores

    if not any(shared.is_own(model, dataset) for model in models):
        return "test", dataset.test or dataset.train
    held_out = {shared.held_out(path, model) for path, model in zip(args.run, models, strict=True)}
    return scores.tested(dataset, held_out.pop() if len(held_out) == 1 else 0)


def _seen_by(
    args: EvaluateOptions, models: list[Model], model: Model, dataset: Dataset, cases: Split
) -> Split:
    """Return the cases as one of several models sees them: each prepares pictures as its own
    were.
    """
    if model.header.get("preparation") == models[0].header.get("preparation"):
        return cases
    from wakesleep.data import match_classes

    prepared = shared.set_for(
        model, args.data or str(models[0].header.get("data_path", "digits")), args.data_folder
    )
    return _cases(args, models, match_classes(prepared, dataset.classes))[1]


def _as_first(prediction: Tensor, path: Path, model: Model, first: Path, other: Model) -> Tensor:
    """Return log p(label | image), (N, labels), with the labels in the order of the first run's
    classes.

    Raises:
        ConfigError: the two know different classes.
    """
    classes, wanted = (
        tuple(str(name) for name in one.header.get("classes", ())) for one in (model, other)
    )
    if classes == wanted:
        return prediction
    if sorted(classes) != sorted(wanted):
        raise ConfigError(
            f"{path} knows the classes {', '.join(classes)}, and {first} {', '.join(wanted)}: "
            "runs that are averaged must know the same"
        )
    return prediction[:, [classes.index(name) for name in wanted]]


def _method(args: EvaluateOptions, path: Path, model: Model) -> str:
    """Return whom to ask."""
    if args.method == "backprop" and model.net is None:
        raise ConfigError(f"{path} holds no fine-tuned net; make one: wakesleep finetune {path}")
    if args.method == "auto":
        return "backprop" if model.net is not None and not args.up_passes else "free-energy"
    if args.method == "backprop" and args.up_passes:
        raise ConfigError(
            f"--up-passes {args.up_passes}: the fine-tuned net has none that are stochastic; ask "
            "--method free-energy"
        )
    return args.method


def _prediction(args: EvaluateOptions, model: Model, method: str, images: Tensor) -> Tensor:
    """Return log p(label | image), (N, labels)."""
    from wakesleep.evaluation import classify, ensemble
    from wakesleep.foundation.rng import generator
    from wakesleep.learning import backprop

    if method == "backprop" and model.net is not None:
        return backprop.log_probs(model.net, images)
    if args.up_passes:
        rng = generator(args.seed, images.device)
        return ensemble.up_passes(
            model.dbn, images, count=args.up_passes, rng=rng, how=args.average
        )
    return classify.log_probs(model.dbn, images)
