"""A small published run with pictures, whose ids are hostile: slashes, quotes, markup, emoji, dots."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from storage import matrices, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, IMAGES, USERS
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES

HOSTILE = [
    "a/b",
    "a/recommendations",
    "?q=1&x#y",
    "100%2F",
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "two words",
    "😺 猫",
    "{{ 7*7 }}",
    "../../etc/passwd",
    ";id=",
    "+plus",
]
"""Ids of users and of the first images."""
OUTSIDE, LOST = HOSTILE[0], HOSTILE[1]
"""Images whose path leads out of the source, and whose file is gone."""
NUM_IMAGES, NUM_LISTED = 40, 8


def publish(
    root: Root,
    folder: Path,
    run_id: str = "night-1",
    *,
    seed: int = 0,
    current: bool = True,
    with_reasons: bool = False,
) -> Manifest:
    """Publish a run whose users like images of one half; pictures lie in `folder`."""
    rng = np.random.default_rng(seed)
    users = sorted([*HOSTILE, *(f"user{number}" for number in range(8))])
    images = sorted([*HOSTILE, *(f"image{number:02d}" for number in range(NUM_IMAGES - len(HOSTILE)))])
    paths = {image: f"pictures/{number}.png" for number, image in enumerate(images)}
    paths[OUTSIDE], paths[LOST] = "../secret.png", "pictures/gone.png"
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        color = np.full((30, 40, 3), [5 * number, 90, 250 - 5 * number], np.uint8)
        if image not in (OUTSIDE, LOST):
            Image.fromarray(color).save(folder / paths[image])
    Image.fromarray(color).save(folder.parent / "secret.png")

    image_vectors = rng.normal(size=(NUM_IMAGES, 4)).astype(np.float32)
    liked = np.array([rng.choice(NUM_IMAGES, 6, replace=False) for _ in users])
    user_vectors = np.array([image_vectors[row].sum(axis=0) / 6**0.5 for row in liked], np.float32)
    scores = user_vectors @ image_vectors.T
    for row, likes in enumerate(liked):
        scores[row, likes] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :NUM_LISTED]
    cosines = (unit := image_vectors / np.linalg.norm(image_vectors, axis=1, keepdims=True)) @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argsort(-cosines, axis=1)[:, :NUM_LISTED]

    def lists(owners: list[str], best: np.ndarray, scores: np.ndarray, owner: str, item: str) -> dict:
        return {
            owner: np.repeat(owners, NUM_LISTED),
            "rank": np.tile(np.arange(1, NUM_LISTED + 1, dtype=np.int32), len(owners)),
            item: [images[column] for row in best for column in row],
            "score": np.take_along_axis(scores, best, 1).ravel().astype(np.float32),
            "model": np.repeat("made up", len(owners) * NUM_LISTED),
        }

    width = image_vectors.shape[1]
    recommended = lists(users, best, scores, "user_id", "image_id")
    alike = lists(images, near, cosines, "image_id", "similar_image_id")
    tables = {
        RECOMMENDATIONS: recommended,
        SIMILAR_IMAGES: alike,
        USER_EMBEDDINGS.with_dimensions(width): _vectors("user_id", users, user_vectors),
        IMAGE_EMBEDDINGS.with_dimensions(width): _vectors("image_id", images, image_vectors),
    }
    if with_reasons:
        tables[REASONS] = {
            "user_id": users,
            "rank": np.ones(len(users), np.int32),
            "image_id": recommended["image_id"][::NUM_LISTED],
            "signal": ["tags"] * len(users),
            "share": np.full(len(users), 0.25, np.float32),
            "because": ["<b>sea</b>"] * len(users),
        }
    none = pa.nulls(NUM_IMAGES, pa.string())
    community = {
        USERS: {"user_id": users, "name": [f"Name of {user}" for user in users]},
        IMAGES: {
            "image_id": images,
            "path": [paths[image] for image in images],
            "title": [f"Title of {image}" if number % 2 else None for number, image in enumerate(images)],
            "url": none,
            "owner_id": none,
            "uploaded_at": pa.nulls(NUM_IMAGES, pa.timestamp("s", "UTC")),
        },
        FAVORITES: {
            "user_id": np.repeat(users, 6),
            "image_id": [images[column] for row in liked for column in row],
            "favorited_at": pa.nulls(6 * len(users), pa.timestamp("s", "UTC")),
        },
        IMAGE_TAGS: {"image_id": images, "tag": ["</a>" if number % 2 else "sea" for number in range(NUM_IMAGES)]},
    }
    manifest = Manifest(
        run_id=run_id,
        generated_at=f"2026-01-0{seed + 1}T00:00:00+00:00",
        metrics=[],
        system="made up",
        source=str(folder),
        inputs={table.name: parquet.write(table, rows, root) for table, rows in community.items()},
    )
    files = {table.name: [parquet.write(table, rows, root)] for table, rows in tables.items()}
    return snapshots.publish(root, manifest, files, {"index.html": b"", "report.json": b"{}"}, current=current)


def _vectors(key: str, ids: list[str], vectors: np.ndarray) -> dict:
    return {key: ids, "embedding": matrices.lists_of(vectors), "model": np.repeat("made up", len(ids))}
