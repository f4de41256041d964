"""Everybody's best images, and similar images, in blocks."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from prefect import unmapped
from scipy.sparse import csr_array, eye_array

from models.retrieval import incremental_topk
from models.retrieval.incremental_topk import Before, Updated
from models.retrieval.ranking import Candidates, TopK
from storage import checkpoints, matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.exports import EXPORTS, RECOMMENDATIONS, SIMILAR_IMAGES
from tasks.data.profiles import Profiles
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unsearched
from tasks.systems.scoring import Model, best_images, read_embeddings, read_scorer


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    reserve: int = 16  # places behind the exported ones, kept so that an image that leaves costs nobody a whole list
    num_similar: int = 20  # similar images of an image
    candidates: Literal["auto", "interests", "all"] = (
        "auto"  # interests: with a tag of the user's interest (CDL, section 5); auto: interests for cdl, else all
    )
    block_users: int = 32_768  # users in one block, a task run of its own; each reads all images' embeddings

    def __post_init__(self) -> None:
        if self.candidates not in ("auto", "interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose auto, interests or all")


@dataclass(frozen=True)
class ListRequest:
    """Whose lists are wanted, and all that they hang on."""

    model: Model
    favorites: Ref  # never listed
    interests: Ref | None  # where only images with a tag of the user's interest are listed: those tags
    carried: Ref | None  # and what tags an image carries


@dataclass(frozen=True)
class ListBlock:
    """RECOMMENDATIONS of one block of users: those exported, and the places behind them."""

    exported: Ref
    reserve: Ref


@dataclass(frozen=True)
class Lists:
    """Lists that were made, and what of."""

    asked: ListRequest
    config: RecommendConfig
    looks: Ref | None  # None: the model has no embeddings
    recommendations: list[ListBlock]
    similar: Ref

    @property
    def exported(self) -> dict[str, list[Ref]]:
        """The files of each exported table."""
        embeddings = self.asked.model.embeddings
        exported = [made.exported for made in self.recommendations]
        parts = (exported, [embeddings.users], embeddings.images, [self.similar])
        return {table.name: part for table, part in zip(EXPORTS, parts, strict=True)}


def request_lists(model: Model, favorites: Ref, profiles: Profiles, config: RecommendConfig) -> ListRequest:
    """Whose lists these settings want."""
    wants_filter = config.candidates == "interests" or (config.candidates == "auto" and model.system == "cdl")
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = wants_filter and profiles.of == "tags"
    wanted = (profiles.interests, profiles.carried) if is_filtered else (None, None)
    return ListRequest(model, favorites, *wanted)


def make_lists(asked: ListRequest, config: RecommendConfig, root: Root, looks: Ref | None, last: Lists | None) -> Lists:
    """Everybody's recommendations, each block of users a cached task run of its own, and every image's similar ones.

    Args:
        looks: of a model that is kept.
        last: what an earlier night made with the same model; lists by the same settings are brought up to date.
    """
    last = last if last and last.config == config else None
    if not asked.model.fitted:
        looks = looks or describe_looks(asked.model, root)
    blocks = list(range(-(-asked.model.users.rows // config.block_users)))
    made = recommend.map(blocks, *map(unmapped, (asked, config, root, unsearched(last))))
    return Lists(asked, config, looks, made, find_similar(asked.model, looks, config, root, unsearched(last)))


@stage
def recommend(block: int, asked: ListRequest, config: RecommendConfig, root: Root, last: Lists | None) -> ListBlock:
    """One block of users: candidates but their favorites, by score."""
    scorer, k = read_scorer(asked.model, root), config.num_recommendations
    tags = _tags(root, asked, *([last.asked] if last else []))
    images, first = scorer.images, block * config.block_users
    chosen = np.arange(first, min(first + config.block_users, len(scorer.users)))
    users = scorer.users[chosen]
    vectors = scorer.vectors
    if vectors is None:
        seen_NI, candidates = _filters(asked, users, images, tags, root)
        lists = best_images(scorer, chosen, {"all": np.arange(len(images))}, k, seen_NI, candidates)["all"]
        is_made_N = np.ones(len(users), bool)
    else:
        images, images_Id = images[vectors.usable_I], vectors.images_Id[vectors.usable_I]
        filters = _filters(asked, users, images, tags, root)
        now = _Drawn(users, images, vectors.users_Ud[chosen], images_Id, tags, *filters)
        before = _before(now, last, k + config.reserve, root) if last else None
        lists, is_made_N, is_reached_N = _update(
            now.users_Nd, images_Id, (k, k + config.reserve), before, now.seen_NI, now.candidates
        )
        ledger.count("users reached by new images", int(is_reached_N.sum()))
    ledger.count("users recommended", int(is_made_N.sum()))
    exported, reserve = (
        parquet.write(RECOMMENDATIONS, _columns(users, images, lists, places, asked.model.label), root)
        for places in (slice(0, k), slice(k, None))
    )
    return ListBlock(exported, reserve)


def _columns(users: Ids, images: Ids, lists: TopK, places: slice, label: str) -> dict[str, Any]:
    """Those places of the lists as columns of RECOMMENDATIONS."""
    owner, rank, image, score = _listing(users, images, lists, places)
    return {"user_id": owner, "rank": rank, "image_id": image, "score": score, "model": pa.repeat(label, len(owner))}


def _listing(owners: Ids, images: Ids, lists: TopK, places: slice) -> tuple[pa.Array, np.ndarray, pa.Array, np.ndarray]:
    """Owner, rank from 1, image and score of each place that is taken."""
    rows, scores = lists.rows[:, places], lists.scores[:, places]
    owner, place = np.nonzero(rows >= 0)
    # Taken from Arrow's strings: numpy's object arrays would be turned into them one by one.
    owned, listed = (
        pa.array(ids, pa.string()).take(pa.array(row)) for ids, row in ((owners, owner), (images, rows[owner, place]))
    )
    return owned, (place + (places.start or 0) + 1).astype(np.int32), listed, scores[owner, place]


@stage
def find_similar(model: Model, looks: Ref | None, config: RecommendConfig, root: Root, last: Lists | None) -> Ref:
    """SIMILAR_IMAGES of every image, by the cosine of the learned representations, centred; of none without them."""
    if looks:
        images, images_Id = read_embeddings(model.embeddings.images, root)
        learned_If = _representations(images_Id, looks, root)
    if not (looks and learned_If.size):
        return parquet.write(SIMILAR_IMAGES, {name: [] for name in SIMILAR_IMAGES.schema.names}, root)
    itself_II = eye_array(len(images), dtype=np.float32, format="csr")
    unit_If = incremental_topk.unit(learned_If)
    before = None
    if last:
        known, before_Kd = read_embeddings(last.asked.model.embeddings.images, root)
        is_changed_I = _differ(images_Id, before_Kd, matrices.rows_of(pa.array(images, pa.string()), known))
        listed = _lists([last.similar], ("image_id", "similar_image_id"), images, images, config.num_similar, root)
        before = Before(listed, is_changed_I, is_changed_I)
    lists, is_made_I, _ = _update(unit_If, unit_If, (config.num_similar,) * 2, before, itself_II, None)
    ledger.count("images compared", int(is_made_I.sum()))
    image, rank, similar, score = _listing(images, images, lists, slice(0, None))
    columns = {"image_id": image, "rank": rank, "similar_image_id": similar, "score": score}
    return parquet.write(SIMILAR_IMAGES, columns, root)


@stage
def describe_looks(model: Model, root: Root) -> Ref:
    """What of a vector tells how an image looks, and the mean of it.

    A model that is kept keeps both, else one image more would change the cosine of all others.
    """
    _, users_Ud = read_embeddings([model.embeddings.users], root)
    _, images_Id = read_embeddings(model.embeddings.images, root)
    # An entry that all users share adds the same to everybody's score of an image: it says nothing of what it is like.
    tells_d = (users_Ud != users_Ud[:1]).any(axis=0)
    # Centred: no objective asks for a mean of zero, and with what all images share every cosine is near 1.
    centre_d = images_Id.mean(axis=0) if len(images_Id) else np.zeros(len(tells_d), np.float32)
    return checkpoints.store({"tells": torch.from_numpy(tells_d), "centre": torch.from_numpy(centre_d)}, "looks", root)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Users and images with vectors, and what may be listed."""

    users: Ids
    images: Ids
    users_Nd: np.ndarray
    images_Id: np.ndarray
    tags: Ids
    seen_NI: csr_array
    candidates: Candidates | None


def _update(
    users_Nd: np.ndarray,
    images_Id: np.ndarray,
    places: tuple[int, int],
    before: Before | None,
    seen_NI: csr_array,
    candidates: Candidates | None,
) -> Updated:
    """Lists brought up to date, or made anew; `places`: how many of a list count, and how many are kept."""
    k, depth = places
    if before is None:
        lists = incremental_topk.best(users_Nd, images_Id, depth, seen_UI=seen_NI, candidates=candidates)
        return Updated(lists, np.ones(len(users_Nd), bool), np.zeros(len(users_Nd), bool))
    return incremental_topk.update(users_Nd, images_Id, k, before, seen_UI=seen_NI, candidates=candidates)


def _before(now: _Drawn, last: Lists, depth: int, root: Root) -> Before:
    """The earlier lists of these users, and whose vector, favorites, interests or tags are others now."""
    users, (images, images_Kd) = now.users, read_embeddings(last.asked.model.embeddings.images, root)
    known, users_Kd = read_embeddings([last.asked.model.embeddings.users], root)
    row = matrices.rows_of(pa.array(users, pa.string()), known)
    is_stale_N = _differ(now.users_Nd, users_Kd, row)
    image_row = matrices.rows_of(pa.array(now.images, pa.string()), images)
    is_changed_I = _differ(now.images_Id, images_Kd, image_row)
    seen_NI, candidates = _filters(last.asked, users, now.images, now.tags, root)
    is_stale_N |= incremental_topk.changed_rows(now.seen_NI, seen_NI)
    if now.candidates and candidates:
        is_stale_N |= incremental_topk.changed_rows(now.candidates.interests, candidates.interests)
        is_changed_I |= incremental_topk.changed_rows(now.candidates.image_tags, candidates.image_tags)
    refs = [ref for made in last.recommendations for ref in (made.exported, made.reserve)]
    lists = _lists(refs, ("user_id", "image_id"), users, now.images, depth, root)
    return Before(lists, is_stale_N, is_changed_I)


def _differ(now_Nd: np.ndarray, before_Kd: np.ndarray, row_N: np.ndarray) -> np.ndarray:
    """bool (N,): rows without an earlier vector (-1), or with another one."""
    if now_Nd.shape[1] != before_Kd.shape[1] or not len(before_Kd):
        return np.ones(len(now_Nd), bool)
    return np.asarray((row_N < 0) | (now_Nd != before_Kd[np.maximum(row_N, 0)]).any(axis=1))


def _lists(refs: list[Ref], key: tuple[str, str], owners: Ids, images: Ids, k: int, root: Root) -> TopK:
    """The lists (N, k) that each owner had, by rank, of the rows that their images have now."""
    lists = pa.concat_tables([parquet.read(ref, root, [*key, "rank", "score"]) for ref in refs])
    row = matrices.rows_of(lists[key[0]], owners)
    here = row >= 0
    found = matrices.rows_of(lists[key[1]], images)[here]
    places = row[here], lists["rank"].to_numpy()[here] - 1
    listed = incremental_topk.empty(len(owners), k)
    listed.rows[places] = np.where(found < 0, incremental_topk.GONE, found)
    listed.scores[places] = lists["score"].to_numpy()[here]
    return listed


def _tags(root: Root, *asked: ListRequest) -> Ids:
    """All tags of interest and all that images carry; none where there is no filter."""
    refs = [ref for item in asked for ref in (item.interests, item.carried) if ref]
    return matrices.ids_of(*(parquet.read(ref, root, ["tag"])["tag"] for ref in refs)) if refs else np.empty(0, object)


def _filters(asked: ListRequest, users: Ids, images: Ids, tags: Ids, root: Root) -> tuple[csr_array, Candidates | None]:
    """What these users never get, and what they may get."""
    seen, candidates = parquet.read(asked.favorites, root), None
    if asked.interests and asked.carried:
        wanted, has = parquet.read(asked.interests, root), parquet.read(asked.carried, root)
        candidates = Candidates(
            matrices.incidence(wanted["user_id"], wanted["tag"], users, tags),
            matrices.incidence(has["image_id"], has["tag"], images, tags),
        )
    return matrices.incidence(seen["user_id"], seen["image_id"], users, images), candidates


def _representations(images_Id: np.ndarray, looks: Ref, root: Root) -> np.ndarray:
    """What images with these embeddings are like: float32 (I, f)."""
    told = {name: tensor.numpy() for name, tensor in checkpoints.load(root, looks.path).items()}
    return np.asarray(np.compress(told["tells"], images_Id - told["centre"], axis=1))
