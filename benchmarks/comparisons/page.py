"""docs/results.md, as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from comparisons.plan import Comparison
from comparisons.runs import MACHINE, Column, Row, Run

DATA, ROOT = "$TASTEGRAPH_DATA", "$ROOT"  # how the pages write the two folders
COLD_SHOWN = 2  # systems
MANY = 4  # left out for one reason: no longer named
LEAKED = (
    "**Of an earlier version:** lastfm-friends (cold), gowalla-scale, demo (paper), flickr-social and "
    "movielens-posters for cold users, and movielens-posters (full, auc, paper). There `als`, `bpr`, `bpr_mf`, "
    "`ease`, `itemknn` and `lightgcn` were weaker ([log.md](log.md#baselines-as-strong-as-their-papers)); and on "
    "lastfm-friends and movielens-posters systems with tags or profiles saw tags that "
    "[tell of held-out favorites](log.md#tags-that-tell-of-held-out-favorites)."
)


def page_of(shown: list[tuple[Comparison, list[Run]]]) -> str:
    """The whole page, from the runs of each comparison, the one to show first."""
    parts = [
        "# Results",
        f"Written by `benchmarks/results.py` from what `tastegraph compare` measured; results.jsonl has every figure. "
        f"A table anew: `TASTEGRAPH_DATA=... python benchmarks/results.py --root {ROOT} --sets SET --protocols P "
        "--systems all --budget N --seeds N --anew`, which prints the command that it runs. Figures of others: "
        "[leaderboard.md](leaderboard.md); which systems need what: [systems.md](systems.md); how lists are ranked: "
        "[evaluation.md](evaluation.md#splits-and-ranking).",
        "Figures are means over test users, the first with its 95 % bootstrap interval. *p*: a paired test over users "
        "by random signs, of each system against the first, Holm-corrected. "
        "*fit s*: seconds of a fit on training and validation, mean over seeds, on "
        f"{MACHINE} shared with other work{_machines(shown)}. Settings were chosen on validation by the first figure "
        "(in the paper's protocol the mean of both versions), the defaults among those tried, as many as the table "
        "says or *(n)*; nothing on the test. Features are learned on the set's own pictures.",
        f"{LEAKED} p values of three decimals, from before the correction, were corrected afterwards, those below .001 "
        "from .0001 or .0005.",
        _summary([(comparison, runs[0]) for comparison, runs in shown if runs]),
    ]
    parts += [_section(comparison, *runs) for comparison, runs in shown if runs]
    if missing := [f"{comparison.set} ({comparison.protocol})" for comparison, runs in shown if not runs]:
        parts.append(f"Not yet run: {', '.join(missing)}.")
    parts.append("blogcatalog-social has neither images nor favorites: `tastegraph nightly` refuses it.")
    return "\n\n".join(parts) + "\n"


def _summary(shown: list[tuple[Comparison, Run]]) -> str:
    rows = []
    for comparison, run in shown:
        link = f"[{comparison.set}, {comparison.protocol}](#{anchor(comparison)})"
        for column in run.leading:
            first, second, *_ = in_order(run, column)
            rows.append(
                f"| {link} | {column.heading} | `{first['system']}` {short(first['value'])} | "
                f"`{second['system']}` {short(second['value'])} | {ahead(first)} | {chance(first['p_holm'])} |"
            )
    head = "| set, protocol | figure | first | second | ahead by | p |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _section(comparison: Comparison, run: Run, *other_runs: Run) -> str:
    leading, *further = run.columns
    order = in_order(run, leading)
    entries = {entry["system"]: entry for entry in run.report["systems"]}
    seeds, budget = run.report["seeds"], run.report["budget"]
    others = [{row["system"]: row for row in column.of(run.comparisons)} for column in further]
    lines = []
    below = _below_the_floor(order)
    for row in (row for row in order if row not in below):
        measured = [of for of in further[0].of(run.results) if of["system"] == row["system"]]
        seconds = f"{fmean(of['fit_s'] for of in measured):,.1f}" + _mark(measured[0])
        cells = [
            f"`{row['system']}`",
            figure(row),
            *(short(figures[row["system"]]["value"]) if row["system"] in figures else "" for figures in others),
            seconds,
            *([chosen_settings(entries[row["system"]], budget)] if budget else []),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    users = f"{order[0]['users']:,} test users"
    if others[0] and (apart := next(iter(others[0].values()))["users"]) != order[0]["users"]:
        users += f", {apart:,} of them on a cold image"
    heads = ["system", *(column.heading for column in run.columns), "fit s"]
    heads += ["settings"] if budget else []
    parts = [
        f"## {comparison.set}, {comparison.protocol}",
        f"Held out: {comparison.split}. {users}; {in_seeds(seeds)}; "
        + (f"{budget} settings of each system." if budget else "defaults."),
        "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]),
        *_chances([row for row in order[1:] if row not in below]),
        *([f"Not above popularity: {', '.join(_named(row) for row in below)}."] if below else []),
        *_cold(run, leading),
        *_second_table(run, other_runs),
        *_left_out([run, *other_runs]),
    ]
    return "\n\n".join(parts)


def _chances(rows: list[Row]) -> list[str]:
    """The p values of systems against the first: the commonest once, the others by name."""
    if not rows:
        return []
    counts = Counter(chance(row["p_holm"]) for row in rows)
    most = counts.most_common(1)[0][0]
    others = [f"`{row['system']}` {chance(row['p_holm'])}" for row in rows if chance(row["p_holm"]) != most]
    return [f"*p* {most}{' but for ' * bool(others)}{', '.join(others)}."]


def _below_the_floor(order: list[Row]) -> list[Row]:
    """The systems that are not better than popularity, in their order; they are named without a row."""
    floor = next((row for row in order if row["system"] == "popularity"), None)
    return [row for row in order if floor and row is not floor and row["value"] <= floor["value"]]


def _named(row: Row) -> str:
    return f"`{row['system']}` {short(row['value'])}"


def _mark(measured: Row) -> str:
    return "" if measured["machine"] == MACHINE else "\\*"


def _machines(shown: list[tuple[Comparison, list[Run]]]) -> str:
    """The machines whose seconds have a mark."""
    others = sorted({row["machine"] for _, runs in shown for run in runs for row in run.results} - {MACHINE})
    return f"; \\* on a machine with {' or '.join(others)}" if others else ""


def in_order(run: Run, column: Column) -> list[Row]:
    """The rows of COMPARISONS for a figure, best first."""
    return sorted(column.of(run.comparisons), key=lambda row: (-row["value"], row["system"]))


def _cold(run: Run, leading: Column) -> list[str]:
    """The best systems on images without training favorites, if the table does not show them."""
    rows = replace(leading, slice="cold").of(run.comparisons) if run.is_full else []
    best = sorted(rows, key=lambda row: (-row["value"], row["system"]))[:COLD_SHOWN]
    figures = ", ".join(f"`{row['system']}` {figure(row)}" for row in best)
    return [f"Images without a favorite, among themselves, {leading.heading}: {figures}."] if best else []


def _second_table(run: Run, other_runs: Sequence[Run]) -> list[str]:
    """The systems that only other runs have, each from the first such run: same test, less tuning or fewer seeds."""
    leading, *further = run.columns
    rows: list[tuple[float, list[str], str]] = []
    measured = {row["system"] for row in leading.of(run.comparisons)}
    for other in other_runs:
        entries = {entry["system"]: entry for entry in other.report["systems"]}
        seconds = {row["system"]: row for row in further[0].of(other.results)}
        others = [{row["system"]: row for row in column.of(other.comparisons)} for column in further]
        for row in leading.of(other.comparisons):
            name = row["system"]
            if name in measured:
                continue
            measured.add(name)
            cells = [
                f"`{name}`",
                figure(row),
                *(short(figures[name]["value"]) if name in figures else "" for figures in others),
                f"{seconds[name]['fit_s']:,.1f}" + _mark(seconds[name]),
            ]
            how = "; ".join([chosen_settings(entries[name], 0) or "defaults", in_seeds(other.report["seeds"])])
            rows.append((row["value"], cells, how))
    if not rows:
        return []
    figures = (column.heading for column in run.columns)
    hows = {how for _, _, how in rows}
    heads = ["system", *figures, "fit s", *(["settings (tried); seeds"] if len(hows) > 1 else [])]
    lines = [
        f"| {' | '.join([*cells, *([how] if len(hows) > 1 else [])])} |" for _, cells, how in sorted(rows, reverse=True)
    ]
    return [
        f"Other systems on the same split, {hows.pop() if len(hows) == 1 else 'with fewer settings or seeds'}:",
        "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]),
    ]


def in_seeds(number: int) -> str:
    return f"{number} seed{'s' * (number > 1)}"


def _left_out(runs: list[Run]) -> list[str]:
    """Which systems have no row, and why."""
    reasons = []
    entries = {entry["system"]: entry for run in reversed(runs) for entry in run.report["systems"]}
    lacking: dict[str, list[str]] = {}
    for name, entry in sorted(entries.items()):
        if entry["error"]:
            reasons.append(f"`{name}` failed ({entry['error']})")
        elif entry["lacking"]:
            lacking.setdefault(" and ".join(entry["lacking"]), []).append(f"`{name}`")
    for signals, names in lacking.items():
        reasons.append(
            f"for lack of {signals}: {', '.join(names)}" if len(names) < MANY else f"{len(names)} for lack of {signals}"
        )
    return [f"Left out: {'; '.join(reasons)}."] if reasons else []


def chosen_settings(entry: Row, budget: int) -> str:
    """The settings chosen for a system, and how many were tried where it is not the budget."""
    chosen = " ".join(f"{key}={value}" for key, value in entry["settings"].items()) if entry["trials"] else ""
    return f"{chosen} ({entry['trials']})" if chosen and entry["trials"] != budget else chosen


def ahead(row: Row) -> str:
    """How far a system is ahead of the best other, with the interval."""
    interval = f"[{signed(row['difference_low'])}, {signed(row['difference_high'])}]"
    return f"{signed(row['difference'])} {interval}, {relative(row['value'], row['other_value'])}"


def figure(row: Row) -> str:
    return f"{short(row['value'])} [{short(row['low'])}, {short(row['high'])}]"


def short(value: float) -> str:
    """Four decimals, without the zero before them."""
    return f"{value:.4f}".replace("0.", ".", 1)


def signed(value: float) -> str:
    return f"{round(value, 4) or 0:+.4f}".replace("0.", ".", 1).replace("-", "−")  # no minus before 0


def relative(value: float, other: float) -> str:
    return f"{value / other - 1:+.1%}".replace("-", "−") if other else "–"


def chance(p_value: float) -> str:
    return "< .001" if p_value < 0.001 else f"{p_value:.3f}".replace("0.", ".", 1)


def anchor(comparison: Comparison) -> str:
    return f"{comparison.set}-{comparison.protocol}"
