"""Everybody's best images, and similar images, in blocks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from prefect import unmapped

from models import ranking
from models.ranking import Candidates
from storage import matrices, parquet, tables
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage
from tasks.profiles import Profiles
from tasks.scoring import Model, best_images, read_embeddings, read_scorer


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    num_similar: int = 20  # similar images of an image
    candidates: Literal["auto", "interests", "all"] = (
        "auto"  # interests: with a tag of the user's interest (CDL, section 5); auto: interests for cdl, else all
    )
    block_users: int = 8192  # users, or images, in one block

    def __post_init__(self) -> None:
        if self.candidates not in ("auto", "interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose auto, interests or all")


def recommend_all(model: Model, favorites: Ref, profiles: Profiles, config: RecommendConfig, root: Root) -> list[Ref]:
    """RECOMMENDATIONS of everybody, each block of users a cached task run of its own."""
    blocks = list(range(-(-model.users.rows // config.block_users)))
    wants_filter = config.candidates == "interests" or (config.candidates == "auto" and model.system == "cdl")
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = wants_filter and profiles.of == "tags"
    wanted = (profiles.interests, profiles.carried) if is_filtered else (None, None)
    return list(recommend.map(blocks, *map(unmapped, (model, favorites, *wanted, config, root))).result())


@stage
def recommend(
    block: int,
    model: Model,
    favorites: Ref,
    interests: Ref | None,
    carried: Ref | None,
    config: RecommendConfig,
    root: Root,
) -> Ref:
    """RECOMMENDATIONS of one block of users: candidates but their favorites, by score."""
    scorer = read_scorer(model, root)
    images, first = scorer.images, block * config.block_users
    chosen = np.arange(first, min(first + config.block_users, len(scorer.users)))
    users = scorer.users[chosen]
    seen, candidates = parquet.read(favorites, root), None
    if interests and carried:
        wanted, has = parquet.read(interests, root), parquet.read(carried, root)
        tags = matrices.ids_of(wanted["tag"], has["tag"])
        candidates = Candidates(
            matrices.incidence(wanted["user_id"], wanted["tag"], users, tags),
            matrices.incidence(has["image_id"], has["tag"], images, tags),
        )
    rows, scores = best_images(
        scorer,
        chosen,
        {"all": np.arange(len(images))},
        config.num_recommendations,
        matrices.incidence(seen["user_id"], seen["image_id"], users, images),
        candidates,
    )["all"]
    user, rank = np.nonzero(rows >= 0)
    columns = {
        "user_id": users[user],
        "rank": (rank + 1).astype(np.int32),
        "image_id": images[rows[user, rank]],
        "score": scores[user, rank],
        "model": pa.array([model.label] * len(user)),
    }
    return parquet.write(tables.RECOMMENDATIONS, columns, root)


@stage
def find_similar(model: Model, config: RecommendConfig, root: Root) -> Ref:
    """SIMILAR_IMAGES of every image, by the cosine of the learned representations, centred; of none without them."""
    images, learned = _representations(model, root)
    if not learned.size:
        return parquet.write(tables.SIMILAR_IMAGES, {name: [] for name in tables.SIMILAR_IMAGES.schema.names}, root)
    # Centred: no objective asks for a mean of zero, and with what all images share every cosine is near 1.
    rows, scores = ranking.similar(learned - learned.mean(axis=0), config.num_similar)
    image, rank = np.nonzero(rows >= 0)
    columns = {
        "image_id": images[image],
        "rank": (rank + 1).astype(np.int32),
        "similar_image_id": images[rows[image, rank]],
        "score": scores[image, rank],
    }
    return parquet.write(tables.SIMILAR_IMAGES, columns, root)


def _representations(model: Model, root: Root) -> tuple[Ids, np.ndarray]:
    """The images with an embedding, and what they are like: float32 (I, d)."""
    if model.fitted:
        return np.empty(0, object), np.empty((0, 0), np.float32)
    _, users_Ud = read_embeddings([model.embeddings.users], root)
    images, images_Id = read_embeddings(model.embeddings.images, root)
    # An entry that all users share adds the same to everybody's score of an image: it says nothing of what it is like.
    return images, np.compress((users_Ud != users_Ud[:1]).any(axis=0), images_Id, axis=1)


def exported(lists: list[Ref], model: Model, similar: Ref) -> dict[str, list[Ref]]:
    """The files of each exported table."""
    parts = (lists, [model.embeddings.users], model.embeddings.images, [similar])
    return {table.name: part for table, part in zip(tables.EXPORTS, parts, strict=True)}
