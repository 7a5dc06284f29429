"""A small picture of each family of units for docs/units.md: p(s | x) at three total inputs.

    python -m benchmarks.units.conditionals

What is drawn is exp(x s - U(s) - Gamma(x)), by the family's own `potential` and `log_partition`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor

from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Thermometer,
    Units,
)

INPUTS = (-1.5, 0.0, 1.5)
"""The total inputs."""


@dataclass(frozen=True)
class ConditionalsOptions:
    """Draw the families."""

    out: Path = Path("docs/units")
    """Where the pictures go."""


def families() -> dict[str, tuple[Units, Tensor]]:
    """Return a unit of each family that has one number for its state, and the states to draw."""
    ordinal, drelu = Ordinal(1, 5), DReLU(1)
    ordinal.level_bias.copy_(
        torch.tensor([[-0.4, 0.3, 0.2, 0.3, -0.4]]).view_as(ordinal.level_bias)
    )
    drelu.gap.fill_(1.5)
    drelu.skew.fill_(0.5)
    line = torch.linspace(-5, 7, 601)
    return {
        "bernoulli": (Bernoulli(1), torch.arange(2.0)),
        "spin": (Spin(1), torch.tensor([-1.0, 1.0])),
        "binomial": (Binomial(1, 8), torch.arange(9.0)),
        "ordinal": (ordinal, torch.arange(5.0)),
        "poisson": (Poisson(1), torch.arange(13.0)),
        "gaussian": (Gaussian(1), line),
        "relu": (ReLU(1), torch.linspace(0, 7, 351)),
        "drelu": (drelu, line),
    }


def law(units: Units, states: Tensor, total_input: float) -> Tensor:
    """Return p(s | x) of each state of a unit."""
    x = torch.full((1, 1), total_input)
    logs = total_input * states - units.potential(states[:, None]) - units.log_partition(x)
    return logs.exp()


def draw(
    axes: Any,
    states: Tensor,
    probs: list[Tensor],
    labels: list[str],
    shown: str = "p(s | x)",
    of: str = "s",
) -> None:
    """Draw laws as curves, or, of few states, as bars side by side."""
    for number, (p, label) in enumerate(zip(probs, labels, strict=True)):
        if len(states) > 20:
            axes.plot(states, p, label=label, linewidth=1.6)
        else:
            step = float(states[1] - states[0])
            axes.bar(states + (number - 1) * 0.25 * step, p, width=0.25 * step, label=label)
    if len(states) <= 20:
        axes.set_xticks(states.tolist())
    axes.set(ylim=(0, None), xlabel=of, ylabel=shown)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def save(
    path: Path, states: Tensor, probs: list[Tensor], labels: list[str], *names_of_axes: str
) -> None:
    """Write one picture."""
    figure = Figure(figsize=(4.8, 2.0), dpi=100, layout="constrained")
    draw(figure.subplots(), states, probs, labels, *names_of_axes)
    figure.savefig(path)


def main(argv: list[str]) -> None:
    """Draw all families."""
    options = tyro.cli(ConditionalsOptions, description=__doc__, args=argv)
    options.out.mkdir(parents=True, exist_ok=True)
    labels = [f"x = {x:g}" for x in INPUTS]
    for name, (units, states) in families().items():
        laws = [law(units, states, x) for x in INPUTS]
        save(options.out / f"{name}.png", states, laws, labels)
    inputs = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.5, 0.0, 0.0, 0.0], [1.5, 0.0, 1.5, -1.5]])
    laws = list(Categorical(4).mean(inputs))
    names = [f"x = ({', '.join(f'{x:g}' for x in row)})" for row in inputs.tolist()]
    save(options.out / "categorical.png", torch.arange(4.0), laws, names)
    ten = Context(count=torch.full((len(inputs),), 10.0))
    means = list(Multinomial(4).mean(inputs, context=ten))
    save(
        options.out / "multinomial.png", torch.arange(4.0), means, names, "E[s | x], D = 10", "word"
    )
    site = Thermometer(5)
    rows = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, -1.0, -1.0]])
    above = torch.nn.functional.pad(site.mean(rows), (1, 1))
    above[:, 0] = 1  # p(s >= 0)
    names = [f"x = ({', '.join(f'{x:g}' for x in row)})" for row in rows.tolist()]
    levels = list(above[:, :-1] - above[:, 1:])
    save(options.out / "thermometer.png", torch.arange(5.0), levels, names)


if __name__ == "__main__":
    main(sys.argv[1:])
