"""How fast: wakesleep, its baselines and the bare matrix products in one process tree, on the same
cases, threads and batch, taking turns.

Each contestant is a process of its own (`bench_worker.py`) that waits while another works. A round
asks every contestant for one epoch; a figure is the median over the rounds, a ratio the median of
the rounds' ratios, so that a machine that slows down slows both sides. The *bound* is what the same
matrix products cost PyTorch with nothing around them; where its other library, oneDNN, makes
float32 products faster and ours are made by it, these products alone take part as well (`onednn`).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import bench_quality, bench_worker
from benchmarks.bench_quality import Judged
from benchmarks.bench_worker import GIBBS, PRODUCTS
from wakesleep.compute import cpu, cpu_kernels
from wakesleep.foundation.errors import ConfigError
from wakesleep.paper import results


@dataclass(frozen=True)
class BenchPlan:
    """What is measured, and at which size."""

    threads: int
    rounds: int = 5
    batches: tuple[int, ...] = (10, 100, 1000)
    visible: int = 784
    hidden: int = 500
    sizes: tuple[int, ...] = (784, 500, 500, 2000)
    labels: int = 10
    updown_steps: tuple[int, ...] = (3, 10)
    dream_steps: int = 50
    betas: int = 200
    streamed: int = 40_000
    """Cases on the disk: more than are in memory at once."""
    scale: int = 100
    """Minibatches in an epoch, at a batch of 100: enough that an epoch takes some tenths of a
    second.
    """
    quality_epochs: int = 10
    """Epochs of a machine that is judged."""
    held_out: int = 2_000
    """Cases that no machine sees: one half chooses rates, the other judges."""
    temperatures: tuple[int, int] = (300, 3_000)
    """Most temperatures on the way to a log Z and back: while a rate is chosen, and when the chosen
    machine is judged.
    """
    growth_cases: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    growth_units: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    growth_steps: tuple[int, ...] = (1, 2, 5, 10, 20)
    growth_layers: tuple[int, ...] = (1, 2, 3, 4)


SMOKE = BenchPlan(
    threads=1,
    rounds=2,
    batches=(10, 100),
    visible=64,
    hidden=16,
    sizes=(64, 16, 16, 32),
    updown_steps=(3,),
    dream_steps=3,
    betas=5,
    streamed=300,
    scale=1,
    quality_epochs=2,
    held_out=20,
    temperatures=(10, 50),
    growth_cases=(10, 100, 1000),
    growth_units=(8, 16),
    growth_steps=(1, 2),
    growth_layers=(1, 2),
)
"""The same in seconds: it shows that everything works, and its figures mean nothing."""


class Contestant(NamedTuple):
    """Who is measured, in which precision, run by which Python."""

    name: str
    dtype: str
    python: str

    def can(self, work: str) -> bool:
        """Return whether it does that kind of work: scikit-learn knows PCD alone, learnergy has
        none, baselines have no deep belief net.
        """
        if self.name == "streaming" or work == "streaming":
            return work == "streaming" and self.name in ("streaming", "wakesleep")
        if self.name == "plain":
            return work in GIBBS or work.startswith("updown")
        if self.name in ("wakesleep", *PRODUCTS):
            return work != "ais" or self.dtype == "float32"  # log Z wants small differences
        return (
            work
            in {"scikit-learn": ("pcd",), "rbms": tuple(GIBBS), "learnergy": ("cd1", "cd10")}[
                self.name
            ]
        )


class Cell(NamedTuple):
    """One figure of the table: who did what, and the seconds of an epoch in each round."""

    work: str
    batch: int
    who: Contestant
    cases: int
    seconds: list[float]
    peak_memory_gb: float

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What tells it from the others."""
        return self.work, self.batch, self.who.name, self.who.dtype


class Worker:
    """A contestant's process."""

    def __init__(self, who: Contestant) -> None:
        self.who = who
        call = [who.python, "-P", bench_worker.__file__, who.name]
        try:
            self.process = subprocess.Popen(
                call,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            raise ConfigError(
                f"{who.python} cannot be run ({error}); expected a Python executable, e.g. "
                "peers/bin/python"
            ) from error

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; {"error": reason} where there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": f"its process ended with {self.process.wait()}"}
        )
        return answer


@contextmanager
def _workers(contestants: Sequence[Contestant]) -> Iterator[list[Worker]]:
    """Start the contestants' processes, and end them whatever happens."""
    with ExitStack() as stack:
        workers = []
        for who in contestants:
            worker = Worker(who)
            stack.enter_context(worker.process)  # closes its pipes and waits, after the next line
            stack.callback(worker.process.kill)
            workers.append(worker)
        yield workers


def contestants(dtypes: Sequence[str], peers: Path | None) -> list[Contestant]:
    """Return who takes part: ours, also without our kernels, and the bound in each precision,
    scikit-learn, and the baselines of `peers`.
    """
    interpreter = sys.executable
    own = [
        Contestant(name, dtype, interpreter) for dtype in dtypes for name in ("wakesleep", "bound")
    ]
    own += [Contestant("plain", dtype, interpreter) for dtype in dtypes if cpu_kernels.are_built()]
    own += [Contestant("onednn", "float32", interpreter)] if cpu.onednn_pays() else []
    own += [Contestant("streaming", dtypes[-1], interpreter)]
    baselines = (
        []
        if peers is None
        else [Contestant(name, "float32", str(peers)) for name in ("rbms", "learnergy")]
    )
    return [*own, Contestant("scikit-learn", "float32", interpreter), *baselines]


def requests(plan: BenchPlan, data: Path | None, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every piece of work, as all contestants are asked for it."""
    common = {
        "threads": plan.threads,
        "visible": plan.visible,
        "hidden": plan.hidden,
        "sizes": plan.sizes,
        "labels": plan.labels,
    }
    common |= {"data": str(data) if data else ""}
    for work, steps in GIBBS.items():
        for batch in plan.batches:
            minibatches = plan.scale * min(200, max(20, 10_000 // batch)) // 100
            yield {
                **common,
                "work": work,
                "batch": batch,
                "cases": batch * max(1, minibatches // steps),
            }
    batch = 100
    few = batch * max(1, plan.scale // 5)
    for steps in plan.updown_steps:
        yield {
            **common,
            "work": f"updown-k{steps}",
            "batch": batch,
            "cases": 5 * few,
            "steps": steps,
        }
    yield {**common, "work": "backprop", "batch": batch, "cases": 2 * few}
    yield {**common, "work": "dreaming", "batch": batch, "cases": batch, "steps": plan.dream_steps}
    yield {**common, "work": "ais", "batch": batch, "cases": batch, "steps": plan.betas}
    yield {
        **common,
        "work": "streaming",
        "batch": batch,
        "cases": plan.streamed,
        "data": "",
        "folder": str(folder),
    }


def measure(
    plan: BenchPlan, who: Sequence[Contestant], data: Path | None, tell: Callable[[str], None]
) -> tuple[list[Cell], dict[str, str]]:
    """Return the cells, and by name the version of who was measured or the reason why not; `tell`
    hears of each piece of work.
    """
    with tempfile.TemporaryDirectory() as folder:
        return take_turns(who, requests(plan, data, Path(folder)), plan.rounds, tell)


def take_turns(
    who: Sequence[Contestant],
    asked: Iterable[dict[str, Any]],
    rounds: int,
    tell: Callable[[str], None],
) -> tuple[list[Cell], dict[str, str]]:
    """Return the cells of all pieces of work that are asked for, and who was measured or why not,
    as `measure` does.
    """
    versions: dict[str, str] = {}
    cells = []
    with _workers(who) as workers:
        for worker in list(workers):
            answer = worker.ask({"work": "version"})
            versions[worker.who.name] = answer.get("version") or f"skipped: {answer['error']}"
            if "error" in answer:
                workers.remove(worker)
        for request in asked:
            work, batch = request["work"], request["batch"]
            tell(f"{work}, batch {batch}")
            seconds: dict[Contestant, list[float]] = {}
            peaks: dict[Contestant, float] = {}
            turns = [worker for worker in workers if worker.who.can(work)]
            for _ in range(rounds):
                for worker in list(turns):
                    answer = worker.ask({**request, "dtype": worker.who.dtype})
                    if "error" in answer:
                        versions[f"{worker.who.name}, {work}, batch {batch}"] = (
                            f"skipped: {answer['error']}"
                        )
                        turns.remove(worker)
                        continue
                    seconds.setdefault(worker.who, []).append(answer["seconds"])
                    peaks[worker.who] = answer["peak_memory_gb"] or 0.0
            cells += [
                Cell(work, batch, one, request["cases"], seconds[one], peaks[one])
                for one in [worker.who for worker in turns]
            ]
    return cells, versions


def quality(
    plan: BenchPlan, who: Sequence[Contestant], data: Path | None, tell: Callable[[str], None]
) -> tuple[list[Judged], dict[str, str]]:
    """Return how well each contestant learns by CD-1 and PCD at batch 100, outside any clock, and
    by name why one does not.
    """
    judged, skipped = [], dict[str, str]()
    learners = [one for one in who if one.name not in (*PRODUCTS, "plain", "streaming")]
    with tempfile.TemporaryDirectory() as folder, _workers(learners) as workers:
        present = [worker for worker in workers if "error" not in worker.ask({"work": "version"})]
        wanted = (
            one
            for one in requests(plan, data, Path(folder))
            if one["work"] in ("cd1", "pcd") and one["batch"] == 100
        )
        for request in wanted:
            ask = [
                (worker.who.name, worker.who.dtype, worker.ask)
                for worker in present
                if worker.who.can(request["work"])
            ]
            asked = {**request, "passes": plan.quality_epochs}
            size: dict[str, Any] = {"held_out": plan.held_out, "limits": plan.temperatures}
            for outcome in bench_quality.measure(
                ask, asked, **size, folder=Path(folder), tell=tell
            ):
                if isinstance(outcome, Judged):
                    judged.append(outcome)
                else:
                    skipped[f"{outcome[0]}, {request['work']} {outcome[1]}, quality"] = (
                        f"skipped: {outcome[2]}"
                    )
    return judged, skipped


def ratios(slower: Cell, faster: Cell) -> list[float]:
    """Return how many times as fast `faster` is, round by round."""
    return [a / b for a, b in zip(slower.seconds, faster.seconds, strict=True)]


def rows(
    cells: Sequence[Cell], versions: dict[str, str], plan: BenchPlan, command: str
) -> list[results.Row]:
    """Return all figures as rows: every cell in the table "bench", the ratios that settle arguments
    in "speed".
    """
    by_key = {cell.key: cell for cell in cells}
    notes: dict[str, Any] = {
        "command": command,
        "threads": plan.threads,
        "versions": versions,
        "seeds": [0],
    }
    table = []
    for cell in cells:
        name = f"{cell.work}-batch-{cell.batch}-{cell.who.name}-{cell.who.dtype}"
        rates = [cell.cases / seconds for seconds in cell.seconds]
        table.append(results.row("bench", name, "cases_per_second", rates, **notes))
        table.append(results.row("bench", name, "peak_memory_gb", [cell.peak_memory_gb], **notes))
        bound = by_key.get((cell.work, cell.batch, "bound", cell.who.dtype))
        if bound is not None and cell.who.name != "bound":
            table.append(
                results.row("bench", name, "fraction_of_bound", ratios(bound, cell), **notes)
            )
    default = max((cell.who.dtype for cell in cells), key=("float32", "bfloat16").index)
    for name, metric, slower, faster in headlines(default):
        if slower in by_key and faster in by_key:
            note: dict[str, Any] = {
                "precision": faster[-1],
                "compared": f"{'-'.join(map(str, faster))} over {'-'.join(map(str, slower))}",
            }
            table.append(
                results.row(
                    "speed", name, metric, ratios(by_key[slower], by_key[faster]), **notes, **note
                )
            )
    return table


def of_machine(rows: Sequence[results.Row], name: str) -> list[results.Row]:
    """Return the rows in tables whose names end with that of a machine, where it has one: "speed"
    becomes "speed-laptop".
    """
    return [{**row, "table": f"{row['table']}-{name}"} for row in rows] if name else list(rows)


Key = tuple[str, int, str, str]


def headlines(default: str) -> list[tuple[str, str, Key, Key]]:
    """Return the ratios that matter: name, metric, who is compared with whom. A baseline is
    compared on the same work: scikit-learn has PCD.
    """
    ours: Key = ("cd1", 100, "wakesleep", "float32")
    of_default: Key = ("cd1", 100, "wakesleep", default)
    pairs: list[tuple[str, str, Key, Key]] = [
        (
            "streaming",
            "cost_ratio_to_resident",
            ("streaming", 100, "streaming", default),
            ("streaming", 100, "wakesleep", default),
        ),
        ("cd1-float32", "fraction_of_bound", ("cd1", 100, "bound", "float32"), ours),
        ("cd1-float32", "fraction_of_onednn", ("cd1", 100, "onednn", "float32"), ours),
        ("cd1-float32-by-hand", "speedup_over_plain", ("cd1", 100, "plain", "float32"), ours),
        (
            "against-sklearn",
            "speedup",
            ("pcd", 100, "scikit-learn", "float32"),
            ("pcd", 100, "wakesleep", default),
        ),
        (
            "against-sklearn-float32",
            "speedup",
            ("pcd", 100, "scikit-learn", "float32"),
            ("pcd", 100, "wakesleep", "float32"),
        ),
        ("against-rbms", "speedup", ("cd1", 100, "rbms", "float32"), of_default),
        ("against-learnergy", "speedup", ("cd1", 100, "learnergy", "float32"), of_default),
        (
            "updown-k3",
            "fraction_of_bound",
            ("updown-k3", 100, "bound", "float32"),
            ("updown-k3", 100, "wakesleep", "float32"),
        ),
        (
            "updown-k3",
            "fraction_of_onednn",
            ("updown-k3", 100, "onednn", "float32"),
            ("updown-k3", 100, "wakesleep", "float32"),
        ),
    ]
    if default == "float32":
        return pairs
    reduced: Key = ("updown-k3", 100, "bound", default)
    return [
        *pairs,
        ("cd1-reduced", "speedup_over_float32", ours, of_default),
        ("cd1-by-hand", "speedup_over_plain", ("cd1", 100, "plain", default), of_default),
        (
            "updown-k3-by-hand",
            "speedup_over_plain",
            ("updown-k3", 100, "plain", default),
            ("updown-k3", 100, "wakesleep", default),
        ),
        (
            "updown-k3-reduced",
            "fraction_of_bound",
            reduced,
            ("updown-k3", 100, "wakesleep", default),
        ),
    ]


Growth = dict[str, dict[int, list[float]]]
"""By what grows, and by its size: a figure a round."""


def growth(plan: BenchPlan, dtype: str, tell: Callable[[str], None]) -> Growth:
    """Return the seconds of an epoch of ours, by what grows: "cases", "units" and "K" by CD,
    "layers" by contrastive wake-sleep.

    Sizes take turns as contestants do. Under "streamed" stands the peak of memory, GB, by cases on
    the disk.
    """
    few = 100 * plan.scale
    common: dict[str, Any] = {
        "batch": 100,
        "threads": plan.threads,
        "visible": plan.visible,
        "dtype": dtype,
        "cases": max(100, few // 4),
    }
    cd = {**common, "work": "cd", "hidden": plan.hidden, "steps": 1}
    layers = {**common, "work": "updown-k1", "steps": 1, "labels": plan.labels}
    asked: dict[str, dict[int, dict[str, Any]]] = {
        "cases": {
            n: {**cd, "cases": n, "passes": max(1, 10 * few // n)} for n in plan.growth_cases
        },
        "units": {
            n: {**cd, "hidden": n, "passes": max(plan.growth_units) // n} for n in plan.growth_units
        },
        "K": {
            k: {**cd, "steps": k, "passes": max(plan.growth_steps) // k} for k in plan.growth_steps
        },
        "layers": {
            n: {**layers, "sizes": (plan.visible, *[plan.hidden] * (n + 1))}
            for n in plan.growth_layers
        },
    }
    measured: Growth = {}
    for name, requests in asked.items():
        tell(f"growth with {name}")
        answers = _in_turns(
            Contestant("wakesleep", dtype, sys.executable), requests, max(5, plan.rounds)
        )
        measured[name] = {
            n: [answer["seconds"] / requests[n].get("passes", 1) for answer in rounds]
            for n, rounds in answers.items()
        }
    tell("memory when streaming")
    with tempfile.TemporaryDirectory() as folder:
        streamed = {**cd, "work": "streaming", "folder": folder, "chunk": small_chunk(plan)}
        requests = {n: {**streamed, "cases": n} for n in plan.growth_cases[1:]}
        answers = _in_turns(Contestant("streaming", dtype, sys.executable), requests, 1)
        measured["streamed"] = {
            n: [answer["peak_memory_gb"] or 0.0 for answer in rounds]
            for n, rounds in answers.items()
        }
    return measured


def small_chunk(plan: BenchPlan) -> int:
    """Return the cases of a streamed chunk of which even the smallest set on the disk has more than
    the sixteen in memory: 20.
    """
    return plan.growth_cases[1] // 20


def _in_turns(
    who: Contestant, requests: dict[int, dict[str, Any]], rounds: int
) -> dict[int, list[dict[str, Any]]]:
    """Return by size the answers of each round to its request; each size has a process of its own,
    which keeps its work ready.
    """
    answers: dict[int, list[dict[str, Any]]] = {n: [] for n in requests}
    with _workers([who] * len(requests)) as workers:
        for _ in range(rounds):
            for worker, (n, request) in zip(workers, requests.items(), strict=True):
                answers[n].append(_answer(worker, request))
    return answers


def _answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request that has to have one."""
    answer = worker.ask(request)
    if "error" in answer:
        raise ConfigError(f"growth: {request} cannot be measured: {answer['error']}")
    return answer


def growth_rows(measured: Growth, plan: BenchPlan, command: str) -> list[results.Row]:
    """Return growth as rows: seconds of each pass in the table "growth", and what they come to in
    "speed".

    The departure from linear is the largest relative one from that line through the origin, seconds
    = c cases, which makes it smallest; it is taken within a round. Memory when streaming is that of
    ten times the cases over that of the cases.
    """
    notes: dict[str, Any] = {"command": command, "threads": plan.threads, "seeds": [0]}
    metric = {"streamed": "peak_memory_gb"}
    made = [
        results.row("growth", f"{name}-{n}", metric.get(name, "seconds"), values, **notes)
        for name, by_n in measured.items()
        for n, values in by_n.items()
    ]
    rounds = [
        [seconds / n for n, seconds in zip(measured["cases"], one, strict=True)]
        for one in zip(*measured["cases"].values(), strict=True)
    ]
    ratio = [max(each) / min(each) for each in rounds]
    departure = [100 * (max(each) - min(each)) / (max(each) + min(each)) for each in rounds]
    made.append(results.row("growth", "cases", "dearest_over_cheapest_case", ratio, **notes))
    made.append(
        results.row(
            "speed", "growth-cases", "largest_departure_from_linear_percent", departure, **notes
        )
    )
    peaks = measured["streamed"]
    tenfold = [
        b / a
        for n in peaks
        if 10 * n in peaks
        for a, b in zip(peaks[n], peaks[10 * n], strict=True)
        if a
    ]
    if tenfold:
        notes |= {
            "chunk": small_chunk(plan),
            "compared": "sets that are larger than what is in memory of them, twice 8 chunks",
        }
        made.append(
            results.row(
                "speed", "streaming-memory", "peak_memory_ratio_of_10x_cases", tenfold, **notes
            )
        )
    return made


def table(cells: Sequence[Cell], judged: Sequence[Judged] = ()) -> list[str]:
    """Return the cells as lines to read, beside them how well a machine learned, where that was
    judged.
    """
    by_key = {cell.key: cell for cell in cells}
    lines = [
        f"{'work':<12}{'batch':>6}  {'who':<24}{'cases/s':>10}  "
        f"{'range':<20}{'of bound':>9}{'peak GB':>9}"
    ]
    lines[0] += f"{'error':>9}{'nats':>10}" if judged else ""
    for cell in sorted(
        cells,
        key=lambda one: [
            one.work,
            one.batch,
            one.who.name == "bound",
            statistics.median(one.seconds),
        ],
    ):
        rates = sorted(cell.cases / seconds for seconds in cell.seconds)
        bound = by_key.get((cell.work, cell.batch, "bound", cell.who.dtype))
        share = f"{statistics.median(ratios(bound, cell)):.0%}" if bound is not None else ""
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        who = f"{cell.who.name} {cell.who.dtype}"
        rate = statistics.median(rates)
        lines.append(
            f"{cell.work:<12}{cell.batch:>6}  {who:<24}{rate:>10,.0f}  "
            f"{spread:<20}{share:>9}{cell.peak_memory_gb:>9.2f}"
        )
        if judged and cell.batch == 100:
            lines[-1] += bench_quality.columns(judged, cell.work, *cell.who[:2])
    return lines


def draw(path: Path, cells: Sequence[Cell]) -> Path:
    """Write cases a second against the batch for each kind of work that has several; return the
    path.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(GIBBS), sharey=True)
    who = list(dict.fromkeys((cell.who.name, cell.who.dtype) for cell in cells))
    for axes, work in zip(panels, GIBBS, strict=True):
        for number, (name, dtype) in enumerate(who):
            mine = [cell for cell in cells if (cell.work, *cell.who[:2]) == (work, name, dtype)]
            line = sorted(
                (cell.batch, cell.cases / statistics.median(cell.seconds)) for cell in mine
            )
            style = "--" if name in PRODUCTS else ":" if name == "plain" else "-"
            if line:
                axes.plot(
                    *zip(*line, strict=True),
                    style,
                    marker="o",
                    color=f"C{number}",
                    label=f"{name} {dtype}",
                    linewidth=1.6,
                )
        axes.set(title=work, xlabel="batch", xscale="log", yscale="log")
        axes.grid(True, alpha=0.25)
    panels[0].set_ylabel("cases a second")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    return _write(path, figure)


def draw_growth(path: Path, grown: Growth) -> Path:
    """Write how an epoch grows with each thing that grows, a dashed line through its last point
    where it is to be linear; return the path.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.6), dpi=120, layout="constrained")
    for axes, (name, by_n) in zip(figure.subplots(1, len(grown)), grown.items(), strict=True):
        curve = {n: statistics.median(values) for n, values in by_n.items()}
        axes.plot(list(curve), list(curve.values()), marker="o", linewidth=1.6)
        if name in ("cases", "units"):
            last = max(curve)
            axes.plot(
                list(curve),
                [curve[last] * n / last for n in curve],
                "--",
                color="0.6",
                linewidth=1,
                label="linear",
            )
            axes.legend(frameon=False)
        scale = "log" if name in ("cases", "units") else "linear"
        axes.set(
            title=f"a pass against {name}",
            xlabel=name,
            ylabel="seconds",
            xscale=scale,
            yscale=scale,
        )
        if name == "streamed":
            axes.set(
                title="memory when streaming",
                xlabel="cases on the disk",
                ylabel="peak GB",
                xscale="log",
                ylim=(0, 1.2 * max(curve.values())),
            )
        axes.grid(True, alpha=0.25)
    return _write(path, figure)


def _write(path: Path, figure: Any) -> Path:
    from wakesleep.foundation.files import write_atomically

    write_atomically(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:]))
    return path
