"""What may become current: sound tables, and figures above chance and near the last run's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows.lists import policy_of
from models.tag_assignments import TagLeak
from storage import matrices, parquet, shards
from storage.manifests import Manifest, Outcome
from storage.refs import Ref, store
from storage.roots import Root
from storage.tables.community import (
    BLOCKED_IMAGES,
    BLOCKED_OWNERS,
    FAVORITES,
    HIDES,
    IMAGE_TAGS,
    IMAGES,
    USER_BLOCKS,
    USER_MUTES,
    USERS,
)
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.schema import SCHEMA_VERSION, Table
from storage.tables.similar import SIMILAR_IMAGES
from tasks.data.tag_leak import TagAccount
from tasks.night.gate import Candidate, gate
from tasks.settings.limits import GateConfig
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.systems.lists import ListRequest, Lists
from tasks.systems.model import Embeddings, Fitted, Model

COMMUNITY = {
    "users": {"user_id": ["u1", "u2", "u3"]},
    "images": {"image_id": ["i1", "i2", "i3"], "owner_id": ["u3", "u3", None]},
    "favorites": {"user_id": ["u1", "u2"], "image_id": ["i1", "i1"]},
    "image_tags": {"image_id": ["i3"], "tag": ["ruby"]},
}
LISTS = {"user_id": ["u1", "u1", "u2"], "rank": [1, 2, 1], "image_id": ["i2", "i3", "i2"], "score": [2.0, 1.0, 2.0]}
SOURCE = {"source": "here"}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def figures(
    ours: float, popularity: float = 0.3, chance: float = 0.2, system: str = "ease", noise: float = 0.0
) -> list[dict]:
    """The metrics of a night in which every protocol came out the same."""
    systems = {"popularity": popularity, "random": chance, system: ours}
    return [
        {"protocol": protocol, "slice": "all", "system": system, "metric": metric, "k": k}
        | {"value": value, "low": value - noise, "high": value + noise}
        for protocol, metric in (("paper", "precision"), ("paper_matched", "precision"), ("full", "ndcg"))
        for system, value in systems.items()
        for k in (10, 20)
    ]


def published(system: str, metrics: list[dict], comparable: dict) -> Manifest:
    """The manifest of the current run."""
    at = "2026-11-01T02:00:00+00:00"
    return Manifest(run_id="before", generated_at=at, system=system, comparable=comparable, metrics=metrics)


def candidate(
    root: Root, metrics: list[dict], *, rules=None, tables=None, community=None, seen=(), **changed: Any
) -> Candidate:
    """A small night; `changed` are columns of its lists, `tables` of the policy's tables, `community` of the others."""
    lists = {**LISTS, "model": ["ease-0"] * len(changed.get("rank", LISTS["rank"])), **changed}
    exports = {
        "recommendations": [parquet.write(RECOMMENDATIONS, lists, root)],
        "similar_images": [
            parquet.write(
                SIMILAR_IMAGES,
                {"image_id": ["i1"], "rank": [1], "similar_image_id": ["i2"], "score": [0.5]},
                root,
            )
        ],
    }
    for table, ids, first in (USER_EMBEDDINGS, ["u1", "u2"], [1, 1]), (IMAGE_EMBEDDINGS, ["i1", "i2", "i3"], [3, 2, 1]):
        vectors = matrices.lists_of(np.outer(first, [1, 0, 0, 0]).astype(np.float32))
        columns = {table.key[0]: ids, "embedding": vectors, "model": ["ease-0"] * len(ids)}
        exports[table.name] = [parquet.write(table.with_dimensions(4), columns, root)]
    rows = {**COMMUNITY, **(community or {}), **(tables or {})}
    table = {
        of.name: parquet.write(of, {name: [] for name in of.schema.names} | nulls(of, rows.get(of.name, {})), root)
        for of in (
            *(USERS, IMAGES, FAVORITES, IMAGE_TAGS),
            *(BLOCKED_IMAGES, BLOCKED_OWNERS, USER_BLOCKS, USER_MUTES, HIDES),
        )
    }
    embeddings = Embeddings(exports["user_embeddings"][0], exports["image_embeddings"])
    model = Model("ease", "ease-0", table["users"], table["images"], embeddings, None)
    pixels = [shards.write(seen, np.zeros((len(seen), 1, 1, 3), np.uint8), "pixels", root)] if seen else []
    request = ListRequest(model, table["favorites"], None, None, policy_of(table, pixels, rules or PolicyConfig()))
    lists_of_night = Lists(request, RecommendConfig(), None, [], exports["similar_images"][0])
    return Candidate(
        system="ease",
        metrics=metrics,
        exports=exports,
        table=table,
        lists=lists_of_night,
        comparable=SOURCE,
        settings={},
    )


def nulls(of: Table, columns: dict[str, list]) -> dict[str, list]:
    """The columns, with nulls in those that are not given."""
    rows = max(map(len, columns.values()), default=0)
    return {name: columns.get(name, [None] * rows) for name in of.schema.names}


def outcomes(
    root: Root, night: Candidate, last: Manifest | None = None, config: GateConfig | None = None
) -> list[Outcome]:
    return gate(night, last, config or GateConfig(), root)


def failed(root: Root, metrics: list[dict], *, last=None, config=None, tags=None, **changed: Any) -> dict[str, bool]:
    """The checks that failed by name, and whether each only warns."""
    night = replace(candidate(root, metrics, **changed), tags=tags)
    return {item.name: item.is_warning for item in outcomes(root, night, last, config) if not item.passed}


def test_sound_tables_and_good_figures_pass(root):
    assert failed(root, figures(0.5)) == {}


def similar(root: Root, **columns: list) -> dict[str, list[Ref]]:
    """Two similar images of i1."""
    (file,) = candidate(root, figures(0.5)).exports["similar_images"]
    (row,) = parquet.read(file, root).to_pylist()
    two = {"rank": [1, 2], "similar_image_id": ["i2", "i3"], "score": [0.5, 0.4]} | columns
    return {"similar_images": [parquet.write(SIMILAR_IMAGES, {key: [row[key]] * 2 for key in row} | two, root)]}


def users(root: Root, ids: list[str], vectors: list[list[float]]) -> dict[str, list[Ref]]:
    columns = {"user_id": ids, "embedding": matrices.lists_of(np.array(vectors)), "model": ["ease-0"] * len(ids)}
    table = USER_EMBEDDINGS.with_dimensions(len(vectors[0]))
    return {"user_embeddings": [parquet.write(table, columns, root)]}


def other_file(root: Root, table: Table, version: str = SCHEMA_VERSION, **columns: Any) -> dict[str, list[Ref]]:
    """A file that was written by other code."""
    rows = pa.table(columns)
    with root.workspace() as folder:
        parquet.write_file(rows, folder / "a.parquet", table.name, version)
        return {table.name: [store(folder / "a.parquet", f"tables/{table.name}", table.name, len(rows), root)]}


def reasons(root: Root, **columns: list) -> dict[str, list[Ref]]:
    """Two reasons for the first recommendation of u1."""
    (file,) = candidate(root, figures(0.5)).exports["recommendations"]
    first = parquet.read(file, root).to_pylist()[0]
    two = {"signal": ["favorites", "tags"], "share": [first["score"] - 0.5, 0.5], "because": ["i1", None]} | columns
    return {
        "reasons": [
            parquet.write(REASONS, {key: [first[key]] * 2 for key in ("user_id", "rank", "image_id")} | two, root)
        ]
    }


def test_reasons_whose_shares_sum_to_the_score_pass(root):
    night = candidate(root, figures(0.5))
    assert all(item.passed for item in outcomes(root, replace(night, exports=night.exports | reasons(root))))


LONG_LIST = {"user_id": ["u3"] * 51, "rank": list(range(1, 52)), "image_id": ["i1"] * 51, "score": [3.0] * 51}
TYPED = {"user_id": ["u1"], "rank": pa.array([1], pa.int32()), "image_id": ["i2"], "score": [2.0], "model": ["ease-0"]}
ROWS = {**TYPED, "score": pa.array([2.0], pa.float32())}


@pytest.mark.parametrize(
    ("exports", "named"),
    [
        (lambda root: reasons(root, share=[0.5, 0.5]), "the shares of a recommendation sum to its score"),
        (lambda root: reasons(root, image_id=["i9", "i9"]), "reasons: every image_id is one of images"),
        (lambda root: similar(root, similar_image_id=["i2", "i1"]), "no image is its own"),
        (lambda root: similar(root, similar_image_id=["i2", "i2"]), "one row per image_id, similar_image_id"),
        (lambda root: similar(root, similar_image_id=["i2", "i9"]), "every similar_image_id is one of images"),
        (lambda root: similar(root, score=[0.4, 0.5]), "similar_images: no score rises along a list"),
        (lambda root: similar(root, rank=[1, 3]), "similar_images: ranks count from 1 without a gap"),
        (lambda root: users(root, ["u1", "u2"], [[1.0, 0.0], [1.0, 0.0]]), "one dimension for users and images"),
        (lambda root: users(root, ["u1", "u2"], [[1.0, 0, 0, 0], [1.0, np.nan, 0, 0]]), "every embedding is finite"),
        (lambda root: users(root, ["u1", "u1"], [[1.0, 0, 0, 0]] * 2), "user_embeddings: one row per user_id"),
        (
            lambda root: users(root, ["u1", "u9"], [[1.0, 0, 0, 0]] * 2),
            "user_embeddings: every user_id is one of users",
        ),
        (lambda root: users(root, ["u1"], [[1.0, 0, 0, 0]]), "score is the inner product of the embeddings"),
        (lambda root: other_file(root, RECOMMENDATIONS, **TYPED), "columns, types and schema version"),
        (lambda root: other_file(root, RECOMMENDATIONS, "0", **ROWS), "columns, types and schema version"),
        (
            lambda root: other_file(root, RECOMMENDATIONS, **{**ROWS, "model": pa.array([None], pa.string())}),
            "no value",
        ),
        (
            lambda root: other_file(
                root,
                RECOMMENDATIONS,
                user_id=["u2", "u1"],
                rank=pa.array([1, 1], pa.int32()),
                image_id=["i2", "i2"],
                score=pa.array([2.0, 2.0], pa.float32()),
                model=["ease-0"] * 2,
            ),
            "rows in the order of their key",
        ),
        (
            lambda root: {
                "recommendations": [parquet.write(RECOMMENDATIONS, {**LONG_LIST, "model": ["ease-0"] * 51}, root)]
            },
            "recommendations: at most 50 places",
        ),
    ],
)
def test_an_exported_table_that_breaks_its_contract_holds(root, exports, named):
    night = candidate(root, figures(0.5))
    night = replace(night, exports=night.exports | exports(root))
    held = [item.name for item in outcomes(root, night) if item.verdict == "hold"]

    assert any(named in name for name in held)


def test_what_is_right_passes_with_the_same_writers(root):
    night = candidate(root, figures(0.5))
    exports = night.exports | similar(root) | users(root, ["u1", "u2"], [[1.0, 0, 0, 0]] * 2)
    exports |= other_file(root, RECOMMENDATIONS, **ROWS)

    assert [item.name for item in outcomes(root, replace(night, exports=exports)) if not item.passed] == []


def test_a_system_without_embeddings_keeps_the_contracts_with_empty_tables(root):
    night = candidate(root, figures(0.5))
    empty = {
        of.name: [parquet.write(of.with_dimensions(1), {name: [] for name in of.schema.names}, root)]
        for of in (USER_EMBEDDINGS, IMAGE_EMBEDDINGS, SIMILAR_IMAGES)
    }
    fitted = Fitted("itemknn", "1", {}, night.table["users"])
    request = replace(night.lists.request, model=replace(night.lists.request.model, fitted=fitted))
    night = replace(night, exports=night.exports | empty, lists=replace(night.lists, request=request))

    assert [item.name for item in outcomes(root, night) if not item.passed] == []


def test_places_need_not_be_in_the_order_of_scores_where_diversity_orders_them(root):
    columns = {"image_id": ["i3", "i2", "i2"], "score": [1.0, 2.0, 2.0]}

    assert failed(root, figures(0.5), rules=PolicyConfig(diversity=0.3), **columns) == {}


def test_below_random_stops(root):
    assert not all(failed(root, figures(0.1)).values())


def test_below_popularity_warns_and_stops_where_a_setting_says_so(root):
    warned = failed(root, figures(0.25))
    stopped = failed(root, figures(0.25), config=GateConfig(lead_over_popularity=(None, 0.0)))

    assert warned.keys() == stopped.keys()
    assert len(warned) == 3
    assert all(warned.values())
    assert not any(stopped.values())


@pytest.mark.parametrize(
    ("now", "noise", "verdict"),
    [(0.48, 0, "pass"), (0.46, 0, "warn"), (0.44, 0, "hold"), (0.44, 0.03, "hold"), (0.44, 0.05, "warn")],
)
def test_a_metric_may_fall_by_a_twentieth_and_a_fall_of_a_tenth_holds_unless_the_intervals_explain_it(
    root, now, noise, verdict
):
    last = published("ease", figures(0.5, noise=noise), SOURCE)
    found = [
        item for item in outcomes(root, candidate(root, figures(now, noise=noise)), last) if "near run" in item.name
    ]

    assert {item.verdict for item in found} == {verdict}
    assert {item.limits for item in found} == {"gate.metric_fall: warn above 0.05, hold above 0.1"}
    assert found[0].figure == pytest.approx(1 - now / 0.5)


@pytest.mark.parametrize(("now", "stops"), [(0.48, False), (0.44, True)])
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
        ({"image_id": ["i2", "i9", "i2"]}, "every image_id is one of images"),
        ({"user_id": ["u1", "u1", "u9"]}, "every user_id is one of users"),
        ({"score": [1.0, 2.0, 2.0]}, "no score rises along a list"),
        ({"score": [3.0, 1.0, 2.0]}, "score is the inner product of the embeddings"),
        ({"rank": [2, 3, 2]}, "ranks count from 1 without a gap"),
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
        ("hides", {"tables": {"hides": {"user_id": ["u1"], "image_id": ["i2"]}}}),
        ("user mutes", {"tables": {"user_mutes": {"user_id": ["u1"], "tag": ["ruby"]}}}),
        ("muted tags", {"rules": PolicyConfig(muted_tags=("ruby",))}),
        ("no picture", {"rules": PolicyConfig(without_picture=False), "seen": ("i1", "i3")}),
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
