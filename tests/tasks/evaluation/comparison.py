"""The stages of a comparison on the tiny world, in few words."""

from dataclasses import dataclass
from typing import Any

from models.settings.protocols import ProtocolConfig
from models.settings.splits import SplitConfig
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from tasks.data.community import CommunityTables
from tasks.evaluation.measure import score_system
from tasks.evaluation.records import ComparisonSplit, EvaluationSplit
from tasks.evaluation.splits import draw_split

SMALL = ProtocolConfig(min_favorites=10, num_concealed=5, num_others=20, max_k=5, min_users=1)


def split_of(table: dict[str, Ref], root: Root, protocol: Any = "full", test: Ref | None = None) -> ComparisonSplit:
    return draw_split.fn(table, protocol, test, None, SplitConfig(), SMALL, root)


def figures_of(
    name: str, table: dict[str, Ref], split: EvaluationSplit, root: Root
) -> dict[tuple[str, str, str, int], float]:
    """The value of each protocol, slice, metric and length of list."""
    scored = score_system.fn(name, "1", {}, 0, CommunityTables(table, split.training), split, root)
    return {
        (row["protocol"], row["slice"], row["metric"], row["k"]): row["value"]
        for row in parquet.read(scored.figures, root).to_pylist()
    }


@dataclass(frozen=True, kw_only=True)
class TasteConfig:
    """How well the system `taste` learns."""

    wrong: int = 3  # users of each half whose taste it gets wrong
    noise: float = 0.5
