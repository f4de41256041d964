"""Finished runs of comparisons: those below a root, and those of the page's record."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from comparisons.plan import Comparison

MACHINE = "2 CPU cores"  # that measured the seconds, if the run names no machine
PAPER = {
    "paper_both": "both versions",
    "paper": "uniform distractors",
    "paper_matched": "distractors as popular",
}
WITH_TEST, WITHOUT_TEST = 20, 10  # list length of the protocol full with an official test, and with a random one
FILES, SPLIT = ("training", "heldout"), ("protocol", "metric", "k", "thresholds")  # equal in two runs of one split
CONFIG = ("splits", "evaluation")  # the settings of the split, equal too
ENTRY = ("system", "settings", "trials", "lacking", "error")  # what the page shows of a system
Row = dict[str, Any]
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
class Run:
    """A finished run: comparison.json and the tables RESULTS and COMPARISONS; or several of the same split as one."""

    made_at: float  # epoch seconds
    users: dict[str, Path]  # by system, the file of each user's metrics; a recorded run has none
    report: Row  # comparison.json
    results: list[Row]  # each with its "machine"
    comparisons: list[Row]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run whose outputs are in a folder."""
        report = json.loads((folder / "comparison.json").read_text())
        results, comparisons = (
            pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("results", "comparisons")
        )
        for row in results:
            row["machine"] = report.get("machine", MACHINE)
        users = {file.stem: file for file in sorted(folder.glob("users/*.parquet"))}
        if any("p_holm" not in row for row in comparisons):  # of version 0.2
            comparisons = _compared(users)
        return cls((folder / "results.parquet").stat().st_mtime, users, report, results, comparisons)

    @classmethod
    def recorded(cls, line: str) -> "Run":
        """The run of a line of the page's record."""
        return cls(users={}, **json.loads(line))

    @property
    def record(self) -> str:
        """A line of JSON with all that the page shows of the run, numbers with six digits, two more than the page."""
        final = self.report["split"]["final"]
        split = {key: {"rows": final[key]["rows"]} for key in FILES} | {key: final[key] for key in SPLIT}
        report = {key: self.report[key] for key in ("protocol", "seeds", "budget")}
        report["systems"] = [{key: row[key] for key in ENTRY} for row in self.report["systems"]]
        report["source"] = Path(self.report["source"]).name
        report["config"] = {key: self.report["config"][key] for key in CONFIG}
        report["split"] = {"final": split}
        cold = [replace(self.columns[0], slice="cold")] if self.is_full else []
        kept = {
            "made_at": self.made_at,
            "report": report,
            "results": self.columns[1].of(self.results),  # for the seconds
            "comparisons": [row for column in [*self.columns, *cold] for row in column.of(self.comparisons)],
        }
        return json.dumps(json.loads(json.dumps(kept), parse_float=lambda text: float(f"{float(text):.6g}")))

    @property
    def split(self) -> Row:
        """Equal for two runs of one split. By rows of the files, as equal rows may differ in bytes between versions."""
        final = self.report["split"]["final"]
        rows = {key: final[key]["rows"] for key in FILES}
        return {key: self.report["config"][key] for key in CONFIG} | rows | {key: final[key] for key in SPLIT}

    def joined(self, others: "Sequence[Run]") -> "Run":
        """The run with the systems of others of the same split, budget and seeds, each as last measured."""
        joined = self
        for other in sorted(others, key=lambda other: other.made_at):
            efforts = [(run.report["budget"], run.report["seeds"]) for run in (self, other)]
            if not (self.users and other.users and self.split == other.split and efforts[0] == efforts[1]):
                continue
            is_later = other.made_at > self.made_at
            added = {name: file for name, file in other.users.items() if is_later or name not in self.users}
            kept = [row["system"] for row in joined.report["systems"] if row["system"] not in added]
            systems = _only(joined.report["systems"], kept) + _only(other.report["systems"], added)
            report = {**joined.report, "systems": systems}
            results = _only(joined.results, kept) + _only(other.results, added)
            joined = replace(joined, users={**joined.users, **added}, report=report, results=results)
        return joined if joined is self else replace(joined, comparisons=_compared(joined.users))

    @property
    def columns(self) -> list[Column]:
        """The leading figure, which settings are chosen and systems put in order by, comes first."""
        protocol, metric, k = (self.report["split"]["final"][key] for key in ("protocol", "metric", "k"))
        if protocol == "auc":
            return [Column("auc", "all", metric, k), Column("auc", "cold", metric, k, ", cold images")]
        if protocol == "paper":
            return [Column(name, "all", metric, k, f", {version}") for name, version in PAPER.items()]
        return [Column(protocol, "all", name, k) for name in (metric, "recall")]

    @property
    def leading(self) -> list[Column]:
        """The figures for which the page names the best system."""
        return self.columns if self.report["protocol"] == "paper" else self.columns[:1]

    @property
    def is_full(self) -> bool:
        """Whether all images were ranked, so that the cold ones among themselves are another figure."""
        return self.report["protocol"] in ("full", "time", "cold_users")


def _only(rows: list[Row], systems: Iterable[str]) -> list[Row]:
    return [row for row in rows if row["system"] in systems]


def _compared(users: dict[str, Path]) -> list[Row]:
    """The table COMPARISONS of systems that several runs measured."""
    # imported only if needed, as it imports Prefect
    from tasks.evaluation.leaderboard import against_the_best

    means = [pl.read_parquet(file).with_columns(system=pl.lit(name)) for name, file in users.items()]
    return against_the_best(pl.concat(means)).to_dicts()


def runs_of(comparison: Comparison, finished: list[Run], recorded: list[Run]) -> list[Run]:
    """The runs of a comparison, the one to show first; none without two systems to compare.

    Args:
        finished: runs below the root.
        recorded: runs of the page's record.
    """
    ordered = sorted(_runs_of(comparison, finished), key=_rank, reverse=True)
    for place, run in enumerate(ordered):
        others = ordered[:place] + ordered[place + 1 :]
        if (whole := run.joined(others)).comparisons:
            ordered = [whole, *others]
            break
    shown: list[Run] = []
    measured: set[str] = set()
    for run in sorted([*ordered, *_runs_of(comparison, recorded)], key=_rank, reverse=True):
        systems = {row["system"] for row in run.comparisons}
        if systems - measured and (not shown or run.split == shown[0].split):
            shown.append(run)
            measured |= systems
    return shown


def _runs_of(comparison: Comparison, runs: list[Run]) -> list[Run]:
    k = WITH_TEST if comparison.test else WITHOUT_TEST
    return [
        run
        for run in runs
        if Path(run.report["source"]).name == comparison.set
        and run.report["protocol"] == comparison.protocol
        and (comparison.protocol != "full" or run.report["split"]["final"]["k"] == k)
    ]


def _rank(run: Run) -> tuple[int, int, int, bool, float]:
    """Of two runs the one with the higher rank is shown first."""
    report = run.report
    return report["budget"], report["seeds"], len(report["systems"]), bool(run.users), run.made_at
