"""docs/results.md, as text."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from comparisons.asked import Asked
from comparisons.found import MACHINE, Column, Found, Row
from models.systems import SYSTEMS

DATA, ROOT = "$TASTEGRAPH_DATA", "$ROOT"  # how the page writes the two folders
COLD_SHOWN = 4  # systems


def page_of(found: list[tuple[Asked, list[Found]]]) -> str:
    """The whole page; of each comparison that is asked for those found, the one to show first."""
    parts = [
        "# Results",
        "Written by `benchmarks/results.py`, from what `tastegraph compare` left; not by hand. Above each table stands "
        f"the command that makes it, {DATA} being the folder of the sets and {ROOT} that of the results.",
        "Means over the test users, with 95 % bootstrap intervals over them; with several seeds, of each user's mean. "
        "*To the best other*: the difference in the first figure to the best of the other systems, and how often "
        "random signs of the users' differences bring as large a one. Seconds are of one fit, on training and "
        f"validation together, and of ranking for all test users, as means over the seeds, on {MACHINE} shared with "
        "other work where no other machine is named. "
        "Settings were tried on validation, as many of each system as the budget and its grid allow, the "
        "defaults among them, and chosen by the first figure, of the paper's protocol by the mean of both; the test "
        "chose nothing. Favorites learned from are not ranked. Equal scores are in a "
        "random order, images that a system cannot score behind the others: on cold images popularity, and whatever "
        "learns from favorites alone, is at chance, and for cold users whatever knows them by favorites alone. Image "
        "features are made from the set's own pictures, as no pretrained weights are downloaded "
        "([settings.md](settings.md#features)).",
        _summary([(asked, items[0]) for asked, items in found if items]),
    ]
    parts += [_section(asked, *items) for asked, items in found if items]
    if missing := [f"{asked.set} ({asked.protocol})" for asked, items in found if not items]:
        parts.append(f"Not yet run: {', '.join(missing)}.")
    parts.append(
        "The sixth real set, blogcatalog-social, has contacts, groups and tags, but neither images nor favorites: "
        "there is nothing to recommend, and `tastegraph nightly` refuses it."
    )
    return "\n\n".join(parts) + "\n"


def _summary(found: list[tuple[Asked, Found]]) -> str:
    rows = []
    for asked, item in found:
        outside = max(asked.elsewhere, key=lambda other: other.ndcg, default=None)
        for column in item.leading:
            first, second, *_ = _in_order(item, column)
            rows.append(
                f"| [{asked.set}, {asked.protocol}](#{_anchor(asked)}) | {column.heading} | `{first['system']}` "
                f"{_figure(first)} | `{second['system']}` {_short(second['value'])} | "
                f"{_relative(first['value'], second['value'])} | {_chance(first['p_value'])} | "
                + (f"{outside.system} {_short(outside.ndcg)} |" if outside else "|")
            )
    head = "| set, protocol | figure | first | second | ahead by | p | best elsewhere |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _section(asked: Asked, found: Found, *others_found: Found) -> str:
    leading, *beside = found.columns
    order = _in_order(found, leading)
    told = {entry["system"]: entry for entry in found.told["systems"]}
    measured = [name for name, entry in told.items() if not entry["lacking"]]
    names = "all" if told.keys() == SYSTEMS.keys() else ",".join(measured)
    seeds, budget = found.told["seeds"], found.told["budget"]
    others = [{row["system"]: row for row in column.of(found.comparisons)} for column in beside]
    lines = []
    for row in order:
        measured = [of for of in beside[0].of(found.results) if of["system"] == row["system"]]
        seconds = [f"{fmean(of[key] for of in measured):,.1f}" + _mark(measured[0]) for key in ("fit_s", "score_s")]
        cells = [
            f"`{row['system']}`",
            _figure(row),
            *(_figure(figures[row["system"]]) if row["system"] in figures else "" for figures in others),
            f"{_signed(row['difference'])}, p {_chance(row['p_value'])}",
            *seconds,
            _settings(told[row["system"]]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    users = f"{order[0]['users']:,} test users"
    if others[0] and (apart := next(iter(others[0].values()))["users"]) != order[0]["users"]:
        users += f", {apart:,} of them on a cold image"
    heads = [
        *("system", *(column.heading for column in found.columns), "to the best other"),
        *("fit s", "score s", "settings, how many were tried"),
    ]
    parts = [
        f"## {asked.set}, {asked.protocol}",
        f"Held out: {asked.split}. {users}; {_seeds(seeds)}; "
        + (f"at most {budget} settings tried of each system." if budget else "the defaults of every system."),
        f"    {' '.join(asked.command(DATA, ROOT, names, seeds, budget))}",
        *(_first(_in_order(found, column)[0], column) for column in found.leading),
        "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]),
        *_cold(found, leading),
        *_beside(found, others_found),
        *_machines([found, *others_found]),
        *_elsewhere(asked, order[0], leading, others[0]),
        *_left_out([found, *others_found]),
    ]
    return "\n\n".join(parts)


def _mark(measured: Row) -> str:
    return "" if measured["machine"] == MACHINE else "\\*"


def _machines(found: Sequence[Found]) -> list[str]:
    """Whose the seconds with a mark are."""
    others = sorted({row["machine"] for item in found for row in item.results} - {MACHINE})
    return [f"\\* Seconds on a machine with {'; '.join(others)}."] if others else []


def _in_order(found: Found, column: Column) -> list[Row]:
    """The rows of COMPARISONS for a figure, best first."""
    return sorted(column.of(found.comparisons), key=lambda row: (-row["value"], row["system"]))


def _first(first: Row, leading: Column) -> str:
    interval = f"[{_signed(first['difference_low'])}, {_signed(first['difference_high'])}]"
    return (
        f"First by {leading.heading}: **{first['system']}**, {_signed(first['difference'])} {interval} "
        f"({_relative(first['value'], first['other_value'])}) to the best other system, {first['other']}; "
        f"paired test over users: p {_chance(first['p_value'])}."
    )


def _cold(found: Found, leading: Column) -> list[str]:
    """The best systems on images that no favorite was learned from, where the table does not show them."""
    rows = replace(leading, slice="cold").of(found.comparisons) if found.is_full else []
    best = sorted(rows, key=lambda row: (-row["value"], row["system"]))[:COLD_SHOWN]
    figures = ", ".join(f"{row['system']} {_figure(row)}" for row in best)
    return [f"Images without a favorite, among themselves, {leading.heading}: {figures}."] if best else []


def _beside(found: Found, others_found: Sequence[Found]) -> list[str]:
    """The systems that only other comparisons have, each from the one that comes first; same test, fewer chances."""
    leading, *beside = found.columns
    rows: list[tuple[float, str]] = []
    measured = {row["system"] for row in leading.of(found.comparisons)}
    for other in others_found:
        told = {entry["system"]: entry for entry in other.told["systems"]}
        seconds = {row["system"]: row for row in beside[0].of(other.results)}
        others = [{row["system"]: row for row in column.of(other.comparisons)} for column in beside]
        for row in leading.of(other.comparisons):
            name = row["system"]
            if name in measured:
                continue
            measured.add(name)
            cells = [
                f"`{name}`",
                _figure(row),
                *(_figure(figures[name]) if name in figures else "" for figures in others),
                *(f"{seconds[name][key]:,.1f}" + _mark(seconds[name]) for key in ("fit_s", "score_s")),
                f"{_settings(told[name])}; {_seeds(other.told['seeds'])}",
            ]
            rows.append((row["value"], f"| {' | '.join(cells)} |"))
    if not rows:
        return []
    figures = (column.heading for column in found.columns)
    heads = ["system", *figures, "fit s", "score s", "settings, how many were tried; seeds"]
    lines = [line for _, line in sorted(rows, reverse=True)]
    return [
        "Other systems on the same split, with fewer settings tried or fewer seeds:",
        "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]),
    ]


def _seeds(number: int) -> str:
    return f"{number} seed{'s' * (number > 1)}"


def _elsewhere(asked: Asked, first: Row, leading: Column, others: dict[str, Row]) -> list[str]:
    """What was measured elsewhere, and how far the first of this table is ahead of it."""
    if not asked.elsewhere:
        return []
    recall = others[first["system"]]["value"]
    lines = [
        f"| {other.system} | {_short(other.ndcg)} | {_short(other.recall)} | {_relative(first['value'], other.ndcg)}, "
        f"{_relative(recall, other.recall)} | {other.source} |"
        for other in sorted(asked.elsewhere, key=lambda other: -other.ndcg)
    ]
    head = f"| elsewhere | NDCG@{leading.k} | Recall@{leading.k} | {first['system']} to it | source |"
    return ["\n".join([head, "|---|---|---|---|---|", *lines])]


def _left_out(found: list[Found]) -> list[str]:
    """Which systems have no row, and why."""
    reasons = []
    told = {entry["system"]: entry for item in reversed(found) for entry in item.told["systems"]}
    lacking: dict[str, list[str]] = {}
    for name, entry in sorted(told.items()):
        if entry["error"]:
            reasons.append(f"`{name}` failed ({entry['error']})")
        elif entry["lacking"]:
            lacking.setdefault(" and ".join(entry["lacking"]), []).append(f"`{name}`")
    for signals, names in lacking.items():
        reasons.append(f"for lack of {signals}, which the set does not tell: {', '.join(names)}")
    if unasked := sorted(SYSTEMS.keys() - told.keys()):
        reasons.append(f"not run: {', '.join(f'`{name}`' for name in unasked)}")
    return [f"Left out: {'; '.join(reasons)}."] if reasons else []


def _settings(entry: Row) -> str:
    if not entry["trials"]:
        return "defaults"
    chosen = ", ".join(f"{key} {value}" for key, value in entry["settings"].items())
    return f"{chosen or 'nothing to set'}; {entry['trials']}"


def _figure(row: Row) -> str:
    return f"{_short(row['value'])} [{_short(row['low'])}, {_short(row['high'])}]"


def _short(value: float) -> str:
    """Four decimals, without the zero before them."""
    return f"{value:.4f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{round(value, 4) or 0:+.4f}".replace("0.", ".", 1).replace("-", "−")  # no minus before nothing


def _relative(value: float, other: float) -> str:
    return f"{value / other - 1:+.1%}".replace("-", "−") if other else "–"


def _chance(p_value: float) -> str:
    return "< .001" if p_value < 0.001 else f"{p_value:.3f}".replace("0.", ".", 1)


def _anchor(asked: Asked) -> str:
    return f"{asked.set}-{asked.protocol}"
