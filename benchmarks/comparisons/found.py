"""Comparisons that were made: those below a root, and those that the page's record keeps."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from comparisons.asked import Asked

MACHINE = "2 CPU cores"  # whose seconds they are, where it is not said
PAPER = {
    "paper_both": "both versions",
    "paper": "others drawn uniformly",
    "paper_matched": "others as popular",
}
WITH_TEST, WITHOUT_TEST = 20, 10  # lists of the protocol full, by which a given test is told from a drawn one
FILES, ROUND = (
    ("training", "heldout"),
    ("protocol", "metric", "k", "thresholds"),
)  # what two have in common of one split
CONFIG = ("splits", "evaluation")  # and the settings that drew it
ENTRY = ("system", "settings", "trials", "lacking", "error")  # what the page tells of a system
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
class Found:
    """A finished comparison: comparison.json, and the two tables beside it; or several of the same split as one."""

    made_at: float  # seconds
    users: dict[str, Path]  # the file of each system with the figures that were compared; a record has none
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

    @classmethod
    def recorded(cls, line: str) -> "Found":
        """What a line of the page's record keeps."""
        return cls(users={}, **json.loads(line))

    @property
    def record(self) -> str:
        """A line of JSON: what the page shows of it, numbers to six digits, two more than there."""
        final = self.told["split"]["final"]
        split = {key: {"rows": final[key]["rows"]} for key in FILES} | {key: final[key] for key in ROUND}
        told = {key: self.told[key] for key in ("protocol", "seeds", "budget")}
        told["systems"] = [{key: row[key] for key in ENTRY} for row in self.told["systems"]]
        told["source"] = Path(self.told["source"]).name
        told["config"] = {key: self.told["config"][key] for key in CONFIG}
        told["split"] = {"final": split}
        cold = [replace(self.columns[0], slice="cold")] if self.is_full else []
        kept = {
            "made_at": self.made_at,
            "told": told,
            "results": self.columns[1].of(self.results),  # for the seconds
            "comparisons": [row for column in [*self.columns, *cold] for row in column.of(self.comparisons)],
        }
        return json.dumps(json.loads(json.dumps(kept), parse_float=lambda text: float(f"{float(text):.6g}")))

    @property
    def split(self) -> Row:
        """What says that two comparisons asked for the same; files of equal rows differ by the library's version."""
        final = self.told["split"]["final"]
        rows = {key: final[key]["rows"] for key in FILES}
        return {key: self.told["config"][key] for key in CONFIG} | rows | {key: final[key] for key in ROUND}

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
    from tasks.evaluation.leaderboard import (
        against_the_best,  # imports Prefect, which a page of one comparison each does without
    )

    means = [pl.read_parquet(file).with_columns(system=pl.lit(name)) for name, file in users.items()]
    return against_the_best(pl.concat(means)).to_dicts()


def find(asked: Asked, left: list[Found], kept: list[Found]) -> list[Found]:
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
