"""No held-out favorite reaches a system: what is learned from is the same whether held-out favorites exist or not.

Each test takes a source with held-out favorites and all that they cause, and one in which neither ever was. What every
system is given is to be equal, field by field; so no system can score higher with the first one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import issparse

from flows import settings
from flows.compare import compare, final_tables, prepare, prepare_images, tuning_tables
from flows.nightly import nightly
from flows.tune import tune
from models.community import Community
from models.ensemble.weights import hold_out_favorites, hold_out_users
from models.settings.splits import SplitConfig
from models.settings.weights import WeightsConfig
from models.systems import SYSTEMS
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.settings.directory import IngestConfig
from tasks.data.community import CommunityTables, read_community
from tasks.data.concealment import conceal_favorites
from tasks.data.ingest import ingest
from tasks.data.pairs import take_pairs
from tasks.evaluation.splits import draw_split
from tests import betrayal, world
from tests.betrayal import Facts, Pair
from tests.flows.without_prefect import run_stages_here
from tests.tasks.evaluation.comparison import SMALL

ALL_SIGNALS = ("cdl", "tastegraph")  # between them they ask for profiles, pixels and features
SETTINGS = {**world.SETTINGS, "clusters": {"num_clusters": 6}}
CONFIG = settings.validate_comparison(SETTINGS)
NIGHT = settings.validate({**SETTINGS, "model": {"system": "popularity", "refit": True}})


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "root"))


def ingested(folder: Path, root: Root) -> dict[str, Ref]:
    tables: dict[str, Ref] = ingest.fn(Root(str(folder)), "1", IngestConfig(), False, root).tables
    return tables


def learned_from(
    table: dict[str, Ref], training: Ref, root: Root, systems: Sequence[str] = ALL_SIGNALS
) -> tuple[CommunityTables, Community]:
    """What systems learn from, as `compare`, `tune` and the nightly run prepare it."""
    images = prepare_images(root, table, list(systems), CONFIG, root)
    tables = prepare(images, table, training, list(systems), CONFIG, root)
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
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, protocol: Any, time_of: Any, is_counted: bool
) -> None:
    run_stages_here(monkeypatch)
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


@pytest.mark.parametrize("protocol", ["full", "time"])
@pytest.mark.parametrize("hold_out", [hold_out_favorites, hold_out_users])
def test_what_experts_learn_from_to_be_weighed_never_had_a_favorite_that_the_ensemble_holds_out(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, protocol: str, hold_out: Any
) -> None:
    run_stages_here(monkeypatch)
    known = betrayal.facts()
    has_times = protocol == "time"
    table = ingested(betrayal.write_source(known, tmp_path / "source", has_times=has_times), root)
    community = learned_from(table, table["favorites"], root)[1]
    training, heldout_UI, _ = hold_out(community, WeightsConfig(), 0)
    heldout = {
        (betrayal.USERS[user], betrayal.IMAGES[image]) for user, image in zip(*heldout_UI.nonzero(), strict=True)
    }
    lost = {
        (betrayal.USERS[user], betrayal.IMAGES[image])
        for user, image in zip(*(community.favorites_UI - training.favorites_UI).nonzero(), strict=True)
    }
    is_later = has_times and hold_out is hold_out_favorites
    last = last_known(known, lost, "user") if is_later else lambda user: np.inf
    folder = betrayal.write_source(betrayal.without(known, lost, last), tmp_path / "without", has_times=has_times)
    table_without = ingested(folder, root)
    expected = learned_from(table_without, table_without["favorites"], root, ["tastegraph"])[1]

    assert community.has("profiles")
    assert heldout <= lost
    assert differing(with_used_tags(training), expected) == []
    assert differing(with_used_tags(community), expected)


def with_used_tags(community: Community) -> Community:
    """The community without the columns of tags that nobody uses and no image has."""
    num_uses_T = community.user_tags_UT.sum(axis=0) + community.image_tags_IT.sum(axis=0)
    used = np.flatnonzero(num_uses_T)
    number_T = np.cumsum(num_uses_T > 0) - 1
    assert community.tag_assignments
    return replace(
        community,
        user_tags_UT=community.user_tags_UT[:, used],
        image_tags_IT=community.image_tags_IT[:, used],
        tag_assignments=community.tag_assignments._replace(tag_N=number_T[community.tag_assignments.tag_N]),
    )


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Community]:
    """What the system `popularity` is fitted on, each time; it asks for every signal."""
    seen: list[Community] = []
    popularity = SYSTEMS["popularity"]
    fit = popularity.fit
    monkeypatch.setattr(popularity, "wants", ("pixels", "features", "profiles"))
    monkeypatch.setattr(popularity, "fit", lambda system, community: (seen.append(community), fit(system, community)))
    return seen


@pytest.mark.usefixtures("prefect_server")
def test_compare_and_tune_and_the_night_hand_to_a_system_just_that(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch, given: list[Community]
) -> None:
    known = betrayal.facts()
    source = str(betrayal.write_source(known, tmp_path / "source"))
    compared = compare(source, root.address, "popularity", "time", budget=1, config=CONFIG)
    tuned = tune(source, root.address, "popularity", "time", budget=2, config=CONFIG)
    published = nightly(source, root.address, NIGHT)
    tuning, final, tuning_again, tested, refitted = given

    run_stages_here(monkeypatch)
    table = ingested(Path(source), root)
    split = draw_split.fn(table, "time", None, None, CONFIG.splits, CONFIG.evaluation, root)
    night = conceal_favorites.fn(table["favorites"], NIGHT.evaluation, NIGHT.concealment, root)
    test, validation = pairs_of(split.final.heldout, root), pairs_of(split.tuning.heldout, root)
    concealed = pairs_of(night.concealed, root)
    for name, community, heldout in (
        ("tuning", tuning, test | validation),
        ("tuning again", tuning_again, test | validation),
        ("final", final, test),
        ("tested", tested, concealed),
        ("refitted", refitted, set()),
    ):
        never = betrayal.without(known, heldout, last_known(known, heldout, "user"))
        table_without = ingested(betrayal.write_source(never, tmp_path / name), root)
        expected = learned_from(table_without, table_without["favorites"], root, ["popularity"])[1]

        assert differing(community, expected) == [], name

    assert compared.tags.num_withheld > tuned.tags.num_withheld / 2 > 0
    assert published.is_new
    assert f"{compared.tags.line}." in Path(compared.folder, "index.html").read_text()
    report = json.loads(Path(compared.folder, "comparison.json").read_text())
    assert report["tags"]["num_withheld"] == compared.tags.num_withheld
    assert "assignments were withheld" in Path(published.folder, "report", "index.html").read_text()
