"""A kept model of any system but CDL: the vectors of users and images that are new or changed, from what it knew."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_array, diags_array, hstack
from sklearn.preprocessing import normalize

from models.retrieval.fold_in import Maps, fold_images, fold_users, learn_maps
from models.sparse import changed_rows, commonest_columns
from storage import checkpoints, matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.data.community import TABLES, read_features, title_words
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.systems.model import Embeddings, Model, read_embeddings, write_embeddings
from tasks.systems.scoring import read_scorer

MAX_WORDS = 1024  # of tags, title words, uploaders, contacts and so on each, the commonest
LEAST_ROWS = 2  # a word of one image or user alone tells nothing of another
RARITY = 0.25  # how much less a word counts that many carry

Told = Iterable[tuple[str, pa.Table]]  # of each kind of word which image or user it tells of: columns id and word


@dataclass(frozen=True)
class SideInformation:
    """What is told of images and of users, beside favorites."""

    images: Ref
    image_tags: Ref
    users: Ref
    user_tags: Ref
    contacts: Ref
    memberships: Ref
    features: list[Ref]

    @classmethod
    def of(cls, table: dict[str, Ref], features: list[Ref]) -> "SideInformation":
        """What a community's tables tell, and features of its pictures."""
        return cls(features=features, **{name: table[name] for name in TABLES})


@stage
def learn_fold_in(model: Model, favorites: Ref, described: SideInformation, root: Root) -> Ref:
    """What a model taught of its vectors: maps from favorites and from what else is told, and the columns of that."""
    scorer = read_scorer(model, root)
    assert scorer.vectors, "a model without vectors is not kept"
    pairs = parquet.read(favorites, root)
    favorites_UI = matrices.incidence(pairs["user_id"], pairs["image_id"], scorer.users, scorer.images)
    of_images, of_users = list(_of_images(described, root)), list(_of_users(described, root))
    features_If = read_features(described.features, scorer.images, root)
    columns = _columns(of_images, scorer.images) | _columns(of_users, scorer.users)
    columns["features"] = 0 if features_If is None else int(features_If.shape[1])
    content_If = _content(of_images, features_If, scorer.images, columns)
    told_Uf = _told_of_users(of_users, scorer.users, columns)
    maps = learn_maps(favorites_UI, *scorer.vectors, content_If, told_Uf)
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in maps._asdict().items()}
    return checkpoints.store({"maps": tensors, "columns": columns}, "foldin", root)


@stage
def fold_in(
    learned: Ref,
    kept: Model,
    learned_from: Ref,
    then: SideInformation,
    now: SideInformation,
    favorites: Ref,
    root: Root,
) -> Model:
    """The kept model over tonight's users and images; what it knew keeps its vector, where its favorites are the same.

    Of a user without favorites all else that is told has to be the same.

    Args:
        learned_from: the favorites that the model learned from.
        then: what was told when it learned.
        now: what is told tonight.
        favorites: tonight's.
    """
    state = checkpoints.load(root, learned.path)
    maps = Maps(**{name: tensor.numpy() for name, tensor in state["maps"].items()})
    user_ids = matrices.ids_of(parquet.read(now.users, root, ["user_id"])["user_id"])
    image_ids = matrices.ids_of(parquet.read(now.images, root, ["image_id"])["image_id"])
    known, known_Kd = read_embeddings(kept.embeddings.images, root)
    then_users, users_Vd = read_embeddings([kept.embeddings.users], root)
    before_UI, now_UI = (
        matrices.incidence(pairs["user_id"], pairs["image_id"], user_ids, known)
        for pairs in (parquet.read(ref, root) for ref in (learned_from, favorites))
    )
    is_there_K = matrices.rows_of(pa.array(known, pa.string()), image_ids) >= 0
    before_UI = csr_array(before_UI @ diags_array(is_there_K.astype(np.float32)))  # to lose an image is no change
    row_U = matrices.rows_of(pa.array(user_ids, pa.string()), then_users)
    told_Uf, before_Uf = (_told_of_users(_of_users(told, root), user_ids, state["columns"]) for told in (now, then))
    is_told_anew_U = (np.diff(now_UI.indptr) == 0) & changed_rows(told_Uf, before_Uf)
    changed = np.flatnonzero((row_U < 0) | changed_rows(now_UI, before_UI) | is_told_anew_U)
    users_Ud = users_Vd[np.maximum(row_U, 0)]
    users_Ud[changed] = fold_users(maps, csr_array(now_UI[changed]), known_Kd, csr_array(told_Uf[changed]))

    new, vectors_Nd = _new_images(state["columns"], maps, kept, now, favorites, (user_ids, users_Ud), root)
    ledger.count("users embedded", len(changed))
    ledger.count("images embedded", len(new))
    shown = np.concatenate([known[is_there_K], new])
    vectors = np.concatenate([known_Kd[is_there_K], vectors_Nd])
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, user_ids, users_Ud, kept.label, root),
        [write_embeddings(IMAGE_EMBEDDINGS, shown, vectors, kept.label, root)],
    )
    return Model(kept.system, kept.label, now.users, now.images, embeddings, None)


def _new_images(
    columns: dict[str, Any],
    maps: Maps,
    kept: Model,
    described: SideInformation,
    favorites: Ref,
    users: tuple[Ids, np.ndarray],
    root: Root,
) -> tuple[Ids, np.ndarray]:
    """The images that the model never saw and of which anything is known, and their vectors."""
    then = matrices.ids_of(parquet.read(kept.images, root, ["image_id"])["image_id"])
    images = matrices.ids_of(parquet.read(described.images, root, ["image_id"])["image_id"])
    new = images[matrices.rows_of(pa.array(images, pa.string()), then) < 0]
    user_ids, users_Ud = users
    pairs = parquet.read(favorites, root)
    loved_NU = matrices.incidence(pairs["image_id"], pairs["user_id"], new, user_ids)
    features_Nf = read_features(described.features, new, root)
    content_Nf = _content(_of_images(described, root), features_Nf, new, columns)
    is_known_N = (np.diff(loved_NU.indptr) > 0) | (np.diff(content_Nf.indptr) > 0)
    rows = np.flatnonzero(is_known_N)
    return new[rows], fold_images(maps, csr_array(content_Nf[rows]), csr_array(loved_NU[rows]), users_Ud)


def _columns(told: Told, ids: Ids) -> dict[str, Any]:
    """What is told of them in: the commonest words of each kind, each with its weight."""
    columns = {}
    for kind, pairs in told:
        words = matrices.ids_of(pairs["word"])
        told_NW = matrices.incidence(pairs["id"], pairs["word"], ids, words)
        counts_W = np.bincount(told_NW.indices, minlength=len(words))
        chosen = commonest_columns(told_NW, MAX_WORDS, LEAST_ROWS)
        weights_C = counts_W[chosen] ** -RARITY
        energy = float((np.square(weights_C) * counts_W[chosen]).sum()) / max(1, len(ids))
        weights = torch.from_numpy(weights_C / np.sqrt(max(energy, 1e-12)))
        columns[kind] = {"words": words[chosen].tolist(), "weights": weights}
    return columns


def _told_of_users(told: Told, users: Ids, columns: dict[str, Any]) -> csr_array:
    """float64 (U, f): what is told of these users; each kind of unit length, however much of it there is."""
    parts = [part for part in _parts(told, users, columns) if part.shape[1]]
    empty = csr_array((len(users), 0))
    return csr_array(hstack([normalize(part) for part in parts], format="csr")) if parts else empty


def _content(told: Told, features_If: np.ndarray | None, images: Ids, columns: dict[str, Any]) -> csr_array:
    """float64 (I, f): what is told of these images, and what their features show."""
    parts = _parts(told, images, columns)
    if columns["features"]:
        parts.append(csr_array((len(images), columns["features"])) if features_If is None else csr_array(features_If))
    return csr_array(hstack(parts, format="csr"))


def _parts(told: Told, ids: Ids, columns: dict[str, Any]) -> list[csr_array]:
    """float64 (N, words), one a kind: which of the columns' words are told of these images or users."""
    parts = []
    for kind, pairs in told:
        words, weights = np.array(columns[kind]["words"], object), columns[kind]["weights"].numpy()
        told_NW = matrices.incidence(pairs["id"], pairs["word"], ids, words)
        parts.append(csr_array(told_NW.astype(np.float64) @ diags_array(weights)))
    return parts


def _of_images(described: SideInformation, root: Root) -> Iterator[tuple[str, pa.Table]]:
    images, tagged = parquet.read(described.images, root), parquet.read(described.image_tags, root)
    owned = images.filter(images["owner_id"].is_valid())
    yield "tags", _pairs(tagged["image_id"], tagged["tag"])
    yield "titles", _pairs(*title_words(images).columns)
    yield "owners", _pairs(owned["image_id"], _nameless(owned["owner_id"]))


def _of_users(described: SideInformation, root: Root) -> Iterator[tuple[str, pa.Table]]:
    tagged, member_of = parquet.read(described.user_tags, root), parquet.read(described.memberships, root)
    contacts = parquet.read(described.contacts, root)
    yield "own tags", _pairs(tagged["user_id"], tagged["tag"])
    yield "contacts", _pairs(contacts["user_id"], _nameless(contacts["contact_id"]))
    yield "followers", _pairs(contacts["contact_id"], _nameless(contacts["user_id"]))
    yield "groups", _pairs(member_of["user_id"], member_of["group_id"])


def _pairs(ids: pa.ChunkedArray, words: pa.ChunkedArray) -> pa.Table:
    return pa.table({"id": ids, "word": words})


def _nameless(users: pa.ChunkedArray) -> pa.ChunkedArray:
    """Digests of the ids: the columns are kept in a file that shall name nobody."""
    ids = matrices.ids_of(users)
    digests = [hashlib.blake2b(id_.encode(), digest_size=12).hexdigest() for id_ in ids]
    return pa.chunked_array([pa.array(digests, pa.string()).take(pa.array(matrices.rows_of(users, ids)))])
