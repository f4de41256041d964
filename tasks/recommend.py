"""Exact top-K for every user, and similar images, in blocks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from prefect import unmapped

from models import ranking
from models.ranking import Candidates
from storage import matrices, parquet, tables
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage
from tasks.embed import Embeddings, model_name, read_embeddings
from tasks.profiles import Profiles
from tasks.train import Trained


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    num_similar: int = 20  # similar images of an image
    candidates: Literal["interests", "all"] = "interests"  # interests: with a tag of the user's interest (section 5)
    block_users: int = 8192  # users, or images, in one block

    def __post_init__(self) -> None:
        if self.candidates not in ("interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose interests or all")


def recommend_all(
    embeddings: Embeddings, favorites: Ref, profiles: Profiles, trained: Trained, config: RecommendConfig, root: Root
) -> list[Ref]:
    """RECOMMENDATIONS of everybody, each block of users a cached task run of its own."""
    blocks = list(range(-(-embeddings.users.rows // config.block_users)))
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = config.candidates == "interests" and profiles.of == "tags"
    wanted = (profiles.interests, profiles.carried) if is_filtered else (None, None)
    fixed = (embeddings, favorites, *wanted, trained, config, root)
    return list(recommend.map(blocks, *map(unmapped, fixed)).result())


@stage
def recommend(
    block: int,
    embeddings: Embeddings,
    favorites: Ref,
    interests: Ref | None,
    carried: Ref | None,
    trained: Trained,
    config: RecommendConfig,
    root: Root,
) -> Ref:
    """RECOMMENDATIONS of one block of users: candidates but their favorites, by score."""
    users, users_Ud = read_embeddings([embeddings.users], root)
    images, images_Id = read_embeddings(embeddings.images, root)
    chosen = slice(block * config.block_users, (block + 1) * config.block_users)
    users, users_Ud = users[chosen], users_Ud[chosen]
    seen, candidates = parquet.read(favorites, root), None
    if interests and carried:
        wanted, has = parquet.read(interests, root), parquet.read(carried, root)
        tags = matrices.ids_of(wanted["tag"], has["tag"])
        candidates = Candidates(
            matrices.incidence(wanted["user_id"], wanted["tag"], users, tags),
            matrices.incidence(has["image_id"], has["tag"], images, tags),
        )
    rows, scores = ranking.top_k(
        users_Ud,
        images_Id,
        config.num_recommendations,
        seen_UI=matrices.incidence(seen["user_id"], seen["image_id"], users, images),
        candidates=candidates,
    )
    user, rank = np.nonzero(rows >= 0)
    columns = {
        "user_id": users[user],
        "rank": (rank + 1).astype(np.int32),
        "image_id": images[rows[user, rank]],
        "score": scores[user, rank],
        "model": pa.array([model_name(trained)] * len(user)),
    }
    return parquet.write(tables.RECOMMENDATIONS, columns, root)


@stage
def find_similar(image_embeddings: list[Ref], config: RecommendConfig, root: Root) -> Ref:
    """SIMILAR_IMAGES of every image, by the cosine of the learned representations, centred."""
    images, images_Id = read_embeddings(image_embeddings, root)
    learned = images_Id[:, :-1]  # the last entry only carries w · π² into the score
    # Centred: the objective never asks for a mean of zero, and with what all images share every cosine is near 1.
    rows, scores = ranking.similar(learned - learned.mean(axis=0), config.num_similar)
    image, rank = np.nonzero(rows >= 0)
    columns = {
        "image_id": images[image],
        "rank": (rank + 1).astype(np.int32),
        "similar_image_id": images[rows[image, rank]],
        "score": scores[image, rank],
    }
    return parquet.write(tables.SIMILAR_IMAGES, columns, root)


def exported(lists: list[Ref], embeddings: Embeddings, similar: Ref) -> dict[str, list[Ref]]:
    """The files of each exported table."""
    parts = (lists, [embeddings.users], embeddings.images, [similar])
    return {table.name: part for table, part in zip(tables.EXPORTS, parts, strict=True)}
