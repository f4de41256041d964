"""What a night starts from, and why; what an earlier run left, readable or not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.settings.protocols import ProtocolConfig
from storage import parquet, snapshots
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, USER_TAGS
from storage.tables.evaluation import METRICS
from storage.tables.schema import SCHEMA_VERSION
from storage.tables.tastes import TOKEN_VECTORS
from tasks.data.pictures import Packed
from tasks.data.split import Split
from tasks.data.tastes import Clusters, Profiles, Vectors
from tasks.night.records import STATE_VERSION, FromScratch, Keep, Learned, NightStart, NightState, Tastes, WarmStart
from tasks.night.start import InputFingerprint, choose, states_of
from tasks.runtime.digests import canonical
from tasks.settings.lists import RecommendConfig
from tasks.settings.start import IncrementalConfig
from tasks.settings.word2vec import Word2VecConfig
from tasks.systems.lists import ListRequest, Lists
from tasks.systems.model import Embeddings, Fitted, Model
from tests import frozen

MANIFEST = Manifest(run_id="night-1", generated_at="2026-11-28T02:00:00+00:00", metrics=[])
WORDS = Word2VecConfig(min_count=1)


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def a_night(root: Root, **changes: Any) -> NightState:
    """What a small night of `ease` left; everything that no decision looks into is one and the same table."""
    table = parquet.write(FAVORITES, {"user_id": ["a"], "image_id": ["1"], "favorited_at": [None]}, root)
    image_tags = parquet.write(IMAGE_TAGS, {"image_id": ["1", "2"], "tag": ["sea", "sky"]}, root)
    user_tags = parquet.write(USER_TAGS, {"user_id": ["a"], "tag": ["sea"], "count": [1]}, root)
    vectors = {"token": ["sea", "sky"], "count": [2, 1], "vector": [[1.0], [0.5]]}
    words = Vectors("tags", parquet.write(TOKEN_VECTORS.with_dimensions(1), vectors, root), 0)
    model = Model("ease", "ease-1", table, table, Embeddings(table, [table]), None)
    clusters, profiles = Clusters(table, table), Profiles("tags", table, table, table, 1, 1, 0)
    learned = Learned(Tastes(words, clusters, table, profiles), model, None, None)
    metrics = metrics_of(root, 0.5)
    state = NightState(
        run_id="night-1",
        how="full",
        num_kept=0,
        source="/source",
        lineage="code",
        decoding="pixels",
        pictures="files",
        table={"favorites": table, "image_tags": image_tags, "user_tags": user_tags},
        split=Split(table, table, ProtocolConfig()),
        tested_table={"favorites": table, "image_tags": image_tags, "user_tags": user_tags},
        shards=[Packed(table, table)],
        tested=learned,
        published=learned,
        metrics=metrics,
        full_metrics=metrics,
        lists=Lists(ListRequest(model, table, None, None), RecommendConfig(), None, [], table),
    )
    return replace(state, **changes)


def metrics_of(root: Root, ndcg: float) -> Ref:
    row = {"protocol": "full", "slice": "all", "system": "ease", "metric": "ndcg", "k": 20, "users": 9}
    rows = pl.DataFrame([{**row, "value": ndcg, "low": ndcg, "high": ndcg}]).with_columns(
        pl.col("k", "users").cast(pl.Int32)
    )
    return parquet.write(METRICS, rows, root)


def inputs_of(state: NightState, **changes: Any) -> InputFingerprint:
    """What the next night finds: the same, unless something is said to have changed."""
    same = InputFingerprint(state.source, state.lineage, state.decoding, state.pictures, state.table)
    return replace(same, **changes)


def publish(root: Root, state: NightState, base: NightState | None = None, **changes: Any) -> None:
    """Make the night's run current."""
    states = {"last": canonical(state, "last"), "base": canonical(base, "base")}
    manifest = replace(MANIFEST, run_id=state.run_id, memory={"version": STATE_VERSION, **states}, **changes)
    lists = {"recommendations": [state.table["favorites"]]}
    snapshots.publish(root, manifest, lists, {"index.html": b"<html>"}, current=True)


def start_of(
    root: Root, inputs: InputFingerprint, system: str = "ease", config: IncrementalConfig | None = None
) -> NightStart:
    return choose(config or IncrementalConfig(start="keep"), inputs, system, WORDS, root)


NEW_PICTURES = {"pictures": "other files"}


def test_the_first_night_learns_from_scratch(root):
    assert start_of(root, inputs_of(a_night(root))) == FromScratch("nothing is published yet")


def test_a_night_that_is_to_learn_from_scratch_still_has_the_last_clusters_and_pixels(root):
    state = a_night(root)
    publish(root, state)
    start = start_of(root, inputs_of(state), config=IncrementalConfig(start="full"))

    clusters = state.published.tastes.known
    assert start == FromScratch("asked for by incremental.start", clusters, tuple(state.shards))


def test_a_night_keeps_the_model_or_trains_on_from_it_as_the_settings_say(root):
    state = a_night(root)
    publish(root, state)
    kept = start_of(root, inputs_of(state, **NEW_PICTURES))
    trained = start_of(root, inputs_of(state, **NEW_PICTURES), config=IncrementalConfig(start="warm"))

    assert isinstance(kept, Keep)
    assert isinstance(trained, WarmStart)
    for start in (kept, trained):
        assert (start.why, start.num_kept, start.keeps_tags) == ("asked for by incremental.start", 1, True)
        assert start.base == start.previous == state


def test_a_night_on_the_same_input_keeps_the_model_even_where_it_was_to_train_on(root):
    state = a_night(root)
    publish(root, state)
    start = start_of(root, inputs_of(state), config=IncrementalConfig(start="warm"))

    assert isinstance(start, Keep)
    assert start.why == "nothing has changed"


def test_after_some_kept_nights_one_trains_on(root):
    base = a_night(root)
    publish(root, replace(base, run_id="night-3", how="keep", num_kept=2), base)
    start = start_of(root, inputs_of(base, **NEW_PICTURES))

    assert isinstance(start, WarmStart)
    assert start.why == "it is 3 nights since night-1, whose model it is, learned"
    assert (start.base, start.num_kept) == (base, 3)


def test_tags_that_have_drifted_are_learned_again_and_cdl_with_them(root):
    state = a_night(root)
    publish(root, state)
    tags = parquet.write(IMAGE_TAGS, {"image_id": ["1", "2"], "tag": ["ice", "ice"]}, root)
    inputs = inputs_of(state, table={**state.table, "image_tags": tags})
    ease, cdl = start_of(root, inputs), start_of(root, inputs, "cdl")

    assert isinstance(ease, Keep)
    assert isinstance(cdl, WarmStart)
    assert not ease.keeps_tags
    assert not cdl.keeps_tags
    assert "tags have drifted by 0.667 since night-1" in cdl.why


def test_without_take_over_nothing_of_the_previous_run_is_reused(root):
    state = a_night(root)
    publish(root, state)
    start = start_of(root, inputs_of(state), config=IncrementalConfig(start="keep", take_over=False))

    assert isinstance(start, Keep)
    assert (start.previous, start.shards, start.base) == (None, (), state)


def with_saved_state(state: NightState) -> NightState:
    model = state.published.model
    fitted = Fitted("ease", "1", {}, model.users)
    return replace(state, published=replace(state.published, model=replace(model, fitted=fitted)))


@pytest.mark.parametrize(
    ("why", "published", "manifest", "found"),
    [
        ("the source is another one than /source", None, {}, {"source": "/other"}),
        ("code or settings have changed since run night-1", None, {}, {"lineage": "other code"}),
        (f"run night-1 has tables of version 0, this is {SCHEMA_VERSION}", None, {"schema_version": "0"}, {}),
        ("ease has no embeddings that could be kept", with_saved_state, {}, {}),
        ("it is 7 nights since", lambda state: replace(state, num_kept=6), {}, {}),
    ],
)
def test_a_night_that_cannot_build_on_the_last_one_says_why(
    root: Root,
    why: str,
    published: Callable[[NightState], NightState] | None,
    manifest: dict[str, str],
    found: dict[str, str],
) -> None:
    state = a_night(root)
    publish(root, published(state) if published else state, **manifest)
    start = start_of(root, inputs_of(state, **found))

    assert isinstance(start, FromScratch)
    assert why in start.why


def test_figures_that_fell_since_the_last_night_from_scratch_are_a_reason(root):
    state = a_night(root)
    publish(root, replace(state, metrics=metrics_of(root, 0.4)))

    assert "full ndcg@20 fell from 0.5000 to 0.4000" in start_of(root, inputs_of(state)).why


def test_a_run_that_the_gate_stopped_is_a_reason_where_it_did_not_learn_from_scratch(root):
    state = a_night(root)
    publish(root, state, is_current=True)
    for run_id, how, reason in (("night-2", "full", "nothing has changed"), ("night-3", "keep", "stopped run night-3")):
        at = MANIFEST.generated_at.replace("02:00", f"{run_id[-1]}3:00".zfill(5))
        stopped = replace(MANIFEST, run_id=run_id, generated_at=at, incremental={"how": how}, is_current=False)
        snapshots.publish(root, stopped, {}, {"index.html": b"<html>"}, current=False)
        assert reason in start_of(root, inputs_of(state)).why


def test_a_file_that_the_last_night_left_and_that_is_gone_is_named(root):
    state = a_night(root)
    publish(root, state)
    root.delete(state.published.tastes.vectors.vectors.path)

    assert start_of(root, inputs_of(state)).why.startswith("tables/token_vectors/")


@pytest.mark.parametrize("start", ["keep", "warm", "full"])
def test_beside_a_run_of_an_earlier_version_a_night_learns_from_scratch(tmp_path, start):
    root = Root(str(frozen.root_of_schema_1(tmp_path)))
    state = a_night(root)
    chosen = start_of(root, inputs_of(state), config=IncrementalConfig(start=start))

    assert chosen == FromScratch(f"run newest left a state of version 1, and this code reads version {STATE_VERSION}")


DAMAGED = [b"", b"no JSON", b"[]", b"{}", b"null", b'{"run_id": "night-1"', b'{"run_id": 3, "files": [{}]}']


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("path", [snapshots.POINTER, "exports/runs/run_id=night-1/manifest.json"])
def test_beside_a_damaged_pointer_or_manifest_a_night_learns_from_scratch_and_names_it(root, path, content):
    state = a_night(root)
    publish(root, state)
    root.write(path, content)
    start = start_of(root, inputs_of(state))

    assert isinstance(start, FromScratch)
    assert start.why.startswith("what is published cannot be read (")
    assert Path(path).name in start.why


@pytest.mark.parametrize("value", [None, 3, "text", [], {"version": 2}])
@pytest.mark.parametrize("field", ["memory", "incremental", "rows", "inputs"])
def test_an_odd_value_in_the_manifest_is_a_reason_and_no_crash(root, field, value):
    state = a_night(root)
    publish(root, state)
    path = "exports/runs/run_id=night-1/manifest.json"
    manifest = json.loads(root.read(path))
    root.write(path, json.dumps({**manifest, field: value}).encode())

    assert start_of(root, inputs_of(state)).why


def reason(memory: Any, **changes: Any) -> str:
    """Why nothing can be built on a run that left this."""
    states = states_of(replace(MANIFEST, memory=memory, **changes))
    assert isinstance(states, str), "it was read"
    return states


def test_a_run_without_state_is_of_an_earlier_version_or_redacted():
    assert "earlier version" in reason(None)
    assert "forgotten" in reason(None, withdrawn={"from": "night-0"})


def test_a_state_of_another_version_is_named_with_both_versions():
    assert f"a state of version 1, and this code reads version {STATE_VERSION}" in reason({"last": {}, "base": None})
    assert "a state of version 99" in reason({"version": 99})


@pytest.mark.parametrize(
    "last", [{}, None, 3, "text", {"run_id": "night-1", "how": "sideways"}, [vars(Ref("", "", "", 0, 0))]]
)
def test_a_state_that_cannot_be_read_is_a_reason_and_no_crash(last):
    assert "cannot be read" in reason({"version": STATE_VERSION, "last": last, "base": None})
    assert "cannot be read" in reason({"version": STATE_VERSION})


@pytest.mark.parametrize("memory", [3, "text", ["night-1"], True])
def test_a_state_that_is_no_object_is_a_reason_and_no_crash(memory):
    assert "cannot be read" in reason(memory)
