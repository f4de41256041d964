"""docs/leaderboard.md, as text: published figures and measured ones side by side."""

from dataclasses import dataclass

from comparisons.page import DATA, ROOT, anchor, figure, in_order, relative, short
from comparisons.plan import OTHER_DRAW, Comparison, Reference
from comparisons.runs import Run

OURS, FLOOR = "tastegraph", "popularity"
RULES = (
    "A test ranks all images of a set, without the user's training favorites; users without a test favorite are left "
    "out. *Here*: by `tastegraph compare`, with 95 % "
    "intervals; `tastegraph`, the best other and popularity are shown, and [results.md](results.md) has all, and which "
    "are of an earlier version. *Library*: measured for this project, on the same split. Others are published, on the "
    "same files unless said (*DiffMM 2024*: Jiang et al., ACM MM; *RecDiff 2024*: Li et al., CIKM), without figures of "
    "single users, so a difference to them has no test."
)


@dataclass(frozen=True)
class Place:
    """A row of a table."""

    system: str
    whose: str
    ndcg: float
    recall: float
    cells: tuple[str, str, str]  # NDCG, recall, source

    @property
    def is_ours(self) -> bool:
        return self.system == OURS and self.whose == "here"


def board_of(shown: list[tuple[Comparison, list[Run]]]) -> str:
    """The whole page, from the runs of each comparison, the one to show first."""
    parts = [
        "# Leaderboard",
        "Written by `benchmarks/results.py` from the comparisons of [results.md](results.md) and the figures of others "
        "in `benchmarks/comparisons/plan.py`.",
        RULES,
        _summary(shown),
    ]
    parts += [_section(comparison, runs) for comparison, runs in shown]
    return "\n\n".join(parts) + "\n"


def _summary(shown: list[tuple[Comparison, list[Run]]]) -> str:
    lines = []
    for comparison, runs in shown:
        link = f"[{comparison.set}, {comparison.protocol}](#{anchor(comparison)})"
        places = _places(comparison, runs)
        mine = next((place for place in places if place.is_ours), None)
        published = next((place for place in places if place.whose == "published"), None)
        other = next((place for place in places if place.whose != "published" and not place.is_ours), None)
        cells = [f"NDCG@{_length(comparison)}", short(mine.ndcg) if mine else "not measured yet"]
        for best in (published, other):
            ahead = f", {relative(mine.ndcg, best.ndcg)}" if mine and best else ""
            ahead += f" (recall {relative(mine.recall, best.recall)})" if mine and best and best is published else ""
            cells.append(f"{best.system} {short(best.ndcg)}{ahead}" if best else "none")
        cells.append(f"{places.index(mine) + 1} of {len(places)}" if mine else "")
        lines.append(f"| {link} | {' | '.join(cells)} |")
    head = f"| set, protocol | figure | `{OURS}` | best published | best other measured | place of `{OURS}` |"
    return "\n".join([head, "|---|---|---|---|---|---|", *lines])


def _section(comparison: Comparison, runs: list[Run]) -> str:
    places, k = _places(comparison, runs), _length(comparison)
    best = next((place for place in places if place.whose == "here" and not place.is_ours), None)
    parts = [f"## {comparison.set}, {comparison.protocol}"]
    parts += [comparison.remark] if comparison.remark else []
    if not runs:
        parts.append(f"Not measured here yet:\n\n    {' '.join(comparison.command(DATA, ROOT, 'all', 1, 6))}")
    lines = [
        f"| {_shown(place)} | {' | '.join(place.cells)} |"
        for place in places
        if (place.whose != "here" or place.is_ours or place is best or place.system == FLOOR)
        and not (runs and place.whose == "library" and place.system == FLOOR)  # the same list as ours
    ]
    head = f"| system | NDCG@{k} | Recall@{k} | source |"
    parts.append("\n".join([head, "|---|---|---|---|", *lines]))
    return "\n\n".join(parts)


def _places(comparison: Comparison, runs: list[Run]) -> list[Place]:
    """The rows of the table, best NDCG first."""
    places = [_of_reference(other) for other in comparison.references]
    if runs:
        run = runs[0]
        recalls = {row["system"]: row for row in run.columns[1].of(run.comparisons)}
        for row in in_order(run, run.columns[0]):
            name = row["system"]
            recall = recalls.get(name)
            cells = (figure(row), short(recall["value"]) if recall else "", "here")
            value = recall["value"] if recall else float("nan")
            places.append(Place(name, "here", row["value"], value, cells))
    return sorted(places, key=lambda place: (-place.ndcg, place.whose, place.system))


def _of_reference(other: Reference) -> Place:
    source = f"{other.source}; {other.split}" if other.split == OTHER_DRAW else other.source
    cells = (short(other.ndcg), short(other.recall), source if other.published else f"library: {source}")
    return Place(other.system, "published" if other.published else "library", other.ndcg, other.recall, cells)


def _shown(place: Place) -> str:
    name = f"`{place.system}`" if place.whose == "here" else place.system
    return f"**{name}**" if place.is_ours else name


def _length(comparison: Comparison) -> int:
    return 10 if comparison.protocol == "full" and comparison.test is None else 20
