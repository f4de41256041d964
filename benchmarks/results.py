"""docs/results.md: every system on every set, by `tastegraph compare`, beside what others measured and published.

    TASTEGRAPH_DATA=... python benchmarks/results.py --root DIR --budget 6 --seeds 3

Each comparison is the very command that the page names. One that was killed goes on where it stopped, and one that is
done is not done again; `--sets`, `--protocols` and `--systems` run a part of them. The page is written from whatever
lies below the root, and from docs/results.jsonl, which keeps all that the page shows, a comparison a line: roots come
and go. `--only-write` runs nothing. Of several comparisons of one kind the page shows the one with the largest budget;
of these the one with the most seeds, with the most systems, the last. Others below the root of the same split, budget
and seeds, of other systems or from another machine, are joined with it: of a system measured twice the last counts.
What is left has a second table, which compares nothing: those settings had fewer chances, or their users' figures,
which a paired test takes, are gone.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from models.systems import SYSTEMS

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
KEPT = PAGE.with_suffix(".jsonl")
DATA, ROOT = "$TASTEGRAPH_DATA", "$ROOT"  # how the page writes the two folders
MACHINE = "2 CPU cores"  # whose seconds they are, where it is not said
COLD_SHOWN = 4  # systems
PAPER = {
    "paper_both": "both versions",
    "paper": "others drawn uniformly",
    "paper_matched": "others as popular",
}
WITH_TEST, WITHOUT_TEST = 20, 10  # lists of the protocol full, by which a given test is told from a drawn one
ENTRY = ("system", "settings", "trials", "lacking", "error")  # what the page tells of a system
Row = dict[str, Any]


@dataclass(frozen=True)
class Elsewhere:
    """Figures that no comparison of the page measured, at the set's own list length."""

    system: str
    recall: float
    ndcg: float
    source: str


@dataclass(frozen=True)
class Asked:
    """A comparison of the page."""

    set: str
    protocol: str
    split: str
    test: str | None = None  # the table of the set that is the test; None: drawn
    validation: str | None = None
    elsewhere: tuple[Elsewhere, ...] = ()

    def command(self, data: str, root: str, systems: str, seeds: int, budget: int) -> list[str]:
        """What makes it."""
        source = "demo" if self.set == "demo" else f"{data}/{self.set}"
        given = {"--test": self.test, "--validation": self.validation}
        files = [word for key, name in given.items() if name for word in (key, f"{source}/{name}.parquet")]
        return [
            *("tastegraph", "compare", "--source", source, "--root", root, "--systems", systems),
            *("--protocol", self.protocol, *files, "--seeds", str(seeds), "--budget", str(budget)),
        ]


SAME = "on this very split"  # drawn alike; what can be tuned was, on a small grid on validation
IMPLICIT, CORNAC, CLOSED = f"implicit 0.7.3, {SAME}", f"Cornac 3.0.1, {SAME}", f"in closed form, {SAME}"
OUTSIDE = f"measured by others, {SAME}"
THEIR_SPLIT = "published by RecBole-GNN, on its own 8:1:1 split"
LIGHTGCN = "published: He et al., SIGIR 2020, table 4"

COMPARISONS = (
    Asked(
        "lastfm-friends",
        "full",
        "a tenth of each user's favorites at random",
        elsewhere=(
            Elsewhere("ALS", 0.2206, 0.2159, f"{IMPLICIT}, refit on training and validation"),
            Elsewhere("SEPT", 0.2127, 0.2057, THEIR_SPLIT),
            Elsewhere("MHCN", 0.2123, 0.2068, THEIR_SPLIT),
            Elsewhere("EASE", 0.2115, 0.2074, CLOSED),
            Elsewhere("BPR", 0.1977, 0.1876, CORNAC),
            Elsewhere("SBPR", 0.1864, 0.1788, CORNAC),
            Elsewhere("item-kNN", 0.1801, 0.1767, OUTSIDE),
            Elsewhere("popularity", 0.068, 0.063, OUTSIDE),
        ),
    ),
    Asked("lastfm-friends", "cold", "a tenth of the images with all their favorites, ranked among themselves"),
    Asked(
        "gowalla-scale",
        "full",
        "the official test",
        test="official_test",
        elsewhere=(
            Elsewhere("LightGCN", 0.1830, 0.1554, LIGHTGCN),
            Elsewhere("LightGCN", 0.1813, 0.1548, "ours on a GPU, by `benchmarks/lightgcn.py`"),
            Elsewhere("EASE", 0.1760, 0.1462, "ours, λ of three chosen on validation: [log.md](log.md)"),
            Elsewhere("ALS", 0.1631, 0.1378, IMPLICIT),
            Elsewhere("BPR", 0.1352, 0.1137, CORNAC),
            Elsewhere("item-kNN", 0.1178, 0.0860, OUTSIDE),
            Elsewhere("popularity", 0.042, 0.032, OUTSIDE),
        ),
    ),
    Asked(
        "flickr-social",
        "full",
        "the official test; settings chosen on the official validation, which is among the favorites",
        test="official_test",
        validation="official_val",
        elsewhere=(
            Elsewhere("ALS", 0.0101, 0.0057, IMPLICIT),
            Elsewhere("BPR", 0.0096, 0.0048, CORNAC),
            Elsewhere("EASE", 0.0072, 0.0047, CLOSED),
            Elsewhere("favorites of contacts alone", 0.0062, 0.0033, OUTSIDE),
            Elsewhere("popularity", 0.0069, 0.0039, OUTSIDE),
        ),
    ),
    Asked(
        "movielens-posters",
        "time",
        "each user's latest fifth",
        elsewhere=(
            Elsewhere("EASE", 0.1481, 0.1167, CLOSED),
            Elsewhere("ALS", 0.1450, 0.1127, IMPLICIT),
            Elsewhere("BPR", 0.1204, 0.0919, CORNAC),
            Elsewhere("VBPR", 0.0979, 0.0823, f"{CORNAC}; features: a thumbnail and HOG"),
            Elsewhere("popularity", 0.080, 0.070, OUTSIDE),
        ),
    ),
    Asked(
        "movielens-posters",
        "cold",
        "a tenth of the images with all their favorites, ranked among themselves",
        elsewhere=(
            Elsewhere("VBPR", 0.0708, 0.0490, f"{CORNAC}; features: a thumbnail and HOG"),
            Elsewhere("tag tf-idf profile", 0.0550, 0.0360, OUTSIDE),
            Elsewhere("content profile", 0.0529, 0.0353, OUTSIDE),
            Elsewhere("random", 0.031, 0.018, OUTSIDE),
        ),
    ),
    Asked("movielens-posters", "full", "a tenth of each user's favorites at random"),
    Asked("movielens-posters", "auc", "one favorite of each user, over all unobserved images (seed 001)"),
    Asked("movielens-posters", "paper", "20 concealed favorites among 80 others (seed 000)"),
    Asked("camra-groups", "full", "the official test", test="official_test"),
    Asked("demo", "paper", "20 concealed favorites among 80 others (seed 000)"),
    *(
        Asked(name, "cold_users", "a tenth of the users with all their favorites")
        for name in ("lastfm-friends", "flickr-social", "movielens-posters", "camra-groups", "demo")
    ),
)
METRICS = {"recall": "Recall", "ndcg": "NDCG", "precision": "Precision", "auc": "AUC"}


@dataclass(frozen=True)
class Column:
    """A figure that a table shows of every system: its key in RESULTS and COMPARISONS, and its heading."""

    protocol: str
    slice: str
    metric: str
    k: int
    remark: str = ""

    @property
    def heading(self) -> str:
        """As the page writes it."""
        return METRICS[self.metric] + (f"@{self.k}" if self.k else "") + self.remark

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that hold this figure."""
        key = (self.protocol, self.slice, self.metric, self.k)
        return [row for row in rows if (row["protocol"], row["slice"], row["metric"], row["k"]) == key]


@dataclass(frozen=True)
class Found:
    """A finished comparison: comparison.json, and the two tables beside it; or several of the same split as one."""

    made_at: float  # seconds
    users: dict[str, Path]  # the file of each system with the figures that were compared; KEPT has none
    told: Row
    results: list[Row]  # each with its "machine"
    comparisons: list[Row]

    @classmethod
    def read(cls, folder: Path) -> "Found":
        """What a comparison left."""
        told = json.loads((folder / "comparison.json").read_text())
        results, comparisons = (
            pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("results", "comparisons")
        )
        for row in results:
            row["machine"] = told.get("machine", MACHINE)
        users = {file.stem: file for file in sorted(folder.glob("users/*.parquet"))}
        return cls((folder / "results.parquet").stat().st_mtime, users, told, results, comparisons)

    @property
    def kept(self) -> Row:
        """What the page shows of it, for KEPT."""
        final = self.told["split"]["final"]
        split = {key: {"rows": final[key]["rows"]} for key in ("training", "heldout")}
        split |= {key: final[key] for key in ("protocol", "metric", "k", "thresholds")}
        told = {key: self.told[key] for key in ("protocol", "seeds", "budget")}
        told["systems"] = [{key: row[key] for key in ENTRY} for row in self.told["systems"]]
        told["source"] = Path(self.told["source"]).name
        told["config"] = {key: self.told["config"][key] for key in ("splits", "evaluation")}
        told["split"] = {"final": split}
        cold = [replace(self.columns[0], slice="cold")] if self.is_full else []
        return {
            "made_at": self.made_at,
            "told": told,
            "results": self.columns[1].of(self.results),  # for the seconds
            "comparisons": [row for column in [*self.columns, *cold] for row in column.of(self.comparisons)],
        }

    @property
    def split(self) -> Row:
        """What says that two comparisons asked for the same; files of equal rows differ by the library's version."""
        final = self.told["split"]["final"]
        rows = {key: final[key]["rows"] for key in ("training", "heldout")}
        asked = {key: self.told["config"][key] for key in ("splits", "evaluation")}
        return {**asked, **rows, **{key: final[key] for key in ("protocol", "metric", "k", "thresholds")}}

    def joined(self, others: "Sequence[Found]") -> "Found":
        """With the systems of others of the same split, budget and seeds, each as last measured, compared anew."""
        found = self
        for other in sorted(others, key=lambda other: other.made_at):
            chances = [(item.told["budget"], item.told["seeds"]) for item in (self, other)]
            if not (self.users and other.users and self.split == other.split and chances[0] == chances[1]):
                continue
            is_later = other.made_at > self.made_at
            added = {name: file for name, file in other.users.items() if is_later or name not in self.users}
            kept = [row["system"] for row in found.told["systems"] if row["system"] not in added]
            systems = _only(found.told["systems"], kept) + _only(other.told["systems"], added)
            told = {**found.told, "systems": systems}
            results = _only(found.results, kept) + _only(other.results, added)
            found = replace(found, users={**found.users, **added}, told=told, results=results)
        return found if found is self else replace(found, comparisons=_compared(found.users))

    @property
    def columns(self) -> list[Column]:
        """The leading figure, which settings are chosen and systems put in order by, comes first."""
        protocol, metric, k = (self.told["split"]["final"][key] for key in ("protocol", "metric", "k"))
        if protocol == "auc":
            return [Column("auc", "all", metric, k), Column("auc", "cold", metric, k, ", cold images")]
        if protocol == "paper":
            return [Column(name, "all", metric, k, f", {others}") for name, others in PAPER.items()]
        return [Column(protocol, "all", name, k) for name in (metric, "recall")]

    @property
    def leading(self) -> list[Column]:
        """The figures that a leader is named by."""
        return self.columns if self.told["protocol"] == "paper" else self.columns[:1]

    @property
    def is_full(self) -> bool:
        """Whether all images were ranked, so that the cold ones among themselves are another figure."""
        return self.told["protocol"] in ("full", "time", "cold_users")


def _only(rows: list[Row], systems: Iterable[str]) -> list[Row]:
    return [row for row in rows if row["system"] in systems]


def _compared(users: dict[str, Path]) -> list[Row]:
    """The table COMPARISONS of systems that several comparisons measured."""
    from tasks.standings import against_the_best  # imports Prefect, which a page of one comparison each does without

    means = [pl.read_parquet(file).with_columns(system=pl.lit(name)) for name, file in users.items()]
    return against_the_best(pl.concat(means)).to_dicts()


def main() -> None:
    """Run what is asked for, and write the page."""
    options = _options()
    failed = [] if options.only_write else _run(options)
    left = [Found.read(results.parent) for results in Path(options.root).glob("comparisons/*/results.parquet")]
    kept = [Found(users={}, **json.loads(line)) for line in KEPT.read_text().splitlines()]
    found = [(asked, _find(asked, left, kept)) for asked in COMPARISONS]
    PAGE.write_text(_page(found))
    KEPT.write_text("".join(f"{_line(item.kept)}\n" for _, items in found for item in items))
    print(f"{PAGE}: {sum(bool(items) for _, items in found)} of {len(found)} comparisons")
    if failed:
        sys.exit(f"not all systems could be measured: {'; '.join(failed)}")


def _run(options: argparse.Namespace) -> list[str]:
    """The comparisons asked for, one process after the other; the names of those that failed."""
    failed = []
    for asked in COMPARISONS:
        name = f"{asked.set}, {asked.protocol}"
        if asked.set not in options.sets or asked.protocol not in options.protocols:
            continue
        data = os.environ.get("TASTEGRAPH_DATA", "")
        if asked.set != "demo" and not (Path(data) / asked.set).is_dir():
            print(f"{name}: skipped, TASTEGRAPH_DATA names no folder that holds {asked.set}", flush=True)
            continue
        command = asked.command(data, options.root, options.systems, options.seeds, options.budget)
        print(f"-- {name}: {' '.join(command)}", flush=True)
        program = [sys.executable, "-c", "from flows.cli import main; main()"]
        if subprocess.run([*program, *command[1:]], check=False).returncode:
            failed.append(name)
    return failed


def _find(asked: Asked, left: list[Found], kept: list[Found]) -> list[Found]:
    """The comparisons of this kind, the one to show first; none where there are no two systems to compare."""
    ordered = sorted(_of_kind(asked, left), key=_chances, reverse=True)
    for place, item in enumerate(ordered):
        others = ordered[:place] + ordered[place + 1 :]
        if (whole := item.joined(others)).comparisons:
            ordered = [whole, *others]
            break
    found: list[Found] = []
    measured: set[str] = set()
    for item in sorted([*ordered, *_of_kind(asked, kept)], key=_chances, reverse=True):
        systems = {row["system"] for row in item.comparisons}
        if systems - measured and (not found or item.split == found[0].split):
            found.append(item)
            measured |= systems
    return found


def _line(kept: Row) -> str:
    """JSON, its numbers to six digits, two more than the page shows."""
    return json.dumps(json.loads(json.dumps(kept), parse_float=lambda text: float(f"{float(text):.6g}")))


def _of_kind(asked: Asked, found: list[Found]) -> list[Found]:
    k = WITH_TEST if asked.test else WITHOUT_TEST
    return [
        item
        for item in found
        if Path(item.told["source"]).name == asked.set
        and item.told["protocol"] == asked.protocol
        and (asked.protocol != "full" or item.told["split"]["final"]["k"] == k)
    ]


def _chances(found: Found) -> tuple[int, int, int, bool, float]:
    """By which of two is shown first."""
    told = found.told
    return told["budget"], told["seeds"], len(told["systems"]), bool(found.users), found.made_at


def _page(found: list[tuple[Asked, list[Found]]]) -> str:
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the comparisons of docs/results.md, and write the page.")
    sets, protocols = (sorted({getattr(asked, key) for asked in COMPARISONS}) for key in ("set", "protocol"))
    parser.add_argument("--root", required=True, help="where everything made lies")
    parser.add_argument("--sets", type=_names(sets), default=sets, help=f"with commas: {', '.join(sets)}")
    parser.add_argument("--protocols", type=_names(protocols), default=protocols, help=", ".join(protocols))
    parser.add_argument("--systems", default="all", help="names with commas (default all)")
    parser.add_argument("--seeds", type=int, default=1, help="how many a system is fitted with (default 1)")
    parser.add_argument("--budget", type=int, default=0, help="settings tried of each system (default 0: none)")
    parser.add_argument("--only-write", action="store_true", help="write the page from what lies below the root")
    return parser.parse_args()


def _names(known: list[str]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return chosen

    return names


if __name__ == "__main__":
    main()
