"""wakesleep likelihood: how probable a run's model finds cases it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from wakesleep.cli import deep, driver, machine, shared
from wakesleep.cli.options import Backend, DataFolder, Device, Threads
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from wakesleep.runs.log_likelihood import RunScore


@dataclass(frozen=True)
class LikelihoodOptions:
    """Bound the log-probability of test cases under a run's model from both sides, in nats a case;
    resumable.
    """

    run: Positional[Path]
    """A run folder or a model file."""
    per_layer: bool = False
    """Score every depth of the stack, lowest RBM first: whether another layer helped. Needs a net
    that was not untied by fine-tuning.
    """
    labels: bool = False
    """Score picture and label together, log p(v, label), where the memory holds labels; without
    this they are summed out.
    """
    binarise: Literal["refuse", "sample", "round"] = "refuse"
    """What to do with grey pixels: a likelihood of binary units wants 0 and 1. sample draws them
    from their intensities, as the model means them; round cuts at one half; figures of the two
    cannot be compared.
    """
    chains: int = 100
    """Chains of annealed importance sampling; 100 is the custom."""
    target_error: float = 0.1
    """Wanted standard error of log Z in nats; temperatures are added until it is met."""
    limit: int = 20_000
    """Most temperatures of one round; a memory that mixes badly may not meet the target within
    them, and then the error says so.
    """
    published: bool = False
    """Use the 14,501 temperatures of Salakhutdinov & Murray (2008) instead."""
    reverse_steps: int = 1000
    """Gibbs steps from training cases to the states where the reverse direction begins; 0 leaves
    the reverse direction out.
    """
    samples: int = 10
    """Samples of the recognition net a case, for the bound of a deep net."""
    cases: int = 10_000
    """Score at most so many test cases."""
    data: str | None = None
    """What to score; by default the test cases of what the run learned from, or those it held
    out.
    """
    data_folder: DataFolder = None
    seed: int = 0
    """Seed of chains, samples and binarised pixels."""
    device: Device = "auto"
    backend: Backend = None
    threads: Threads = 0
    json: bool = False
    """Print depths, bounds and log Z with its intervals as JSON."""


def check(args: LikelihoodOptions) -> None:
    """Raise ConfigError for numbers that cannot be, and say which options have no effect."""
    from wakesleep.evaluation import ais

    if args.published:
        shared.tell_unused(
            args,
            dict.fromkeys(
                ("target_error", "limit"), "with --published, which fixes the temperatures"
            ),
        )
    ais.check_chains(args.chains)
    if args.cases < 1 or args.reverse_steps < 0:
        raise ConfigError(
            f"--cases {args.cases} --reverse-steps {args.reverse_steps}: expected at least 1 "
            "case, and 0 steps or more"
        )


def run(args: LikelihoodOptions, command: str) -> int:
    """Do it; return the exit status."""
    from wakesleep.runs import log_likelihood

    machine.set_threads(args.threads)
    check(args)
    deep_model = deep.load(args.run, args.device)
    if deep_model is not None:
        return deep.likelihood(args, deep_model)
    model = shared.model(args.run, args.device)
    if args.per_layer and not model.dbn.tied:
        raise ConfigError(
            "--per-layer scores each depth of a stack of RBMs, and fine-tuning has untied this "
            "one; score the whole net (without --per-layer), or a stack as pretraining leaves it: "
            "wakesleep train --stages pretrain"
        )
    dataset = shared.set_for(model, args.data, args.data_folder)
    how = log_likelihood.LikelihoodConfig(
        binarise=args.binarise,
        chains=args.chains,
        target_error=args.target_error,
        limit=args.limit,
        published=args.published,
        reverse_steps=args.reverse_steps,
        samples=args.samples,
        cases=args.cases,
        labels=args.labels,
        seed=args.seed,
    )
    depths = range(1, model.dbn.depth + 1) if args.per_layer else (model.dbn.depth,)
    folder = args.run if args.run.is_dir() else args.run.parent
    cases = shared.cases_of(args.run, model, dataset)
    try:
        scores = [
            log_likelihood.score(
                folder, model.dbn, dataset, depth, how, cases=cases, say=driver.say(args.json)
            )
            for depth in depths
        ]
    except KeyboardInterrupt:
        print(
            f"\nstopped; what is done is kept. Go on with the same command: {command}", flush=True
        )
        return 130
    if args.json:
        print(
            files.to_json(
                {
                    "dataset": dataset.name,
                    "part": scores[0].part,
                    "cases": scores[0].cases,
                    "depths": [one.as_json() for one in scores],
                }
            )
        )
    else:
        for line in table(scores, dataset.name):
            print(line)
    return 0


def table(scores: list[RunScore], name: str) -> list[str]:
    """Return the depths' figures as lines of text."""
    first = scores[0]
    lines = [
        f"{name}, {first.cases:,} {first.part} cases, nats a case (standard error of the mean "
        f"over cases {first.score.error:.2f})",
        "",
    ]
    wide = max(20, *(len(one.layers) for one in scores))
    lines += [
        f"depth  {'layers':<{wide}} forward  log Z + 3 s.e.  reverse  importance-weighted  log Z "
        "forward       reverse"
    ]
    for one in scores:
        score, log_z = one.score, one.score.log_z
        back = f"{score.reverse:7.2f}" if score.reverse is not None else "      -"
        z = f"{log_z.forward.log_z:.2f} ({log_z.forward.low:.2f} to {log_z.forward.high:.2f})"
        z_back = f"{log_z.reverse.log_z:.2f}" if log_z.reverse is not None else "-"
        exactly = "" if log_z.exact is None else f"  exact {log_z.exact:.2f}"
        words = (
            f"{one.depth:>5}  {one.layers:<{wide}} {score.mean:7.2f}  {score.conservative:14.2f}  "
            f"{back}  {score.importance_weighted:19.2f}"
        )
        lines.append(f"{words}  {z}  {z_back}{exactly}")
    kinds = (
        ("the exact likelihood at depth 1, a lower bound deeper")
        if scores[-1].depth > 1
        else "exact but for log Z"
    )
    lines += ["", f"forward errs high, reverse low; each row is {kinds}"]
    if first.label_log_prob is not None or scores[-1].label_log_prob is not None:
        known = scores[-1].label_log_prob
        kind = "exact" if scores[-1].depth == 1 else "given the up-pass"
        lines.append(f"log p(label | picture), {kind}: {known:.4f} nats a case")
    lines += [
        f"warning: depth {one.depth}: {one.score.log_z.disagreement}"
        for one in scores
        if one.score.log_z.disagreement
    ]
    return lines
