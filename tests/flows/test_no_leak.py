"""No held-out favorite reaches a system: what is learned from is the same whether held-out favorites exist or not.

Each test takes a source with held-out favorites and all that they cause, and one in which neither ever was. What every
system is given is to be equal, field by field; so no system can score higher with the first one.
"""

from collections.abc import Callable
from dataclasses import fields
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prefect import unmapped
from scipy.sparse import issparse

from flows import settings
from flows.compare import final_tables, prepare, prepare_images, tuning_tables
from models.community import Community
from models.evaluation.splits import SplitConfig
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.sources.directory import IngestConfig
from tasks.data.community import CommunityTables, read_community
from tasks.data.ingest import ingest
from tasks.data.pairs import take_pairs
from tasks.evaluation.splits import draw_split
from tasks.runtime.caching import Stage
from tests import betrayal, world
from tests.betrayal import Facts, Pair
from tests.tasks.evaluation.comparison import SMALL

ALL_SIGNALS = ["cdl", "tastegraph"]  # between them they ask for profiles, pixels and features
CONFIG = settings.validate({**world.SETTINGS, "clusters": {"num_clusters": 6}})


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture
def stages_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run as the plain functions that they are, without Prefect."""

    def mapped(stage: Stage[Any, Any], *args: Any) -> list[Any]:
        columns = [repeat(arg.value) if isinstance(arg, unmapped) else arg for arg in args]
        return [stage.fn(*row) for row in zip(*columns, strict=False)]

    monkeypatch.setattr(Stage, "__call__", lambda stage, *args, **options: stage.fn(*args, **options))
    monkeypatch.setattr(Stage, "map", mapped)


def ingested(folder: Path, root: Root) -> dict[str, Ref]:
    tables: dict[str, Ref] = ingest.fn(Root(str(folder)), "1", IngestConfig(), root).tables
    return tables


def learned_from(table: dict[str, Ref], training: Ref, root: Root) -> tuple[CommunityTables, Community]:
    """What a system learns from, as `compare`, `tune` and the nightly run prepare it."""
    images = prepare_images(root, table, ALL_SIGNALS, CONFIG, root)
    tables = prepare(images, table, training, ALL_SIGNALS, CONFIG, root)
    return tables, read_community(tables, root).community


def pairs_of(ref: Ref, root: Root) -> set[Pair]:
    return set(pl.DataFrame(parquet.read(ref, root)).select("user_id", "image_id").rows())


def differing(one: Community, other: Community) -> list[str]:
    """The fields that are not equal."""
    different = []
    for field in fields(Community):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if issparse(first) and issparse(second):
            is_equal = first.shape == second.shape and not (first != second).nnz
        elif isinstance(first, tuple):
            is_equal = all(np.array_equal(*columns, equal_nan=True) for columns in zip(first, second, strict=True))
        else:
            is_equal = np.array_equal(first, second)
        if not is_equal:
            different.append(field.name)
    return different


def last_known(known: Facts, heldout: set[Pair], time_of: str) -> Callable[[str], float]:
    """When each user's last known favorite was; of untested users, or by one moment for all, that of the community."""
    training = {pair: at for pair, at in known.favorites.items() if pair not in heldout}
    tested = {user for user, _ in heldout}

    def last(user: str) -> float:
        if time_of == "user" and user not in tested:
            return np.inf
        return max(at for (other, _), at in training.items() if time_of == "community" or other == user)

    return last


@pytest.mark.usefixtures("stages_in_this_process")
@pytest.mark.parametrize(
    ("protocol", "time_of", "is_counted"),
    [
        *((protocol, None, True) for protocol in ("full", "official", "auc", "paper", "cold", "cold_users")),
        ("full", None, False),
        ("time", "user", True),
        ("time", "community", True),
    ],
)
def test_what_compare_and_tune_learn_from_never_had_a_held_out_favorite(
    tmp_path: Path, root: Root, protocol: Any, time_of: Any, is_counted: bool
) -> None:
    known = betrayal.facts(more_uses=is_counted)  # without counts nobody can tell that a user used a tag elsewhere too
    table = ingested(betrayal.write_source(known, tmp_path / "source", is_counted=is_counted), root)
    files: list[Ref | None] = [None, None]
    if protocol == "official":
        protocol, pairs = "full", sorted(known.favorites)
        for row, name in enumerate(("test", "validation")):
            chosen = [*pairs[row::9], (betrayal.USERS[9], betrayal.IMAGES[row])]  # the last is no favorite
            pl.DataFrame(chosen, ["user_id", "image_id"], orient="row").write_csv(tmp_path / f"{name}.csv")
            files[row] = take_pairs(str(tmp_path / f"{name}.csv"), root)
    split = draw_split.fn(table, protocol, *files, SplitConfig(time_of=time_of or "user"), SMALL, root)
    test, validation = pairs_of(split.final.heldout, root), pairs_of(split.tuning.heldout, root)
    parts = {
        "tuning": (tuning_tables(table, split, root), split.tuning, test | validation),
        "final": (final_tables(table, split, root), split.final, test),
    }
    for name, (tables, part, heldout) in parts.items():
        last = last_known(known, heldout, time_of) if time_of else lambda user: np.inf
        never = betrayal.without(known, heldout, last)
        folder = betrayal.write_source(never, tmp_path / name, is_counted=is_counted, has_times=bool(time_of))
        table_without = ingested(folder, root)
        given, community = learned_from(tables, part.training, root)
        expected, community_without = learned_from(table_without, table_without["favorites"], root)

        assert heldout & known.favorites.keys()
        assert differing(community, community_without) == []
        assert {key: ref.sha256 for key, ref in tables.items()} == {
            key: ref.sha256 for key, ref in table_without.items()
        }
        assert given == expected
        assert differing(community, learned_from(table, part.training, root)[1])  # the test sees what is withheld
