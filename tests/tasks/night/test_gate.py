"""What may become current: sound tables, and figures above chance and near the last run's."""

import numpy as np
import pytest

from flows.lists import policy_of
from models.tag_assignments import TagLeak
from storage import matrices, parquet
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.community import (
    BLOCKED_IMAGES,
    BLOCKED_OWNERS,
    FAVORITES,
    IMAGE_TAGS,
    IMAGES,
    USER_BLOCKS,
    USER_MUTES,
)
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tasks.data.tag_leak import TagAccount
from tasks.night.gate import GateConfig, gate
from tasks.systems.lists import PolicyConfig

POLICY_TABLES = (BLOCKED_IMAGES, BLOCKED_OWNERS, USER_BLOCKS, USER_MUTES)
FAVORITE_ROWS = {"user_id": ["u1", "u2"], "image_id": ["i1", "i1"], "favorited_at": [None, None]}
LISTS = {"user_id": ["u1", "u1", "u2"], "rank": [1, 2, 1], "image_id": ["i2", "i3", "i2"], "score": [2.0, 1.0, 2.0]}
IMAGE_ROWS = {"image_id": ["i1", "i2", "i3"], "owner_id": ["u3", "u3", None]}
SOURCE = {"source": "here"}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def figures(ours: float, popularity: float = 0.3, chance: float = 0.2, system: str = "ease") -> list[dict]:
    """The metrics of a night in which every protocol came out the same."""
    systems = {"popularity": popularity, "random": chance, system: ours}
    return [
        {"protocol": protocol, "slice": "all", "system": system, "metric": metric, "k": k, "value": value}
        for protocol, metric in (("paper", "precision"), ("paper_matched", "precision"), ("full", "ndcg"))
        for system, value in systems.items()
        for k in (10, 20)
    ]


def published(system: str, metrics: list[dict], comparable: dict) -> Manifest:
    """The manifest of the current run."""
    at = "2026-11-01T02:00:00+00:00"
    return Manifest(run_id="before", generated_at=at, system=system, comparable=comparable, metrics=metrics)


def failed(
    root: Root,
    metrics: list[dict],
    *,
    last=None,
    config=None,
    tags=None,
    rules=None,
    prices=None,
    tables=None,
    **changed,
) -> dict[str, bool]:
    """The checks that failed by name, and whether each only warns; `changed` are columns of the lists.

    `tables` are columns of the policy's tables.
    """
    images = {name: [None] * 3 for name in IMAGES.schema.names} | IMAGE_ROWS
    lists = {**LISTS, **changed}
    vectors = matrices.lists_of(np.ones((2, 4), np.float32))
    exports = {
        "recommendations": [parquet.write(RECOMMENDATIONS, lists | {"model": ["ease-0"] * len(lists["rank"])}, root)],
        "similar_images": [
            parquet.write(
                SIMILAR_IMAGES,
                {"image_id": ["i1"], "rank": [1], "similar_image_id": ["i2"], "score": [0.5]},
                root,
            )
        ],
    }
    for table, key in (USER_EMBEDDINGS, "user_id"), (IMAGE_EMBEDDINGS, "image_id"):
        columns = {key: [f"{key[0]}1", f"{key[0]}2"], "embedding": vectors, "model": ["ease-0"] * 2}
        exports[table.name] = [parquet.write(table.with_dimensions(4), columns, root)]
    community = {
        "favorites": parquet.write(FAVORITES, FAVORITE_ROWS, root),
        "images": parquet.write(IMAGES, images, root),
        "image_tags": parquet.write(IMAGE_TAGS, {"image_id": ["i3"], "tag": ["ruby"]}, root),
    }
    for of in POLICY_TABLES:
        empty = {name: [] for name in of.schema.names}
        community[of.name] = parquet.write(of, (tables or {}).get(of.name, empty), root)
    outcomes = gate(
        system="ease",
        metrics=metrics,
        exports=exports,
        table=community,
        last=last,
        comparable=SOURCE,
        config=config or GateConfig(),
        tags=tags,
        policy=policy_of(community, rules or PolicyConfig()),
        prices=prices or [],
        root=root,
    )
    return {outcome.name: outcome.is_warning for outcome in outcomes if not outcome.passed}


def test_sound_tables_and_good_figures_pass(root):
    assert failed(root, figures(0.5)) == {}


def test_below_random_stops(root):
    assert not all(failed(root, figures(0.1)).values())


def test_below_popularity_warns_and_stops_where_a_setting_says_so(root):
    warned = failed(root, figures(0.25))
    stopped = failed(root, figures(0.25), config=GateConfig(below_popularity_stops=True))

    assert warned.keys() == stopped.keys()
    assert len(warned) == 3
    assert all(warned.values())
    assert not any(stopped.values())


@pytest.mark.parametrize(("now", "stops"), [(0.46, False), (0.44, True)])
def test_a_run_may_be_a_tenth_below_the_last_one_and_no_more(root, now, stops):
    last = published("ease", figures(0.5), SOURCE)

    assert bool(failed(root, figures(now), last=last)) == stops


@pytest.mark.parametrize(("now", "stops"), [(0.46, False), (0.44, True)])
def test_another_system_may_not_do_worse_than_the_one_it_replaces(root, now, stops):
    last = published("als", figures(0.5, system="als"), SOURCE)

    assert bool(failed(root, figures(now), last=last)) == stops


def test_a_run_of_another_source_is_not_compared(root):
    last = published("ease", figures(0.9), {"source": "elsewhere"})

    assert failed(root, figures(0.5), last=last) == {}


@pytest.mark.parametrize(("share", "warned"), [(0.4, {"tags in the test": True}), (0.03, {})])
def test_tags_that_tell_of_favorites_are_a_warning(root, share, warned):
    tags = TagAccount(0, 0, "favorites", TagLeak(100, share, 0.02))

    assert failed(root, figures(0.5), tags=tags) == warned


def test_nothing_measured_is_a_warning(root):
    assert failed(root, []) == {"tested": True}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image_id": ["i1", "i3", "i2"]}, "no favorite is recommended"),
        ({"image_id": ["i2", "i9", "i2"]}, "every image exists"),
        ({"image_id": ["i2", "i2", "i2"]}, "one row per user_id, image_id"),
        ({"rank": [1, 1, 1]}, "one row per user_id, rank"),
        ({"rank": [1, 3, 1]}, "ranks count from 1 without a gap"),
        ({"score": [2.0, float("nan"), 2.0]}, "every score is finite"),
        ({name: [] for name in LISTS}, "not empty"),
    ],
)
def test_a_table_that_breaks_a_promise_stops(root, changed, named):
    broken = failed(root, figures(0.5), **changed)

    assert any(named in name and not is_warning for name, is_warning in broken.items())


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("own uploads", {"user_id": ["u3", "u3", "u2"]}),
        ("blocked images", {"tables": {"blocked_images": {"image_id": ["i3"]}}}),
        ("blocked owners", {"tables": {"blocked_owners": {"user_id": ["u3"]}}}),
        ("user blocks", {"tables": {"user_blocks": {"user_id": ["u2"], "blocked_id": ["u3"]}}}),
        ("user mutes", {"tables": {"user_mutes": {"user_id": ["u1"], "tag": ["ruby"]}}}),
        ("muted tags", {"rules": PolicyConfig(muted_tags=("ruby",))}),
        ("images of one owner", {"rules": PolicyConfig(max_of_owner=1), "image_id": ["i1", "i2", "i2"]}),
    ],
)
def test_a_list_that_breaks_a_rule_of_the_policy_stops(root, rule, broken):
    assert failed(root, figures(0.5), **broken).get(f"policy: {rule}") is False


def test_a_blocked_image_may_not_be_a_similar_one_either(root):
    lists = {"user_id": ["u1"], "rank": [1], "image_id": ["i3"], "score": [1.0]}
    tables = {"blocked_images": {"image_id": ["i2"]}}

    assert failed(root, figures(0.5), tables=tables, **lists) == {"policy: blocked images": False}


def test_a_rule_that_rules_nothing_out_passes(root):
    tables = {"user_blocks": {"user_id": ["u3"], "blocked_id": ["u3"]}, "blocked_owners": {"user_id": ["u4"]}}
    rules = PolicyConfig(muted_tags=("unheard",), max_of_owner=2)

    assert failed(root, figures(0.5), tables=tables, rules=rules) == {}
