"""One picture of whether a machine's chains mix."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from torch import Tensor

from wakesleep.evaluation.mixing import Mixing, autocorrelation
from wakesleep.runs import plots

DATA, CASES, RANDOM = "#b8b8b8", plots.SERIES[0], plots.SERIES[1]
"""Colours of cases, of chains that began at cases, and of those that began at random."""


def draw(
    path: Path,
    measured: Mixing,
    cases: Tensor,
    *,
    title: str,
    swap_rates: Tensor | None = None,
) -> Path:
    """Draw what was measured beside `cases` (N, visible), and return the path: samples in the first
    two principal components, their slowest projection over the steps, how long chains remember,
    and of replicas how often neighbours exchange; the answer in words above.
    """
    figure = plots.figure_of(10.0, 7.6)
    axes = figure.subplots(2, 2).flatten()
    slowest = int(measured.times.argmax())
    _draw_samples(axes[0], measured, measured.projection(cases))
    _draw_trace(axes[1], measured, slowest)
    _draw_memory(axes[2], measured, slowest)
    if swap_rates is None:
        _draw_times(axes[3], measured)
    else:
        _draw_exchanges(axes[3], swap_rates)
    words = [fill(line, 110) for line in (measured.in_words(), *numbers(measured))]
    figure.suptitle("\n".join([title, *words]), fontsize=10.5)
    return plots.save_figure(path, figure)


def numbers(measured: Mixing) -> list[str]:
    """Return the figures to remember, in words."""
    chains = measured.from_cases.shape[1]
    return [
        f"{measured.effective_per_second:,.1f} effective samples a second from {chains} chains",
        f"100 independent dreams: 100 chains of {measured.dream_steps:,} steps, or one chain of "
        f"{100 * round(measured.slowest):,}",
    ]


def _draw_samples(axes: Any, measured: Mixing, cases: Tensor) -> None:
    """Draw cases, and both kinds of chains in the second half of their steps."""
    steps, chains, _ = measured.from_cases.shape
    axes.scatter(*cases[:2000, :2].t().tolist(), s=9, color=DATA, label="data")
    for series, colour, label in (
        (measured.from_cases, CASES, "chains from data"),
        (measured.from_random, RANDOM, "chains from random"),
    ):
        half = series[steps // 2 :: max(steps // 2 // max(1000 // chains, 1), 1)].flatten(0, 1)
        axes.scatter(*half[:, :2].t().tolist(), s=5, alpha=0.4, color=colour, label=label)
    axes.set(xlabel="first principal component", ylabel="second", title="Where chains are")
    axes.legend(frameon=False, fontsize=8, markerscale=2, loc="best")


def _draw_trace(axes: Any, measured: Mixing, slowest: int) -> None:
    """Draw the slowest projection of three chains of each kind over the steps."""
    for series, colour in ((measured.from_cases, CASES), (measured.from_random, RANDOM)):
        for chain in series[:, :3, slowest].t():
            axes.plot(chain.tolist(), color=colour, linewidth=0.7, alpha=0.8)
    axes.set(xlabel="step", ylabel=f"component {slowest + 1}", title="Three chains of each kind")


def _draw_memory(axes: Any, measured: Mixing, slowest: int) -> None:
    """Draw the autocorrelation of all projections, the slowest one over the others."""
    series = torch.cat([measured.from_cases, measured.from_random], 1)[
        len(measured.from_cases) // 5 :
    ]
    shown = min(len(series) - 1, max(20, round(6 * measured.slowest)))
    for component in range(series.shape[2]):
        rho = autocorrelation(series[..., component])[: shown + 1].tolist()
        look = {"color": "#222222", "linewidth": 1.8, "zorder": 3, "label": "the slowest"}
        axes.plot(rho, **(look if component == slowest else {"color": DATA, "linewidth": 1.0}))
    axes.axvline(measured.slowest, color=RANDOM, linestyle=":")
    axes.axhline(0.0, color="#222222", linewidth=0.6)
    axes.set(xlabel="steps apart", ylabel="autocorrelation", title="How long they remember")
    axes.legend(frameon=False, fontsize=8)


def _draw_times(axes: Any, measured: Mixing) -> None:
    """Draw the autocorrelation time of each component."""
    _bars(axes, measured.times)
    axes.set(
        xlabel="principal component",
        ylabel="steps",
        title="Steps of one effective sample",
    )


def _draw_exchanges(axes: Any, swap_rates: Tensor) -> None:
    """Draw how often neighbouring machines exchange."""
    _bars(axes, swap_rates)
    axes.set(
        xlabel="pair of machines, easiest first",
        ylabel="exchanges accepted",
        ylim=(0, 1),
        title="Do replicas exchange?",
    )


def _bars(axes: Any, heights: Tensor) -> None:
    """Draw a bar for each number, counted from 1."""
    numbers = range(1, len(heights) + 1)
    axes.bar(numbers, heights.tolist(), color=CASES, width=0.7)
    axes.set_xticks(numbers[:: max(1, len(numbers) // 10)])
    axes.set_xlim(0.3, len(numbers) + 0.7)
