"""What the commands do with a deep Boltzmann machine: evaluate, dream, likelihood and plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakesleep.cli import shared
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from wakesleep.cli.dream import DreamOptions
    from wakesleep.cli.evaluate import EvaluateOptions
    from wakesleep.cli.likelihood import LikelihoodOptions
    from wakesleep.cli.plot import PlotOptions
    from wakesleep.runs.checkpoint import DeepModel


def load(run: Path, device: str) -> DeepModel | None:
    """Return the deep Boltzmann machine of a run folder or model file, None of any other."""
    from wakesleep.compute.select import pick_device
    from wakesleep.runs import checkpoint

    if not checkpoint.holds(run, "DBM"):
        return None
    loaded = checkpoint.load_deep(run, pick_device(device))
    shared.tell_unfinished(run, loaded)
    return loaded


def evaluate(args: EvaluateOptions, model: DeepModel) -> int:
    """Count the errors of the machine, or of the net fine-tuned from it; return the exit status."""
    from wakesleep.cli.evaluate import sentence
    from wakesleep.runs import scores

    if len(args.run) > 1 or args.up_passes:
        raise ConfigError(
            "deep Boltzmann machines are evaluated one by one, by their mean field: leave out the "
            "other runs and --up-passes"
        )
    if args.method == "backprop" and model.net is None:
        raise ConfigError(
            f"{args.run[0]} holds no fine-tuned net: train with --stages dbm backprop"
        )
    net = None if args.method == "free-energy" else model.net
    dataset = shared.set_for(model, args.data, args.data_folder)
    part, cases = shared.cases_of(args.run[0], model, dataset)
    method = scores.own_method(model.dbm) if net is None else "backprop"
    result = scores.evaluate(model.dbm, net, cases, dataset.name, method, part)
    print(files.to_json(result) if args.json else sentence(result))
    return 0


def dream(args: DreamOptions, model: DeepModel) -> int:
    """Write what the machine makes of the pixels, of one label or any; return the exit status."""
    import torch

    from wakesleep.cli.dream import sampler_of
    from wakesleep.foundation.rng import generator
    from wakesleep.foundation.values import listed
    from wakesleep.runs import grids
    from wakesleep.samplers import deep

    if args.movie is not None or args.brain:
        raise ConfigError(
            "--movie and --brain show the memory of a deep belief net; leave them out"
        )
    dbm, classes = model.dbm, [str(name) for name in model.header["classes"]]
    if args.label is not None and args.label not in classes[: dbm.labels]:
        known = listed(classes[: dbm.labels], 20) or "no labels"
        raise ConfigError(f"label {args.label!r}: this model knows {known}")
    rng = generator(args.seed, dbm.rbm.weight.device)
    on_odd = args.label is not None and "label" in dbm.odd.names
    sampler = sampler_of(args, dbm.rbm.turned() if on_odd else dbm.rbm, rng)
    how: dict[str, Any] = {"steps": args.steps or 1000, "sampler": sampler}
    if args.label is None:
        pixels = deep.dream(dbm, count=args.count, rng=rng, **how)
    else:
        labels = torch.full((args.count,), classes.index(args.label))
        pixels = deep.dream(dbm, labels, rng=rng, **how)
    shape: tuple[int, int] = tuple(model.header["shape"])
    names = [] if args.label is None else [args.label] * args.count
    columns = min(args.columns, args.count)
    grids.save_tile(args.out, pixels.cpu().numpy(), shape, columns, below=names)
    answer: dict[str, Any] = {"path": str(args.out), "labels": names or None, "steps": how["steps"]}
    swaps = getattr(sampler, "swap_rates", None)
    if swaps is not None:
        answer["swap_rates"] = [round(rate, 3) for rate in swaps.tolist()]
    print(files.to_json({**answer, "seed": args.seed}) if args.json else args.out)
    if swaps is not None and not args.json:
        print(f"swap rates, warmest pair first: {' '.join(f'{rate:.2f}' for rate in swaps)}")
    return 0


def likelihood(args: LikelihoodOptions, model: DeepModel) -> int:
    """Bound the log-probability of cases by the mean field, with log Z by AIS both ways; return the
    exit status.
    """
    from wakesleep.data import some
    from wakesleep.evaluation import ais, bound
    from wakesleep.evaluation import likelihood as annealing
    from wakesleep.foundation.rng import generator

    if args.per_layer or args.labels:
        raise ConfigError(
            "--per-layer and --labels are for deep belief nets; of a deep Boltzmann machine "
            "log p(v) of the whole is bounded"
        )
    dbm, dataset = model.dbm, shared.set_for(model, args.data, args.data_folder)
    part, split = shared.cases_of(args.run, model, dataset)
    rng = generator(args.seed, dbm.rbm.weight.device)
    cases = _binary(some(dataset, split, args.cases).images, args.binarise, rng)
    learned = _binary(some(dataset, dataset.train, 2000).images, args.binarise, rng)
    log_z = annealing.log_partition(
        dbm.rbm,
        dbm.mean_field(dbm.as_numbers(learned)).even,
        rng=rng,
        chains=args.chains,
        target_error=args.target_error,
        limit=args.limit,
        betas=ais.published_betas() if args.published else None,
        reverse_steps=args.reverse_steps,
    )
    forward = log_z.forward
    bounds = {
        name: bound.mean_field_bound(dbm, cases, value, rng=rng, samples=args.samples)
        for name, value in (("bound", forward.log_z), ("bound_at_3_standard_errors", forward.high))
    }
    result: dict[str, Any] = {"dataset": dataset.name, "part": part, "cases": len(cases)}
    result |= {name: round(float(each.bound.mean()), 4) for name, each in bounds.items()}
    weighted = float(bounds["bound"].importance_weighted.mean())
    result |= {"importance_weighted": round(weighted, 4), "log_z": round(forward.log_z, 4)}
    result["log_z_range"] = [round(forward.low, 4), round(forward.high, 4)]
    if log_z.reverse is not None:
        result["log_z_reverse"] = round(log_z.reverse.log_z, 4)
    if args.json:
        print(files.to_json(result))
        return 0
    print(f"{dataset.name}, {len(cases):,} {part} cases, nats a case, lower bounds on log p(v)")
    print(f"  mean field           {result['bound']:9.2f}")
    print(f"  log Z + 3 s.e.       {result['bound_at_3_standard_errors']:9.2f}")
    print(f"  importance-weighted  {result['importance_weighted']:9.2f}")
    back = "" if log_z.reverse is None else f", reverse {log_z.reverse.log_z:.2f}"
    print(f"log Z {forward.log_z:.2f} ({forward.low:.2f} to {forward.high:.2f}){back}")
    if log_z.disagreement:
        print(f"warning: {log_z.disagreement}")
    return 0


def _binary(images: torch.Tensor, how: str, rng: torch.Generator) -> torch.Tensor:
    """Return images as states: drawn from their intensities, cut at one half, or as they are."""
    from wakesleep.sources.arrays import as_probs, draw_binary

    images = images.to(rng.device)
    if how == "sample":
        return draw_binary(images, rng)
    return (as_probs(images) > 0.5).float() if how == "round" else images


def plot(args: PlotOptions, model: DeepModel) -> int:
    """Draw what the machine knows into the folder of figures; return the exit status."""
    from wakesleep.cli.plot import make
    from wakesleep.runs import deep_figures

    folder = args.run if args.run.is_dir() else args.run.parent
    target = args.out or folder / "figures"
    dataset = shared.set_for(model, args.data, args.data_folder)
    for name in deep_figures.NAMES:
        shared.refuse_existing(target / f"{name}.png", args.overwrite)
    make(target)
    paths = [str(path) for path in deep_figures.draw(target, model.dbm, dataset, seed=args.seed)]
    print(files.to_json({"paths": paths}) if args.json else "\n".join(paths))
    return 0
