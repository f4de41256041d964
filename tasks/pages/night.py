"""The run's report: an HTML page that an operator and a researcher open first, and its pictures beside it."""

import hashlib
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.ensemble.reason_words import reason_in_words
from models.evaluation.headlines import HEADLINES
from tasks.pages import charts, sprites
from tasks.pages.contents import (
    CaseStudy,
    Counts,
    Distributions,
    Metric,
    NegativesAudit,
    Past,
    Person,
    Picture,
    Reason,
    Recommendation,
    Report,
    Stage,
    Training,
    pictures_of,
    to_json,
)

PROTOCOLS = {
    "paper_both": "Paper’s protocol, the mean of both versions",
    "paper": "Paper’s protocol, others drawn uniformly",
    "paper_matched": "Paper’s protocol, others matched in popularity",
    "full": "Full ranking",
    "policy": "Full ranking under the policy’s rules",
    "time": "Full ranking of what came later",
    "cold": "Images held out entirely, ranked among themselves",
    "cold_users": "Full ranking for users held out entirely",
    "auc": "One favorite left out, over all unobserved images",
}
METRICS = {
    "precision": "Precision",
    "recall": "Recall",
    "ndcg": "NDCG",
    "hit_rate": "HitRate",
    "map": "MAP",
    "auc": "AUC",
}
SYSTEMS = {"cdl": "CDL", "popularity": "Popularity", "random": "Random"}  # others go by their own name
CURVES = (("paper", "precision"), ("paper", "recall"), ("paper_matched", "precision"), ("paper_matched", "recall"))
CLOCK_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds between two ticks
PAGE, CONTENTS = "index.html", "report.json"
NUM_STRIPS, IN_STRIP = 3, 8  # people on the first screen, and pictures for each
TABLE_KS = (1, 5, 10, 20)  # lengths in the tables; the curves' own tables hold every other


def minute(at: datetime) -> str:
    """A time as the page writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def files_of(report: Report) -> dict[str, bytes]:
    """The files of a run's `report/`, by name: the page, its pictures, and what all was rendered from.

    Raises ContentsError for a picture that cannot be decoded.
    """
    _, beside = _pictures(report)
    pictures = sprites.files([picture.jpeg for picture in beside if picture.jpeg])
    return {PAGE: render(report), **pictures, CONTENTS: to_json(report)}


def render(report: Report) -> bytes:
    """The page as UTF-8 HTML. Equal reports give equal bytes; every string in them is data, never markup."""
    systems = sorted(
        {row.system for row in report.metrics}, key=lambda name: (name != report.system, place_among(SYSTEMS, name))
    )
    within, beside = _pictures(report)
    template = environment().get_template("night.html.jinja")
    html = template.render(
        report=report,
        generated_at=minute(report.generated_at),
        facts=_facts(report),
        representations=_representations(report.case),
        systems=systems,
        headlines=[_headline(report, systems, *which) for which in HEADLINES],
        curves=[figure for which in CURVES if (figure := _curves(report, systems, *which))],
        tables=list(_tables(report.metrics, systems)),
        distributions=list(_distributions(report.distributions)),
        exclusions=list(_exclusions(report.negatives)),
        loss=_loss(report.training),
        clock=clock(report.stages),
        signals=sorted({reason.signal for person in report.people for got in person.got for reason in got.reasons}),
        strips=_strips(report),
        jpegs=[picture.jpeg for picture in within],
        number_of={picture.image_id: number for number, picture in enumerate(within)},
        place_of={picture.image_id: sprites.place(number) for number, picture in enumerate(beside)},
        sprite_size=(100 * sprites.COLUMNS, 100 * sprites.ROWS),
    )
    return html.encode()


def _strips(report: Report) -> list[tuple[Person, Sequence[Recommendation]]]:
    """The people of the first screen, and what they got first."""
    return [(person, person.got[:IN_STRIP]) for person in report.people if person.got][:NUM_STRIPS]


def _pictures(report: Report) -> tuple[list[Picture], list[Picture]]:
    """Each picture once: those of the first screen, which the page carries, and the others, as one scrolls to them."""
    at_once = {got.picture.image_id for _, strip in _strips(report) for got in strip}
    pictures = [picture for picture in pictures_of(report) if picture.jpeg]
    within, beside = ([one for one in pictures if (one.image_id in at_once) == is_first] for is_first in (True, False))
    return within, beside


def clock(stages: Sequence[Stage]) -> list[float]:
    """The seconds at which the waterfall of the stages has its ticks: from 0 to the end of the last stage or later."""
    end = max((call.started_s + call.elapsed_s for stage in stages for call in stage.calls), default=0.0)
    if not end:
        return []
    step = next(
        (step for step in CLOCK_STEPS if step * 5 >= end), CLOCK_STEPS[-1] * math.ceil(end / (5 * CLOCK_STEPS[-1]))
    )
    return [step * tick for tick in range(math.ceil(end / step) + 1)]


def environment() -> Environment:
    """Where pages' templates lie, and how they write figures."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "because": _because,
        "figure": _figure,
        "part": _part,
        "duration": _duration,
        "data_uri": lambda jpeg: f"data:image/jpeg;base64,{b64encode(jpeg).decode()}",
        "hue": lambda image_id: int(hashlib.sha256(image_id.encode()).hexdigest(), 16) % 360,
        "system": lambda name: SYSTEMS.get(name, name),
        "protocol": lambda name: PROTOCOLS.get(name, name),
        "metric": lambda name: METRICS.get(name, name),
    }
    return environment


def _headline(report: Report, systems: Sequence[str], protocol: str, metric: str) -> dict[str, Any]:
    """A figure of every system on one scale, and whether its interval is apart from the other systems' intervals."""
    measured = list(_select(report.metrics, protocol, metric))
    k = max((row.k for row in measured), default=20)
    rows = [row for row in measured if row.k == k]
    rows.sort(key=lambda row: systems.index(row.system))
    ours = next((row for row in rows if row.system == report.system), None)
    standings = [] if ours is None else [(_standing(ours, row), row.system) for row in rows if row is not ours]
    top = _round_up(max((row.high for row in rows), default=0.0))
    past = [row for row in report.past if (row.protocol, row.metric, row.k) == (protocol, metric, k)]
    return {
        "protocol": protocol,
        "metric": metric,
        "k": k,
        "rows": rows,
        "standings": standings,
        "top": top,
        "past": past if ours else [],
        "sparkline": _sparkline(past, ours) if ours and past else None,
    }


def _sparkline(past: Sequence[Past], ours: Metric) -> Markup:
    """The figure in the last runs and in this one."""
    runs: list[Past | Metric] = [*past, ours]
    chart = charts.sparkline(
        [row.value for row in runs],
        [row.low for row in runs],
        [row.high for row in runs],
        name=f"past-{ours.protocol}-{ours.metric}",
        label=f"{METRICS[ours.metric]}@{ours.k} in the last {len(runs)} runs: "
        + ", ".join(_figure(row.value) for row in runs),
    )
    return Markup(chart)


def _representations(case: CaseStudy | None) -> dict[str, list[dict[str, Any]]]:
    """The paper's Figs. 8 and 9: a title and a chart for each vector."""
    if case is None:
        return {}
    images = [("Favorite", 0, vector) for vector in case.positive_vectors]
    images += [("Negative", 1, vector) for vector in case.negative_vectors]
    user = [("What the user’s tower takes", 0, case.profile), ("What it learned", 0, case.user)]

    def drawn(name: str, title: str, series: int, vector: Sequence[float], limits: tuple[float, float]) -> Markup:
        x_label = "clusters" if title == user[0][0] else "dimensions"
        label = f"{title}, {len(vector)} {x_label}; {np.count_nonzero(vector)} of them are not 0"
        return Markup(
            charts.representation(vector, name=name, label=label, x_label=x_label, limits=limits, series=series)
        )

    low, high = (edge([edge(vector) for _, _, vector in images], default=0.0) for edge in (min, max))
    return {
        "user": [
            {
                "title": title,
                "chart": drawn(f"user-{place}", title, series, vector, (min(0, *vector), max(vector) or 1)),
            }
            for place, (title, series, vector) in enumerate(user)
            if vector
        ],
        "images": [
            {"title": title, "chart": drawn(f"image-{place}", title, series, vector, (min(0.0, low), high or 1.0))}
            for place, (title, series, vector) in enumerate(images)
        ],
    }


def _facts(report: Report) -> list[tuple[str, str]]:
    """What ran, in figures."""
    rows = {table.table: table.rows for table in report.community}
    took = max((call.started_s + call.elapsed_s for stage in report.stages for call in stage.calls), default=0.0)
    return [
        ("System", SYSTEMS.get(report.system, report.system)),
        *((name.capitalize(), f"{rows[name]:,}") for name in ("users", "images", "favorites") if name in rows),
        *([("Took", _duration(took))] if took else []),
        ("Made", minute(report.generated_at)),
    ]


def _because(reason: Reason) -> str:
    """A reason in words."""
    return reason_in_words(reason.signal, reason.label or reason.because)


def _part(reason: Reason, reasons: Sequence[Reason]) -> float:
    """The reason's share of all that raises the score, 0 to 1."""
    return reason.share / sum(one.share for one in reasons if one.share > 0)


def _round_up(value: float) -> float:
    """The next number of one significant digit: where the value's scale ends."""
    unit = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return math.ceil(value / unit) * unit or unit


def _standing(ours: Metric, other: Metric) -> str:
    if ours.low > other.high:
        return "above"
    return "below" if ours.high < other.low else "not apart from"


def _curves(report: Report, systems: Sequence[str], protocol: str, metric: str) -> dict[str, Any] | None:
    """Metric@K of every system with its chart, or None where there is nothing to draw."""
    rows = {(row.system, row.k): row for row in _select(report.metrics, protocol, metric)}
    if not rows:
        return None
    shown = [system for system in systems if any(system == name for name, _ in rows)]
    ks = sorted({k for _, k in rows})
    lines = []
    for system in shown:
        line = [rows[system, k] for k in ks if (system, k) in rows]
        lines.append(
            charts.Curve(
                x=[row.k for row in line],
                value=[row.value for row in line],
                low=[row.low for row in line],
                high=[row.high for row in line],
                series=systems.index(system),
            )
        )
    chart = charts.curves(
        lines,
        name=f"{protocol}-{metric}",
        label=f"{METRICS[metric]}@K by K, {PROTOCOLS[protocol]}; one line per system with its interval",
        x_label="K",
        y_label=f"{METRICS[metric]}@K",
    )
    return {"protocol": protocol, "metric": metric, "chart": Markup(chart), "systems": shown, "ks": ks, "rows": rows}


def _select(metrics: Iterable[Metric], protocol: str, metric: str) -> list[Metric]:
    return [
        row
        for row in metrics
        if (row.protocol, row.metric, row.slice) == (protocol, metric, "all")
        and math.isfinite(row.low + row.value + row.high)
    ]


def _tables(metrics: Sequence[Metric], systems: Sequence[str]) -> Iterable[dict[str, Any]]:
    """One table per protocol: a row per slice and system, a column per metric and length."""
    for protocol in sorted({row.protocol for row in metrics}, key=lambda name: place_among(PROTOCOLS, name)):
        rows = [row for row in metrics if row.protocol == protocol]
        pairs = {(row.metric, row.k) for row in rows}
        columns = sorted(
            {(metric, k) for metric, k in pairs if k in TABLE_KS} or pairs,
            key=lambda column: (place_among(METRICS, column[0]), column[1]),
        )
        slices = sorted({row.slice for row in rows}, key=lambda name: (name != "all", name != "warm", name))
        cells = {(row.slice, row.system, row.metric, row.k): row for row in rows}
        best = {
            (name, *column): max(
                (
                    row.value
                    for row in rows
                    if (row.slice, row.metric, row.k) == (name, *column) and math.isfinite(row.value)
                ),
                default=None,
            )
            for name in slices
            for column in columns
        }
        users = {(row.slice, row.system): row.users for row in rows}
        shown = {name: [system for system in systems if (name, system) in users] for name in slices}
        yield {"protocol": protocol, "columns": columns, "slices": shown, "cells": cells, "best": best, "users": users}


def _distributions(found: Distributions | None) -> Iterable[dict[str, Any]]:
    """The paper's Figs. 3 and 4: title, a sentence of figures, chart (None where the community has none of it)."""
    if found is None:
        return
    clusters = found.users_per_cluster
    yield {
        "title": "Users per cluster (Fig. 3)",
        "summary": f"{clusters.size:,} clusters and who cares for them; {np.sum(clusters == 0):,} interest nobody.",
        "chart": clusters.any()
        and Markup(
            charts.ordered(
                clusters,
                name="clusters",
                label="Number of users with an interest in each cluster, clusters in falling order",
                x_label="clusters, most popular first",
                y_label="users",
            )
        ),
    }
    for what, amounts in (("favorites", found.favorites_per_user), ("tags", found.tags_per_user)):
        width = charts.bin_width(amounts)
        yield {
            "title": f"{what.capitalize()} per user (Fig. 4)",
            "summary": f"{_spread(amounts)} Logarithmic y axis." if amounts.any() else "",
            "chart": amounts.any()
            and Markup(
                charts.histogram(
                    amounts,
                    name=what,
                    label=f"Number of users by their amount of {what}, logarithmic y axis",
                    x_label=f"{what} of a user" + (f" (bars of {width})" if width > 1 else ""),
                    y_label="users",
                    y_scale="log",
                )
            ),
        }


def _exclusions(audit: NegativesAudit | None) -> Iterable[dict[str, Any]]:
    """The spread over users of the excluded sets and of what is left, each with its histogram."""
    if audit is None or not audit.left.size:
        return
    sets = {
        "carry a tag of interest": audit.tagged,
        "a contact favorited": audit.contacts,
        "a group member favorited": audit.groups,
        "are left as negatives": audit.left,
    }
    for place, (title, amounts) in enumerate(sets.items()):
        chart = charts.histogram(
            amounts,
            name=f"negatives-{place}",
            label=f"Number of users by their number of images that {title}",
            x_label="images",
            y_label="users",
            most_bins=40,
        )
        quantiles = [int(value) for value in np.quantile(amounts, (0, 0.25, 0.5, 0.75, 1), method="lower")]
        yield {"title": title, "quantiles": quantiles, "chart": amounts.any() and Markup(chart)}


def _loss(training: Training | None) -> Markup | None:
    if training is None or not training.loss:
        return None
    steps, losses = zip(*training.loss, strict=True)
    return Markup(charts.loss(steps, losses, name="loss", label="Training loss by step"))


def _spread(amounts: Counts) -> str:
    return (
        f"{amounts.size:,} users; median {np.median(amounts):,.0f}, mean {amounts.mean():,.1f}, most {amounts.max():,}."
    )


def _figure(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _duration(seconds: float, digits: int = 1) -> str:
    if seconds < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def place_among(order: Iterable[str], name: str) -> tuple[int, str]:
    """A sort key: names of `order` as listed there, other names after them by name."""
    names = list(order)
    return (names.index(name) if name in names else len(names), name)
