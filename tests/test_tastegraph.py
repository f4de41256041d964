"""`import tastegraph`: a published run in a notebook, on disk and in S3."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import tastegraph
from storage import matrices, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tests import frozen
from tests.storage.servers import moto_server

USERS, IMAGES = ["ann", "bob"], ["rose", "sea", "sky"]
VECTORS = np.array([[1, 0], [0, 1]], np.float32), np.array([[3, 0], [0, 2], [0, 1]], np.float32)
METRICS = [{"protocol": "full", "slice": "all", "system": "ease", "metric": "ndcg", "k": 20, "value": 0.5}]


def publish(root: Root, run_id: str, *, current: bool = True, extra: bool = True) -> None:
    """A run of two users and three images; with `extra` it has embeddings, similar images and reasons."""
    lists = {
        "user_id": ["ann", "ann", "bob"],
        "rank": [1, 2, 1],
        "image_id": ["rose", "sea", "sky"],
        "score": [3.0, 0.0, 1.0],
        "model": [run_id] * 3,
    }
    near = {"image_id": ["sea", "sky"], "rank": [1, 1], "similar_image_id": ["sky", "sea"], "score": [1.0, 1.0]}
    why = {
        "user_id": ["ann", "ann"],
        "rank": [1, 1],
        "image_id": ["rose", "rose"],
        "signal": ["content", "tags"],
        "share": [0.25, 0.75],
        "because": ["sea", "red"],
    }
    tables = {"recommendations": [parquet.write(RECOMMENDATIONS, lists, root)]}
    for name, key, schema, ids, vectors in (
        ("user_embeddings", "user_id", USER_EMBEDDINGS, USERS, VECTORS[0]),
        ("image_embeddings", "image_id", IMAGE_EMBEDDINGS, IMAGES, VECTORS[1]),
    ):
        rows = {key: ids, "embedding": matrices.lists_of(vectors), "model": [run_id] * len(ids)}
        wide = schema.with_dimensions(2)
        tables[name] = [parquet.write(wide, rows if extra else parquet.conform(wide, rows)[:0], root)]
    similar = parquet.conform(SIMILAR_IMAGES, near)
    tables["similar_images"] = [parquet.write(SIMILAR_IMAGES, similar if extra else similar[:0], root)]
    if extra:
        tables["reasons"] = [parquet.write(REASONS, why, root)]
    manifest = Manifest(run_id=run_id, generated_at=f"2026-11-29T0{len(run_id)}:00:00+00:00", metrics=METRICS)
    snapshots.publish(root, manifest, tables, {"index.html": b"<html></html>"}, current=current)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = Root(str(tmp_path / "root"))
    publish(place, "old", extra=False)
    publish(place, "newer")
    return tmp_path / "root"


@pytest.fixture(params=["disk", "s3"])
def address(request: pytest.FixtureRequest, root: Path, monkeypatch, tmp_path) -> Iterator[str]:
    """The root, on disk or in S3."""
    with moto_server() if request.param == "s3" else nullcontext() as server:
        if server is None:
            yield str(root)
            return
        there = server.root(monkeypatch, tmp_path / "scratch")
        for file in (root / "exports").rglob("*"):
            if file.is_file():
                there.write(file.relative_to(root).as_posix(), file.read_bytes())
        yield there.address


def test_the_current_run_is_read_on_disk_and_in_s3(address):
    export = tastegraph.read(address)

    assert export.run_id == "newer"
    assert export.is_current
    assert export.users.to_list() == USERS
    assert export.images.to_list() == IMAGES
    assert export.metrics.to_dicts() == METRICS
    assert export.recommend("ann", k=1)["image_id"].to_list() == ["rose"]
    assert export.similar("sea")["similar_image_id"].to_list() == ["sky"]
    assert export.explain("ann", "rose")["because"].to_list() == ["red", "sea"]


def test_an_earlier_run_is_read_by_its_id(root):
    export = tastegraph.read(root, "old")

    assert export.run_id == "old"
    assert not export.is_current
    with pytest.raises(FileNotFoundError, match="no run older was published"):
        tastegraph.read(root, "older")
    with pytest.raises(FileNotFoundError, match="nothing is published here; `tastegraph nightly`"):
        tastegraph.read(root / "elsewhere")


def test_several_users_have_their_lists_in_one_frame(root):
    lists = tastegraph.read(root).recommend(["bob", "ann"])

    assert lists.select("user_id", "rank", "image_id").rows() == [
        ("ann", 1, "rose"),
        ("ann", 2, "sea"),
        ("bob", 1, "sky"),
    ]


def test_the_inner_products_of_the_embeddings_are_the_scores(root):
    export = tastegraph.read(root)
    found = export.embeddings()

    assert (found.user_ids, found.image_ids) == (USERS, IMAGES)
    assert found.users.dtype == found.images.dtype == np.float32
    for user, _, image, score, _ in export.recommend(USERS).rows():
        assert found.users[found.user_ids.index(user)] @ found.images[found.image_ids.index(image)] == score


def test_an_unknown_id_is_answered_with_near_ones(root):
    export = tastegraph.read(root)
    for call, message in (
        (lambda: export.recommend("Ann"), r"user 'Ann' has no row in run newer; near ones: 'ann'"),
        (lambda: export.recommend(["ann", "bop"]), r"user 'bop' .* 'bob'"),
        (lambda: export.similar("roses"), r"image 'roses' .* 'rose'"),
        (lambda: export.explain("ann", "see"), r"image 'see' .* 'sea'"),
    ):
        with pytest.raises(tastegraph.UnknownIdError, match=message):
            call()


def test_what_a_run_does_not_have_is_said(root):
    export = tastegraph.read(root, "old")
    with pytest.raises(ValueError, match="old exports no embeddings: the score of its system is no inner product"):
        export.embeddings()
    with pytest.raises(ValueError, match="old exports no similar_images"):
        export.similar("rose")
    with pytest.raises(ValueError, match="old exports no reasons: its system is no sum over signals, or"):
        export.explain("ann", "rose")
    with pytest.raises(
        ValueError, match="no reasons for 'sky': it is not among the first 1 images of the list of 'ann'"
    ):
        tastegraph.read(root).explain("ann", "sky")


def test_a_run_of_an_earlier_version_is_read(tmp_path):
    export = tastegraph.read(frozen.root_of_schema_1(tmp_path))
    vectors = export.embeddings()

    assert vectors.users.shape == (len(export.users), vectors.images.shape[1])
    assert len(export.recommend(export.users[0], k=5)) == 5


def test_importing_it_loads_no_library_that_takes_long():
    code = "import sys, tastegraph; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert {"tastegraph", "polars"} <= set(loaded)
    assert {"torch", "prefect", "sklearn", "scipy", "gensim", "timm", "duckdb", "matplotlib"}.isdisjoint(loaded)


def test_a_command_that_refuses_is_an_error_with_its_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"tastegraph nightly: model.system: there is no system 'eas', did you mean"):
        tastegraph.nightly("demo", tmp_path / "root", {"model.system": "eas"})
