"""Charts from numbers: curves, histograms, maps, panels. Nothing here knows of runs or learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakesleep.foundation.files import write_atomically
from wakesleep.runs.grids import tile

Array = NDArray[Any]
SERIES = ("#0b5fa5", "#d1495b", "#2e7d5b", "#8a5aab", "#c98a00")
"""Colours of curves, apart for colour-blind readers and in grey."""
WIDTH = 1.8
"""Of a curve, points."""
LINES = ("-", "--", ":")
"""Styles of lines, taken in turn when colours come again."""


def save_curves(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    title: str,
    log: bool = False,
) -> Path:
    """Write curves (name -> x values, y values) as a figure; return the path.

    Each is drawn a line's width below the one before it, so that curves of the same values lie
    beside each other and none hides another.
    """
    from matplotlib.transforms import ScaledTranslation

    figure = figure_of(7.2, 4.2)
    axes = figure.subplots()
    for number, ((name, (xs, ys)), colour) in enumerate(
        zip(curves.items(), SERIES * 10, strict=False)
    ):
        aside = ScaledTranslation(
            0, (len(curves) / 2 - 0.5 - number) * WIDTH / 72, figure.dpi_scale_trans
        )
        look = {"linewidth": WIDTH, "marker": "o" if len(xs) < 3 else None}
        (line,) = axes.plot(xs, ys, label=name, color=colour, **look)
        line.set_transform(axes.transData + aside)
    _plain(axes, xlabel=x, ylabel=y, title=title, yscale="log" if log else "linear")
    _whole_ticks(axes.xaxis, [value for xs, _ in curves.values() for value in xs])
    if not log:
        _whole_ticks(axes.yaxis, [value for _, ys in curves.values() for value in ys])
    if curves:
        axes.legend(frameon=False)
    return save_figure(path, figure)


def _whole_ticks(axis: Any, values: Sequence[float]) -> None:
    """Let an axis of whole numbers have its ticks at whole numbers."""
    if all(float(value).is_integer() for value in values):
        axis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def figure_of(width: float, height: float) -> Any:
    """Return an empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save_figure(path: Path, figure: Any) -> Path:
    """Write a figure in the format that its name ends in; return the path."""
    write_atomically(
        path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:] or "png")
    )
    return path


def _plain(axes: Any, **words: Any) -> None:
    axes.set(**words)
    axes.grid(True, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save_kinds(
    path: Path, kinds: Mapping[str, Array], shape: tuple[int, int], columns: int = 12
) -> Path:
    """Write fields (name -> (N, pixels) in [0, 1], grey is zero) as one panel a kind, side by side;
    return the path.
    """
    sheets = {name: tile(fields, shape, columns) for name, fields in kinds.items()}
    tallest = max(sheet.shape[0] / sheet.shape[1] for sheet in sheets.values())
    figure = figure_of(3.4 * len(sheets), 3.4 * tallest + 0.5)
    for axes, (name, sheet) in zip(
        figure.subplots(1, len(sheets), squeeze=False)[0], sheets.items(), strict=True
    ):
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=11)
        axes.set_axis_off()
    return save_figure(path, figure)


def save_activity(path: Path, probs: Array, *, title: str) -> Path:
    """Write hidden probabilities (cases, units) as an image, a row a case, units sorted by mean
    activity; return the path.

    Columns that are dark or bright all the way down are units that are dead or saturated; rows that
    look alike are cases told apart badly.
    """
    order = np.argsort(-probs.mean(0), kind="stable")
    figure = figure_of(8.0, 4.6)
    above, below = figure.subplots(2, 1, height_ratios=[1, 3], sharex=True)
    above.plot(probs.mean(0)[order], color=SERIES[0], linewidth=1.5)
    _plain(above, ylabel="mean", ylim=(0, 1), title=title)
    image = below.imshow(
        probs[:, order], aspect="auto", cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    below.set(xlabel="hidden unit, sorted by mean activity", ylabel="case")
    figure.colorbar(image, ax=below, label="p(on)", pad=0.01)
    return save_figure(path, figure)


def save_histograms(path: Path, values: Mapping[str, Sequence[tuple[str, Array]]]) -> Path:
    """Write histograms, a column a group (name -> [(what, values), ...]) and a row for each of its
    parts; counts are logarithmic.
    """
    rows = max(len(parts) for parts in values.values())
    figure = figure_of(3.6 * len(values), 2.6 * rows)
    for column, (group, parts) in zip(
        figure.subplots(rows, len(values), squeeze=False).T, values.items(), strict=True
    ):
        for axes, (what, numbers), colour in zip(column, parts, SERIES, strict=False):
            axes.hist(np.ravel(numbers), bins=80, color=colour, log=True)
            _plain(axes, title=f"{group}: {what}", ylabel="how many")
            axes.locator_params(axis="x", nbins=5)
            axes.set_xlabel(f"mean size {np.abs(numbers).mean():.2g}", fontsize=9)
        for axes in column[len(parts) :]:
            axes.set_visible(False)
    return save_figure(path, figure)


def save_traces(path: Path, traces: Mapping[str, tuple[Array, Array]]) -> Path:
    """Write the way of AIS chains (name -> betas (P,), log weights (P, N)): above, each chain about
    the mean; below, their spread.
    """
    figure = figure_of(4.6 * len(traces), 4.8)
    for column, (name, (betas, log_weights)) in zip(
        figure.subplots(2, len(traces), squeeze=False).T, traces.items(), strict=True
    ):
        column[0].plot(
            betas,
            log_weights - log_weights.mean(1, keepdims=True),
            color=SERIES[0],
            alpha=0.25,
            linewidth=0.8,
        )
        _plain(column[0], title=name, ylabel="log weight - mean, nats")
        column[1].plot(betas, log_weights.std(1), color=SERIES[1], linewidth=1.8)
        _plain(column[1], xlabel="beta", ylabel="standard deviation")
        for axes in column:
            axes.set_xlim(float(betas[0]), float(betas[-1]))
    return save_figure(path, figure)


MOST_NAMED = 40
"""Most classes that a map names, those with the most cases: more names would hide it."""
SHAPES = ("o", "s", "^", "D", "v")
"""Shapes of points, taken in turn when colours come again."""


def save_map(
    path: Path, points: Array, labels: Array | None, names: Sequence[str], *, title: str
) -> Path:
    """Write a map of points (N, 2), coloured by label (N,) with each class named where most of it
    is; return the path.

    Names that would lie on each other are moved apart, with a line to their place.
    """
    figure = figure_of(9.0, 7.6)
    axes = figure.subplots()
    groups = (
        {"": points}
        if labels is None
        else {name: points[labels == number] for number, name in enumerate(names)}
    )
    colours = _colours(len(groups))
    for number, chosen in enumerate(groups.values()):
        shape = SHAPES[number // len(colours) % len(SHAPES)]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=9,
            color=colours[number % len(colours)],
            marker=shape,
            alpha=0.6,
            linewidths=0,
        )
    named = sorted(
        (name for name, chosen in groups.items() if name and len(chosen)),
        key=lambda name: -len(groups[name]),
    )
    more = f" ({MOST_NAMED} of {len(named):,} classes named)" if len(named) > MOST_NAMED else ""
    axes.set(title=f"{title}{more}", xticks=[], yticks=[])
    order = list(groups)
    places = {
        name: (_middle(groups[name]), colours[order.index(name) % len(colours)])
        for name in named[:MOST_NAMED]
    }
    if places:
        _name_places(figure, axes, places)
    return save_figure(path, figure)


def _colours(count: int) -> list[Any]:
    """Return at most 20 colours for `count` classes."""
    from matplotlib import colormaps

    several = colormaps["tab20" if count > 10 else "tab10"]
    return [several(number)[:3] for number in range(min(count, several.N))]


def _middle(points: Array) -> Array:
    """Return the point of (N, 2) with the smallest median distance to the others: a class in two
    clumps has no name between them.
    """
    some = points[:: -(-len(points) // 500)]
    middle: Array = some[np.median(np.linalg.norm(some[:, None] - some[None], axis=2), 1).argmin()]
    return middle


def _name_places(figure: Any, axes: Any, places: Mapping[str, tuple[Array, Any]]) -> None:
    """Write names at their places (name -> point, colour), moved apart where they would lie on each
    other.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    size = 12 if len(places) <= 10 else 10 if len(places) <= 20 else 8
    texts = []
    for name, (point, colour) in places.items():
        dark = tuple(0.6 * float(part) for part in colour)
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
        shown = name if len(name) <= 24 else f"{name[:21]}..."
        texts.append(
            axes.text(
                *point,
                shown,
                fontsize=size,
                weight="bold",
                color=dark,
                ha="center",
                va="center",
                bbox=box,
                zorder=4,
            )
        )
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # settles the layout, and with it how large words are
    frame = axes.get_window_extent()
    boxes = np.array([text.get_window_extent(canvas.get_renderer()).extents for text in texts])
    home, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 + 3
    moved = apart(home, half, np.array(frame.extents).reshape(2, 2))
    back = axes.transData.inverted()
    for text, (point, colour), position, began, room in zip(
        texts, places.values(), moved, home, half, strict=True
    ):
        text.set_position(back.transform(position))
        if (np.abs(position - began) > room).any():
            axes.plot(
                *np.array([point, back.transform(position)]).T,
                color=colour,
                linewidth=0.9,
                zorder=3,
                scalex=False,
                scaley=False,
            )


def apart(centres: Array, half: Array, frame: Array, step: float = 4.0) -> Array:
    """Return where boxes with half sides (N, 2) go that are wanted at `centres` (N, 2): one by one
    to the nearest place still free.

    `frame` is ((left, bottom), (right, top)), within which they stay. Where no place is free a box
    stays where it is wanted.
    """
    across, up = (np.arange(low, high, step) for low, high in frame.T)
    grid = np.stack(np.meshgrid(across, up), 2).reshape(-1, 2)
    placed: list[Array] = []
    for wanted, room in zip(centres, half, strict=True):
        tried = np.concatenate([wanted[None], grid])
        free = ((tried - room >= frame[0]) & (tried + room <= frame[1])).all(1)
        for other, its in zip(placed, half, strict=False):
            free &= (np.abs(tried - other) >= room + its).any(1)
        distance = np.where(free, ((tried - wanted) ** 2).sum(1), np.inf)
        placed.append(tried[int(distance.argmin())])
    return np.array(placed)


def save_panels(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    x: str,
    y: str = "",
    columns: int = 3,
    logarithmic: Sequence[str] = (),
) -> Path:
    """Write sets of curves (title -> name -> x values, y values) as panels of a figure,
    `logarithmic` axes "x" or "y"; return the path. Panels that all show `y` share its axis.
    """
    rows = -(-len(panels) // columns)
    figure = figure_of(3.9 * columns, 2.8 * rows)
    every = figure.subplots(rows, columns, squeeze=False, sharey=bool(y)).ravel()
    every[0].set_ylabel(y)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    for axes, (title, curves) in zip(every, panels.items(), strict=False):
        for name, (xs, ys) in curves.items():
            again, colour = divmod(names.index(name), len(SERIES))
            look = {
                "color": SERIES[colour],
                "linestyle": LINES[again % len(LINES)],
                "marker": "o" if len(xs) < 8 else None,
            }
            axes.plot(xs, ys, label=name, linewidth=1.6, markersize=3, **look)
        _plain(axes, title=title, xlabel=x)
        axes.set(**{f"{axis}scale": "log" for axis in logarithmic})
        if "x" not in logarithmic:
            _whole_ticks(axes.xaxis, [value for xs, _ in curves.values() for value in xs])
        axes.title.set_fontsize(10)
    if len(names) <= len(SERIES):
        every[0].legend(frameon=False, fontsize=8)
    else:  # too many for a corner of a panel
        handles = {
            label: line
            for axes in every
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        lines = [handles[name] for name in names]
        figure.legend(
            lines,
            names,
            loc="outside lower center",
            ncols=min(5, len(names)),
            frameon=False,
            fontsize=8,
        )
    return save_figure(path, figure)


def save_tradeoff(
    path: Path, points: Mapping[str, tuple[float, Sequence[float]]], chosen: str, *, x: str, y: str
) -> Path:
    """Write what each candidate costs and is worth (name -> cost, values of its seeds) as a figure
    with the chosen one marked.
    """
    figure = figure_of(7.2, 4.4)
    axes = figure.subplots()
    for name, (cost, values) in points.items():
        colour = SERIES[1] if name == chosen else SERIES[0]
        middle = float(np.mean(values))
        axes.plot([cost, cost], [min(values), max(values)], color=colour, linewidth=1.5)
        axes.plot([cost], [middle], "o", color=colour, markersize=8 if name == chosen else 5)
        axes.annotate(
            name,
            (cost, middle),
            textcoords="offset points",
            xytext=(7, 4),
            fontsize=9,
            color=colour,
        )
    _plain(
        axes, xlabel=x, ylabel=y, title=f"What depth and width cost and bring; advised: {chosen}"
    )
    axes.margins(x=0.12, y=0.12)
    return save_figure(path, figure)
