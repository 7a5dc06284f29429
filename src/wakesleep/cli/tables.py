"""What the commands do with a table of one's own: train, evaluate, recognize, dream and plot."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakesleep.cli import machine, shared
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError, DataError

if TYPE_CHECKING:
    from wakesleep.cli.dream import DreamOptions
    from wakesleep.cli.evaluate import EvaluateOptions
    from wakesleep.cli.plot import PlotOptions
    from wakesleep.cli.recognize import RecognizeOptions
    from wakesleep.cli.train import TrainOptions

USED = ("--hidden", "--seed", "--validation")
"""Settings of a run that a table heeds; the others are the estimators' own defaults."""
HELD_OUT = 0.2
"""Part of the labelled rows that errors are counted on, unless --validation says otherwise."""
SAMPLES, STEPS = 2000, 500
"""Rows of the model that pictures show, and the Gibbs steps to each."""


def kinds_of(units: tuple[str, ...]) -> Any:
    """Return what `--units` says: "auto", or the kinds of columns from COLUMN=KIND.

    Raises:
        ConfigError: another form.
    """
    if units in ((), ("auto",)):
        return "auto"
    pairs = [pair.rpartition("=") for pair in units]
    if any(not column for column, _, _ in pairs):
        raise ConfigError(
            f"--units {' '.join(units)}: expected auto, or COLUMN=KIND for some columns, e.g. "
            "--units age=real grade=levels"
        )
    return {column: kind for column, _, kind in pairs}


def train(args: TrainOptions, command: str) -> int:
    """Learn a table into a run folder: with --label to tell that column from the others, without to
    make rows and fill in holes. Return the exit status.
    """
    from wakesleep.data.table_files import read_table

    if args.resume is not None or args.labels_from is not None:
        raise ConfigError("a table has its labels in a column (--label COLUMN), and its runs begin")
    usual = shared.differences(args.config, defaults())
    for option in usual:
        if option not in USED:
            shared.tell(f"{option} has no effect on a table")
    folder = args.out or shared.free_folder(Path("runs") / stem(args.data))
    shared.refuse_existing(folder, False)
    device = machine.setup(args.threads, args.device)
    table = leave_out(read_table(args.data), args.without, strict=True)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    learned, held_out, target = split(table, args.label, args.config.validation, args.config.seed)
    model = estimator(args, target, str(device))
    print(f"{len(learned):,} rows to learn from, {len(held_out):,} held out", file=sys.stderr)
    if args.label is None:
        model.fit(learned)
    else:
        model.fit(learned.drop(columns=args.label), learned[args.label])
    (folder / "figures").mkdir(parents=True)
    model.save(folder / "model.safetensors")
    _record(folder, args, command, started, str(device), target)
    result = judge(model, held_out if len(held_out) else learned, args.label, stem(args.data))
    result["part"] = "validation" if len(held_out) else "train"
    files.write_json(folder / "evaluation.json", {"part": result["part"], "rows": [result]})
    draw(model, table, args.label, folder / "figures", args.config.seed)
    print(files.to_json(result) if args.json else f"{sentence(result)}\nrun: {folder}")
    return 0


def leave_out(table: Any, names: Sequence[str], *, strict: bool = False) -> Any:
    """Return a table without the columns of these names.

    Raises:
        ConfigError: `strict`, and the table has no such column.
    """
    from wakesleep.foundation.values import listed

    there = {str(name): name for name in table.columns}
    unknown = [name for name in names if name not in there]
    if unknown and strict:
        raise ConfigError(
            f"--without {' '.join(unknown)}: the table has no such column; it has "
            f"{listed(list(there))}"
        )
    return table.drop(columns=[there[name] for name in names if name in there])


def defaults() -> Any:
    """Return the settings of a run that learns a table."""
    from dataclasses import replace

    from wakesleep.runs.settings import TrainConfig

    return replace(TrainConfig(), hidden=(200, 300), validation=HELD_OUT)


def stem(path: str) -> str:
    """Return the name of a table: its file's without its ends."""
    return Path(path).name.split(".")[0]


def split(table: Any, label: str | None, share: float, seed: int) -> tuple[Any, Any, str]:
    """Return the rows to learn from, those that are held out, and what the label is: "classes",
    "numbers", or "" where there is none.

    Raises:
        ConfigError: no such column. DataError: a label that is missing, or of one value.
    """
    from sklearn.model_selection import train_test_split

    from wakesleep.data.columns import learn_column
    from wakesleep.foundation.values import listed

    if label is None:
        if not share:
            return table, table.iloc[:0], ""
        held = int(share) if share >= 1 else share
        return (*train_test_split(table, test_size=held, random_state=seed), "")
    if label not in table.columns:
        raise ConfigError(
            f"--label {label}: the table has no such column; it has "
            f"{listed([str(name) for name in table.columns])}"
        )
    unknown = int(table[label].isna().sum())
    if unknown:
        shared.tell(f"{unknown:,} rows without a {label} are left out")
        table = table[table[label].notna()]
    if table[label].nunique() < 2:
        raise DataError(f"column {label!r} holds {table[label].nunique()} values; expected two")
    numbers = learn_column(label, table[label]).kind in ("counts", "real")
    if not share:
        return table, table.iloc[:0], "numbers" if numbers else "classes"
    kinds = None if numbers or table[label].value_counts().min() < 2 else table[label]
    held = int(share) if share >= 1 else share
    learned, held_out = train_test_split(table, test_size=held, random_state=seed, stratify=kinds)
    return learned, held_out, "numbers" if numbers else "classes"


def estimator(args: TrainOptions, target: str, device: str) -> Any:
    """Return the estimator that learns the table."""
    from wakesleep.estimators import DBNClassifier, DBNRegressor, TableRBM

    options: dict[str, Any] = {
        "units": kinds_of(args.units),
        "device": device,
        "random_state": args.config.seed,
        "verbose": 1,
    }
    hidden, usual = args.config.hidden, args.config.hidden == defaults().hidden
    if target == "classes":
        return DBNClassifier(hidden, **options)
    if target == "numbers":
        return DBNRegressor(**options) if usual else DBNRegressor(hidden, **options)
    if not usual and len(hidden) > 1:
        raise ConfigError(f"--hidden {hidden} without --label: a table's RBM has one hidden layer")
    return TableRBM(**options) if usual else TableRBM(hidden[0], **options)


def _record(
    folder: Path, args: TrainOptions, command: str, started: str, device: str, target: str
) -> None:
    """Write the settings of the run and where it comes from."""
    import hashlib

    from wakesleep.compute import machine as hardware

    path = Path(args.data).expanduser().resolve()
    settings = {"label": args.label, "target": target, "units": list(args.units)}
    settings |= {"without": list(args.without)}
    settings |= {name: getattr(args.config, name) for name in ("hidden", "seed", "validation")}
    files.write_json(folder / "config.json", {"format": files.FORMAT, "table": settings})
    provenance = {
        "data": stem(args.data),
        "data_path": str(path),
        "data_checksum": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seed": args.config.seed,
        "device": device,
        "command": command,
        "started": started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": hardware.versions(),
    }
    files.write_json(folder / "provenance.json", provenance)


def load(run: Path) -> Any:
    """Return the estimator of a run or model file that learned a table, None for any other."""
    from wakesleep.foundation.errors import CheckpointError
    from wakesleep.runs import tensor_files

    path = run / "model.safetensors" if run.is_dir() else run
    try:
        header = tensor_files.load_header(path, "model")
    except CheckpointError:
        return None  # refused in words by whoever reads it
    note = header.get("estimator")
    if not isinstance(note, dict) or "units_" not in note.get("fitted", {}):
        return None
    import wakesleep

    return getattr(wakesleep, note["class"]).load(path)


def settings(run: Path) -> dict[str, Any]:
    """Return what the folder of a run records of its table; nothing of a model file."""
    if not (run / "config.json").is_file():
        return {}
    return {
        **files.read_json(run / "config.json").get("table", {}),
        **files.read_json(run / "provenance.json"),
    }


def judged_rows(run: Path, data: str | None) -> tuple[Any, str | None, str]:
    """Return the rows that a run is judged by, its label, and the name of their table: all rows of
    another table, those held out of its own.

    Raises:
        ConfigError: a model file, which does not say what it learned from.
    """
    from wakesleep.data.table_files import read_table

    known = settings(run)
    if data is None and not known:
        raise ConfigError(f"{run} does not say what it learned from; name a table: --data FILE")
    label, path = known.get("label"), data or known["data_path"]
    table = leave_out(read_table(path), known.get("without", ()))
    if data is not None and str(Path(data).expanduser().resolve()) != known.get("data_path"):
        return table, label, stem(path)
    learned, held_out, _ = split(table, label, known["validation"], known["seed"])
    return (held_out if len(held_out) else learned), label, stem(path)


def judge(model: Any, rows: Any, label: str | None, name: str) -> dict[str, Any]:
    """Return how well a model does on rows: errors of a classifier, the error of a regressor, the
    mean log-likelihood without a label.
    """
    import numpy as np

    result = {"dataset": name, "n": len(rows)}
    if label is None:
        return {**result, "mean_log_likelihood_nats": round(model.score(rows), 4)}
    if label not in rows.columns:
        raise ConfigError(f"{name} has no column {label!r}, which the run tells from the others")
    X, y = rows.drop(columns=label), rows[label]
    if not hasattr(model, "classes_"):
        error = float(np.sqrt(np.square(model.predict(X) - y.to_numpy(float)).mean()))
        spread = float(y.std(ddof=0))
        return {**result, "root_mean_squared_error": error, "standard_deviation": spread}
    errors = int((model.predict(X) != y.to_numpy()).sum())
    return {**result, "errors": errors, "error_percent": round(100 * errors / len(rows), 4)}


def sentence(result: dict[str, Any]) -> str:
    """Return what `judge` says in words."""
    part = {"validation": " held out", "train": " that it learned from"}.get(
        result.get("part", ""), ""
    )
    rows = f"{result['dataset']}, {result['n']:,} rows{part}: "
    if "errors" in result:
        return rows + f"{result['errors']} errors, {result['error_percent']:.2f} %"
    if "root_mean_squared_error" in result:
        return rows + (
            f"off by {result['root_mean_squared_error']:.4g} (root mean square), where the mean is "
            f"off by {result['standard_deviation']:.4g}"
        )
    return rows + f"log p(row) {result['mean_log_likelihood_nats']:.3f} nats in the mean"


def evaluate(args: EvaluateOptions, model: Any) -> int:
    """Say how well the model of a table does; return the exit status."""
    if len(args.run) > 1:
        raise ConfigError("runs that learned tables are evaluated one by one")
    rows, label, name = judged_rows(args.run[0], args.data)
    if label in rows.columns:
        rows = rows[rows[label].notna()]
    result = judge(model, rows, label, name)
    if args.data is None:
        result["part"] = "validation" if settings(args.run[0]).get("validation") else "train"
    print(files.to_json(result) if args.json else sentence(result))
    return 0


def recognize(args: RecognizeOptions, model: Any) -> int:
    """Write the rows of tables with what the model says of them, as CSV on standard output; return
    the exit status.
    """
    from wakesleep.data.table_files import is_table, read_table

    for path in args.pictures:
        if not is_table(path):
            raise ConfigError(f"{path} is no table, and {args.run} learned one; give a .csv")
    known = settings(args.run)
    label = known.get("label")
    for path in args.pictures:
        table = read_table(path)
        out = table.drop(columns=label) if label in table.columns else table
        X = leave_out(out, known.get("without", ()))
        out = out.copy()
        if hasattr(model, "classes_"):
            probs = model.predict_proba(X)
            out[label or "class"] = model.classes_[probs.argmax(1)]
            for at, name in enumerate(model.classes_):
                out[f"p({name})"] = probs[:, at].round(6)
        elif hasattr(model, "predict"):
            out[label or "prediction"] = model.predict(X)
        else:
            out["log_p"] = model.score_samples(X).round(4)
        print(out.to_json(orient="records") if args.json else out.to_csv(index=False), end="")
    return 0


def dream(args: DreamOptions, model: Any) -> int:
    """Write rows that the model makes, as CSV on standard output or into the file of --out; return
    the exit status.
    """
    from wakesleep.cli.dream import DreamOptions
    from wakesleep.data.table_files import is_table

    if args.movie is not None or args.brain or args.tempering:
        raise ConfigError("--movie, --brain and --tempering are for pictures; this run makes rows")
    options: dict[str, Any] = {"random_state": args.seed, "n_gibbs_steps": args.steps or 1000}
    if args.label is not None:
        if not hasattr(model, "classes_"):
            raise ConfigError(f"--label {args.label}: this model knows no classes")
        named = {str(each): each for each in model.classes_.tolist()}
        if args.label not in named:
            raise ConfigError(f"--label {args.label}: expected one of {', '.join(named)}")
        options["label"] = named[args.label]
    rows = model.sample(args.count, **options)
    if args.label is not None:
        rows[settings(args.run).get("label") or "class"] = options["label"]
    if args.out == DreamOptions(args.run).out:
        print(rows.to_json(orient="records") if args.json else rows.to_csv(index=False), end="")
        return 0
    if not is_table(args.out):
        raise ConfigError(f"--out {args.out}: this run makes rows; name a .csv or a .parquet")
    shared.refuse_existing(args.out, args.overwrite)
    if args.out.suffix == ".parquet":
        rows.to_parquet(args.out)
    else:
        rows.to_csv(args.out, index=False, sep="\t" if ".tsv" in args.out.name else ",")
    print(files.to_json({"path": str(args.out)}) if args.json else args.out)
    return 0


def draw(model: Any, table: Any, label: str | None, folder: Path, seed: int) -> list[Path]:
    """Draw columns and correlations of a table beside those of the model into a folder; return the
    files.
    """
    from wakesleep.runs import table_figures

    X = table.drop(columns=label) if label in table.columns else table
    samples = model.sample(SAMPLES, random_state=seed, n_gibbs_steps=STEPS)
    return [
        table_figures.draw_columns(folder / "columns.png", model.units_, X, samples),
        table_figures.draw_correlations(folder / "correlations.png", model.units_, X, samples),
    ]


def plot(args: PlotOptions, model: Any) -> int:
    """Draw the pictures of a model of a table; return the exit status."""
    from wakesleep.cli.plot import make

    folder = args.run if args.run.is_dir() else args.run.parent
    target = args.out or folder / "figures"
    for name in ("columns.png", "correlations.png"):
        shared.refuse_existing(target / name, args.overwrite)
    make(target)
    rows, label, _ = judged_rows(args.run, args.data)
    paths = [str(path) for path in draw(model, rows, label, target, args.seed)]
    print(files.to_json({"paths": paths}) if args.json else "\n".join(paths))
    return 0
