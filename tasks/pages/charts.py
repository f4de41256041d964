"""The report's charts: inline SVG as text, equal figures giving equal text.

Ink is `currentColor` and series i is the page's `--series-i`, so one drawing serves light, dark and paper; the words
stay text, in the page's font. A chart names nothing outside, not even SVG's namespace, so it is for HTML only.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

MAX_POINTS = 240  # bins or steps drawn; beyond, neighbours share one, which bounds a chart to some 20 kB

# matplotlib knows no CSS, so it draws in colours that nobody would choose, and they are exchanged in its output.
INK = "#010101"
SERIES = ("#020202", "#030303", "#040404", "#050505", "#060606", "#070707")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 3)))  # distinct without colour
_CSS = {INK: "currentColor"} | {colour: f"var(--series-{place})" for place, colour in enumerate(SERIES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # to measure with; wider than the page's font, so nothing gets too little room
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "path.simplify": False,
}

Numbers = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]] | Sequence[float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One system's line: its value at every x, with the ends of its interval."""

    x: Numbers
    value: Numbers
    low: Numbers
    high: Numbers
    series: int  # which of the page's series colours, counted on past the last one


def curves(lines: Sequence[Curve], *, name: str, label: str, x_label: str, y_label: str) -> str:
    """Lines with interval bands; rates, so that y runs from 0 to 1 in every run and two nights compare by eye.

    `name` must be unique in the page: ids within the SVG depend on it. `label` is read by screen readers.
    """
    figure, axes = _axes(x_label, y_label)
    for line in reversed(lines):  # the first on top
        colour, dashes = SERIES[line.series % len(SERIES)], DASHES[line.series % len(DASHES)]
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(line.x, line.value, color=colour, linestyle=dashes, linewidth=1.8)
    longest = max((int(max(line.x)) for line in lines), default=1)
    step = max(1, round(longest / 4))
    axes.set(xlim=(1, max(longest, 2)), ylim=(0, 1), xticks=sorted({1, *range(step, longest + 1, step)}))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1f}"))
    return _svg(figure, name, label)


def sparkline(value: Numbers, low: Numbers, high: Numbers, *, name: str, label: str) -> str:
    """A word-sized line with its interval band, and the last value as a dot; x is the place in order."""
    x = np.arange(len(value))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.7, 0.42))
        axes = figure.add_axes((0.01, 0.06, 0.94, 0.88))
    axes.set_axis_off()
    axes.fill_between(x, low, high, color=SERIES[0], alpha=0.16, linewidth=0)
    axes.plot(x, value, color=SERIES[0], linewidth=1.4)
    axes.plot(x[-1:], np.asarray(value)[-1:], color=SERIES[0], marker="o", markersize=3.6, clip_on=False)
    return _svg(figure, name, label)


def ranked(lines: Sequence[tuple[str, float, float, float]], *, name: str, label: str, x_label: str) -> str:
    """Names with a value and the ends of its interval, the first on top; x begins at 0, so lengths compare."""
    figure, axes = _axes(x_label, "", height=0.75 + 0.22 * len(lines))
    for place, (_, value, low, high) in enumerate(lines):
        axes.plot([low, high], [place, place], color=SERIES[0], linewidth=3, alpha=0.4, solid_capstyle="round")
        axes.plot([value], [place], color=SERIES[0], marker="o", markersize=4.5)
    axes.set(ylim=(len(lines) - 0.4, -0.6), yticks=range(len(lines)), yticklabels=[line[0] for line in lines])
    axes.set_xlim(min(0, *(line[2] for line in lines)), None)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    return _svg(figure, name, label)


def cost(points: Sequence[tuple[str, float, float]], *, name: str, label: str, x_label: str, y_label: str) -> str:
    """Names at their seconds, on a logarithmic axis, and their quality; up and to the left is better."""
    figure, axes = _axes(x_label, y_label, height=4.2)
    top = max((value for _, _, value in points), default=0.0) or 1.0
    names: dict[tuple[int, int], list[str]] = {}  # of what is drawn at one place
    places: dict[tuple[int, int], tuple[float, float]] = {}
    for system, seconds, value in points:
        at = max(seconds, 0.01), value
        axes.plot([at[0]], [at[1]], color=SERIES[0], marker="o", markersize=4.5)
        place = round(3 * math.log10(at[0])), round(25 * value / top)
        names.setdefault(place, []).append(system)
        places.setdefault(place, at)
    for place, there in names.items():
        text, offset = ", ".join(there).replace("$", r"\$"), (5, 3)
        axes.annotate(text, places[place], xytext=offset, textcoords="offset points", fontsize=8.5, color=INK)
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(min(0, *(point[2] for point in points)), None)
    return _svg(figure, name, label)


def representation(
    values: Numbers, *, name: str, label: str, x_label: str, limits: tuple[float, float], series: int = 0
) -> str:
    """A vector, a bar for each dimension; `limits` of y are the same for those that are to be compared."""
    figure, axes = _axes(x_label, "", height=1.9)
    axes.stairs(values, np.arange(len(values) + 1), baseline=0, fill=True, color=SERIES[series])
    axes.set(xlim=(0, len(values)), ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
    return _svg(figure, name, label)


def ordered(heights: Numbers, *, name: str, label: str, x_label: str, y_label: str) -> str:
    """Counts as one filled outline, the greatest first: what is long-tailed shows its tail. For CDL's Fig. 3."""
    falling = np.sort(np.asarray(heights))[::-1]
    edges = np.arange(falling.size + 1)
    if falling.size > MAX_POINTS:  # a falling outline keeps its shape when only some of its points are drawn
        edges = np.unique(np.linspace(0, falling.size, MAX_POINTS + 1).astype(int))
    figure, axes = _axes(x_label, y_label)
    axes.stairs(falling[edges[:-1]], edges, fill=True, color=SERIES[0], alpha=0.75)
    axes.set(xlim=(0, max(falling.size, 1)), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    _count(axes)
    return _svg(figure, name, label)


def histogram(
    amounts: Numbers,
    *,
    name: str,
    label: str,
    x_label: str,
    y_label: str,
    y_scale: Literal["linear", "log"] = "linear",
    most_bins: int = MAX_POINTS,
) -> str:
    """How many rows have each amount (whole numbers from 0), in bins of equal whole width. For CDL's Fig. 4."""
    whole = np.asarray(amounts, np.int64)
    width = bin_width(whole, most_bins)
    counts = np.bincount(whole // width, minlength=1)
    edges = np.arange(counts.size + 1) * width - 0.5 * (width == 1)  # a bin of one amount stands over that amount
    figure, axes = _axes(x_label, y_label)
    axes.stairs(counts, edges, baseline=0, fill=True, color=SERIES[0], alpha=0.75)
    axes.set(xlim=(edges[0], edges[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _count(axes)
    if y_scale == "log":
        axes.set_yscale("log")
        axes.set_ylim(0.7, max(1.4 * counts.max(), 10.0))  # below 1, so that a single row can be seen
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(figure, name, label)


def bin_width(amounts: Numbers, most_bins: int = MAX_POINTS) -> int:
    """How many neighbouring amounts share a bin of the histogram."""
    return int(np.max(amounts, initial=0)) // most_bins + 1


def loss(steps: Numbers, losses: Numbers, *, name: str, label: str) -> str:
    """The loss as training went on; where there are too many steps, the mean of neighbours over their range."""
    groups = min(len(steps), MAX_POINTS)
    step_groups, loss_groups = np.array_split(np.asarray(steps), groups), np.array_split(np.asarray(losses), groups)
    x = [float(group.mean()) for group in step_groups]
    figure, axes = _axes("step", "loss")
    if len(steps) > groups:
        low, high = [group.min() for group in loss_groups], [group.max() for group in loss_groups]
        axes.fill_between(x, low, high, color=SERIES[0], alpha=0.2, linewidth=0)
    marker = "o" if groups == 1 else None  # a line through one point is not seen
    axes.plot(x, [group.mean() for group in loss_groups], color=SERIES[0], linewidth=1.6, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.margins(x=0.01)
    return _svg(figure, name, label)


def _axes(x_label: str, y_label: str, height: float = 2.9) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.0, height), layout="constrained")
        return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)


def _count(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an <svg> element that leaves size, font and colours to the page, and repeats no other's ids."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    body = text[text.index(">", box.end()) + 1 :]
    body = re.sub(r"<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # matplotlib numbers its groups again in every figure
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.2f}", body)  # a hundredth of a point
    body = re.sub(r"\s*\n\s*", " ", body.replace("xlink:href", "href"))
    body = re.sub("#0[0-9]0[0-9]0[0-9]", lambda colour: _CSS[colour[0]], body)
    return f'<svg role="img" aria-label="{escape(label)}" {box[0]}>{body.strip()}'
