"""Half-hidden digits filled in by the deep Boltzmann machine 500-1000 and by the deep belief net of
the same size: squared error and log-likelihood of what was hidden.

    python -m benchmarks.deep.inpaint --data.folder runs/deep

The deep machine is the one that benchmarks.deep.density left in the folder, and the belief net has
its RBM as the lowest layer; the RBM on top begins as its mirror image. Both fill in a half by
chains with the known pixels held, and what counts is the mean of E[v | h] over a digit's chains and
over their steps after the first half of them, pixel by pixel.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import tyro
from torch import Tensor

from benchmarks import likelihood as density_models
from benchmarks.deep import density
from benchmarks.deep.density import DensityOptions
from benchmarks.likelihood import LikelihoodMeasureOptions, centred_pcd
from wakesleep.foundation.rng import generator
from wakesleep.learning.cd import CDConfig
from wakesleep.models.dbn import DBN
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.samplers import deep, dreams
from wakesleep.sources.arrays import as_probs, draw_binary

Fill = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class InpaintOptions:
    """Train the belief net, fill in, save the rows; training is resumable."""

    data: DensityOptions = field(default_factory=DensityOptions)
    """Where data and machines lie."""
    top: CDConfig = field(default_factory=lambda: centred_pcd(0.02, epochs=60))
    """How the RBM on top learns."""
    cases: int = 1000
    """Digits to fill in, the first ones of those scored."""
    steps: int = 200
    """Gibbs steps."""
    chains: int = 10
    """Chains a digit; their means are averaged, for a chain stays long in one way to go on."""


def belief_net(options: InpaintOptions, cases: Tensor) -> DBN:
    """Return the deep belief net on the RBM of the folder."""
    first = density.checkpoints(options.data.folder)[-1]
    top = density_models.mirror(first, options.data.hidden[1], generator(options.data.seed))
    how = LikelihoodMeasureOptions(seed=options.data.seed, precision=options.data.precision)

    def draw(rng: torch.Generator) -> Tensor:
        visible = draw_binary(cases, rng) if options.data.drawn_anew else cases.float()
        return density_models.features(first, visible, rng)

    path = options.data.folder / "top-training.safetensors"
    return density_models.stack(
        first, density_models.train(path, top, options.top, draw, how, "top")
    )


def filled_by(
    dbn: DBN, base: Tensor, cases: Tensor, known: Tensor, steps: int, rng: torch.Generator
) -> Tensor:
    """Return cases (N, pixels) with what is not `known` (pixels,) filled in by its mean over sweeps
    of a belief net, which begin at `base` (pixels,): up, a Gibbs step of the memory, down.
    """
    canvas = torch.where(known, cases, base)
    total, labels = torch.zeros_like(cases), cases.new_zeros(len(cases), 0)
    for step in range(steps):
        chains = dreams.fill_step(dbn, canvas, labels, rng=rng)
        means = dreams.decode(dbn, chains, rng).pixels
        canvas = torch.where(known, cases, draw_binary(means, rng).to(cases))
        if step >= steps // 2:
            total += means
    return torch.where(known, cases, total / (steps - steps // 2))


def halves() -> dict[str, Tensor]:
    """Return which pixels (784,) are known when a half is hidden."""
    rows, columns = torch.arange(784) // 28, torch.arange(784) % 28
    return {
        "lower_half": rows < 14,
        "upper_half": rows >= 14,
        "left_half": columns >= 14,
        "right_half": columns < 14,
    }


def main(argv: list[str]) -> None:
    """Train, fill in, print and save."""
    options = tyro.cli(InpaintOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.data.threads)
    cases, scored = density.cases_of(options.data)
    dbn, test = belief_net(options, cases), scored[: options.cases].float()
    dbm = checkpoint.load(options.data.folder / "dbm.safetensors")
    base = as_probs(cases[:10_000]).mean(0)
    steps, burn_in = options.steps, options.steps // 2
    ways: dict[str, Fill] = {
        "inpaint-dbm-500-1000": lambda cases, known, rng: deep.fill_in(
            dbm, cases, known, steps=steps, burn_in=burn_in, rng=rng
        ),
        "inpaint-dbn-500-1000": lambda cases, known, rng: filled_by(
            dbn, base, cases, known, steps, rng
        ),
    }
    for name, fill in ways.items():
        square, nats, each = [], [], {}
        for half, known in halves().items():
            rng = generator(options.data.seed)
            chains = [fill(test, known, rng)[:, ~known] for _ in range(options.chains)]
            hidden, truth = torch.stack(chains).mean(0), test[:, ~known]
            square.append(float((hidden - truth).square().mean()))
            probs = hidden.clamp(1e-3, 1 - 1e-3)
            nats.append(-float(torch.nn.functional.binary_cross_entropy(probs, truth)) * 392)
            each[half] = [round(square[-1], 5), round(nats[-1], 2)]
        errors = {
            "squared_error_a_hidden_pixel": sum(square) / len(square),
            "log_likelihood_of_hidden_pixels": sum(nats) / len(nats),
        }
        rows = [
            results.row(
                "deep",
                name,
                metric,
                [value],
                seeds=[options.data.seed],
                command=shlex.join(["python", "-m", "benchmarks.deep.inpaint", *argv]),
                each_half=each,
                drawn_anew=options.data.drawn_anew,
            )
            for metric, value in errors.items()
        ]
        for row in rows:
            print(row["row"], row["metric"], row["value"], each, flush=True)
        if not options.data.hold_out:
            results.save(options.data.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
