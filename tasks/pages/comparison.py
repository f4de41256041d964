"""The comparison's report: one HTML page of tables and curves, styled like the night's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from tasks.pages import charts
from tasks.pages.contents import name_of
from tasks.pages.night import METRICS, PROTOCOLS, TABLE_KS, environment, place_among

MIN_POINTS = 5  # lengths; a line through fewer is no curve
DRAWN = 6  # curves in a chart: the best, with popularity and random among them
FLOOR = ("popularity", "random")
SLICES = ("all", "warm", "cold")
Row = dict[str, Any]
Place = tuple[str, int]  # a metric, and the length of the list that is scored


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All that the page shows."""

    id: str
    source: str
    metric: str  # what the systems are put in order by, at length k; 0: all images
    k: int
    parameters: Sequence[tuple[str, str]]
    tags: str | None  # what they tell of held-out favorites; None: images have none
    systems: Sequence[tuple[str, str, str]]  # name, settings, and a line that says how it fared
    is_tuned: bool  # settings were searched for on validation
    results: Sequence[Row]  # of the table RESULTS
    comparisons: Sequence[Row]  # of the table COMPARISONS


def board(results: Iterable[Row], metric: str, k: int) -> list[Row]:
    """For each protocol and slice, the systems in order, with their figures as means over the seeds.

    The figure that settings are chosen by comes first. Each item has protocol, slice, and rows; a row has system,
    figures by (metric, k), fit_s and score_s.
    """
    seeds: dict[tuple[str, str], dict[str, dict[Place, list[Row]]]] = {}
    for row in results:
        of_part = seeds.setdefault((row["protocol"], row["slice"]), {})
        of_part.setdefault(row["system"], {}).setdefault((row["metric"], row["k"]), []).append(row)
    parts = []
    for protocol, slice_ in sorted(seeds, key=lambda part: (place_among(PROTOCOLS, part[0]), SLICES.index(part[1]))):
        means = {
            system: {place: _mean(rows) for place, rows in figures.items()}
            for system, figures in seeds[protocol, slice_].items()
        }
        order = sorted(means, key=lambda system: (-means[system][metric, k]["value"], system))
        rows = [{"system": system, "figures": means[system], **_seconds(means[system])} for system in order]
        parts.append({"protocol": protocol, "slice": slice_, "rows": rows})
    return parts


def render(comparison: Comparison) -> bytes:
    """The page as UTF-8 HTML. Equal comparisons give equal bytes; every string in them is data, never markup."""
    parts = board(comparison.results, comparison.metric, comparison.k)
    tests = {
        (row["protocol"], row["slice"], row["system"]): row
        for row in comparison.comparisons
        if (row["metric"], row["k"]) == (comparison.metric, comparison.k)
    }
    deciding = (comparison.metric, comparison.k)
    for part in parts:
        part["all_columns"] = _columns(part["rows"])
        of_users = [at for at in part["all_columns"] if at[1] == comparison.k and at[0] in METRICS and at != deciding]
        part["columns"] = [deciding, *of_users]
        part["users"] = part["rows"][0]["figures"][deciding]["users"]
        part |= _pictures(part, deciding)
        for row in part["rows"]:
            row["test"] = tests.get((part["protocol"], part["slice"], row["system"]))
        part["num_tests"] = sum(row["test"] is not None for row in part["rows"]) - 1
    template = environment().get_template("comparison.html.jinja")
    curves = [figure for part in parts for metric in ("precision", "recall") if (figure := _curves(part, metric))]
    source = name_of(comparison.source)
    title = f"{len(comparison.systems)} systems on {source}"
    return template.render(comparison=comparison, title=title, parts=parts, curves=curves).encode()


def _mean(rows: list[Row]) -> Row:
    """A figure's mean over the seeds; figures of all lists together have no interval."""
    means = {
        key: fmean(row[key] for row in rows) if rows[0][key] is not None else None
        for key in ("value", "low", "high", "fit_s", "score_s")
    }
    return {**means, "users": rows[0]["users"]}


def _seconds(figures: dict[Place, Row]) -> Row:
    figure = next(iter(figures.values()))
    return {key: figure[key] for key in ("fit_s", "score_s")}


def _pictures(part: Row, deciding: Place) -> Row:
    """The systems in order with their intervals, and their quality beside the seconds that a fit takes."""
    called = METRICS.get(deciding[0], deciding[0]) + (f"@{deciding[1]}" if deciding[1] else "")
    name, where = f"{part['protocol']}-{part['slice']}", f"{PROTOCOLS[part['protocol']]}, {part['slice']} images"
    figures = [(row["system"].replace("$", r"\$"), row["figures"][deciding], row) for row in part["rows"]]
    lines = [
        (system, at["value"], *((at["low"], at["high"]) if at["low"] is not None else 2 * (at["value"],)))
        for system, at, _ in figures
    ]
    ranked = charts.ranked(
        lines, name=f"{name}-ranked", label=f"{called} of each system with its interval, {where}", x_label=called
    )
    points = [(row["system"], row["fit_s"], at["value"]) for _, at, row in figures]
    label = f"{called} by the seconds of a fit, {where}; one dot per system"
    cost = charts.cost(points, name=f"{name}-cost", label=label, x_label="fit, logarithmic axis", y_label=called)
    return {"ranked": Markup(ranked), "cost": Markup(cost)}


def _columns(rows: list[Row]) -> list[Place]:
    """Metrics at the lengths that a table shows, in the order of the lengths."""
    places = {place for row in rows for place in row["figures"]}
    known = [*METRICS, *sorted({metric for metric, _ in places} - METRICS.keys())]
    shown = {place for place in places if place[1] in (0, *TABLE_KS)} or places
    return sorted(shown, key=lambda place: (known.index(place[0]), place[1]))


def _curves(part: Row, metric: str) -> Row | None:
    """Precision or recall at every length, of the best systems and the floor; None where few lengths were measured."""
    first = part["rows"][0]["figures"]
    ks = sorted(k for name, k in first if name == metric)
    if len(ks) < MIN_POINTS:
        return None
    floor = [row for row in part["rows"] if row["system"] in FLOOR]
    best = [row for row in part["rows"] if row not in floor][: DRAWN - len(floor)]
    lines = []
    for series, row in enumerate([*best, *floor]):
        points = [row["figures"][metric, k] for k in ks]
        lines.append(
            charts.Curve(
                x=ks,
                value=[point["value"] for point in points],
                low=[point["low"] for point in points],
                high=[point["high"] for point in points],
                series=series,
            )
        )
    chart = charts.curves(
        lines,
        name=f"{part['protocol']}-{part['slice']}-{metric}",
        label=f"{METRICS[metric]}@K by K, {PROTOCOLS[part['protocol']]}; one line per system with its interval",
        x_label="K",
        y_label=f"{METRICS[metric]}@K",
    )
    shown = {"protocol": part["protocol"], "slice": part["slice"], "metric": metric}
    return {**shown, "chart": Markup(chart), "systems": [row["system"] for row in [*best, *floor]]}
