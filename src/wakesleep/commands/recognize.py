"""wakesleep recognize: what does this picture show?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from wakesleep.commands import shared
from wakesleep.foundation import files


@dataclass(frozen=True)
class Recognize:
    """Say what an ordinary picture file shows, with the probability of every label."""

    run: Positional[Path]
    """A run folder or a model file."""
    image: Positional[Path]
    """A picture file of any size; it is prepared as the pictures were from which the run learned."""
    imagine: Path | None = None
    """Also write this picture: the image as the net gets it, what it sees in it, and five times what it imagines in its place."""
    steps: int = 10
    """Gibbs steps of the memory for what it imagines; few stay near the image, many wander off."""
    seed: int = 0
    """Seed of what it imagines."""
    device: str = "auto"
    """auto takes a GPU where there is one; or cpu, cuda, cuda:1."""
    overwrite: bool = False
    """Replace the picture where it exists."""
    json: bool = False
    """Print the label and all probabilities as JSON."""


def run(args: Recognize, command: str) -> int:
    """Do it; return the exit status."""
    import torch

    from wakesleep import plots
    from wakesleep.data import from_header
    from wakesleep.foundation.rng import generator
    from wakesleep.judging import classify
    from wakesleep.learning import backprop
    from wakesleep.sampling import dreams

    if args.imagine is None:
        shared.tell_unused(args, dict.fromkeys(("steps", "seed", "overwrite"), "without --imagine"))
    else:
        shared.refuse_place(args.imagine, args.overwrite)
    model = shared.model(args.run, args.device)
    shared.refuse_other_scale(model)
    shape: tuple[int, int] = tuple(model.header["shape"])
    classes = [str(name) for name in model.header["classes"]]
    picture = from_header(model.header).read(args.image).to(model.dbn.memory.weight.device)
    log_probs = backprop.log_probs(model.net, picture) if model.net is not None else classify.log_probs(model.dbn, picture)
    probs = {name: float(prob) for name, prob in zip(classes, log_probs.exp()[0], strict=True)}
    label = max(probs, key=lambda name: probs[name])
    if args.imagine is not None:
        rng = generator(args.seed, picture.device)
        seen = [picture, dreams.reconstruct(model.dbn, picture)]
        if model.dbn.labels:
            clamped = torch.full((5,), classes.index(label), device=picture.device)
            seen.append(dreams.imagine(model.dbn, picture.expand(5, -1), clamped, rng=rng, steps=args.steps))
        names = ["as given", "as seen", *[f"imagined: {label}"] * (sum(map(len, seen)) - 2)]
        title = f"{args.image.name}: {label} ({probs[label]:.1%})"
        plots.save_tile(args.imagine, torch.cat(seen).cpu().numpy(), shape, len(names), below=names, title=title, height=112)
    if args.json:
        print(files.to_json({"label": label, "probabilities": probs, "method": "backprop" if model.net is not None else "free-energy"}))
        return 0
    print(f"{args.image}: {label}")
    for name, prob in probs.items():
        print(f"  {name:>12}  {prob:7.2%}  {'#' * round(40 * prob)}")
    if args.imagine is not None:
        print(f"imagined: {args.imagine}")
    return 0
