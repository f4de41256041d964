"""A kept model of any system but CDL, over the current users and images: only new and changed ones get new vectors.

U current users, V users of the kept model, I images, K images of the kept model, N new images, W words, C of them that
are columns, f columns of side information, d dimensions of a vector.
"""

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
from tasks.data.community import read_features, title_words
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.systems.model import Embeddings, Model, read_embeddings, write_embeddings
from tasks.systems.scoring import read_scorer

MAX_WORDS = 1024  # the commonest of each field: tags, title words, uploaders, contacts and so on
LEAST_ROWS = 2  # a word of a single image or user relates it to no other
RARITY = 0.25  # a word counts less the more images or users have it: to the power of this

Fields = Iterable[tuple[str, pa.Table]]  # name of a field, and its words: columns id (of an image or a user), word
Vocabulary = dict[str, Any]  # of each field its words and their weights; `features`: the length of a feature


SIDE_TABLES = ("images", "image_tags", "users", "user_tags", "contacts", "memberships")


@dataclass(frozen=True)
class SideInformation:
    """The tables that describe images and users, besides favorites."""

    images: Ref
    image_tags: Ref
    users: Ref
    user_tags: Ref
    contacts: Ref
    memberships: Ref
    features: list[Ref]

    @classmethod
    def of(cls, table: dict[str, Ref], features: list[Ref]) -> "SideInformation":
        """These tables of a community, and the features of its pictures."""
        return cls(features=features, **{name: table[name] for name in SIDE_TABLES})


@stage
def learn_fold_in(model: Model, favorites: Ref, side_information: SideInformation, root: Root) -> Ref:
    """The vocabulary of each side-information field; ridge maps from favorites and side information to embeddings."""
    scorer = read_scorer(model, root)
    assert scorer.vectors, "a model without vectors is not kept"
    pairs = parquet.read(favorites, root)
    favorites_UI = matrices.incidence(pairs["user_id"], pairs["image_id"], scorer.users, scorer.images)
    image_fields, user_fields = list(_image_fields(side_information, root)), list(_user_fields(side_information, root))
    features_If = read_features(side_information.features, scorer.images, root)
    vocabulary = _vocabulary(image_fields, scorer.images) | _vocabulary(user_fields, scorer.users)
    vocabulary["features"] = 0 if features_If is None else int(features_If.shape[1])
    content_If = _content(image_fields, features_If, scorer.images, vocabulary)
    side_information_Uf = _side_information(user_fields, scorer.users, vocabulary)
    maps = learn_maps(favorites_UI, *scorer.vectors, content_If, side_information_Uf)
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in maps._asdict().items()}
    return checkpoints.store({"maps": tensors, "vocabulary": vocabulary}, "foldin", root)


@stage
def fold_in(
    learned: Ref,
    kept: Model,
    favorites_before: Ref,
    before: SideInformation,
    now: SideInformation,
    favorites: Ref,
    root: Root,
) -> Model:
    """The kept model over the current users and images.

    A known image keeps its vector. A known user keeps it while their favorites stay the same; a user without favorites,
    while all their side information stays the same.

    Args:
        learned: of `learn_fold_in`.
        favorites_before: the favorites that the model learned from.
        before: the side information at that time.
        now: the current side information.
        favorites: the current favorites to learn from.
    """
    state = checkpoints.load(learned, root)
    vocabulary, maps = state["vocabulary"], Maps(**{name: tensor.numpy() for name, tensor in state["maps"].items()})
    user_ids = matrices.ids_of(parquet.read(now.users, root, ["user_id"])["user_id"])
    image_ids = matrices.ids_of(parquet.read(now.images, root, ["image_id"])["image_id"])
    images_before, images_Kd = read_embeddings(kept.embeddings.images, root)
    users_before, users_Vd = read_embeddings([kept.embeddings.users], root)
    before_UK, now_UK = (
        matrices.incidence(pairs["user_id"], pairs["image_id"], user_ids, images_before)
        for pairs in (parquet.read(ref, root) for ref in (favorites_before, favorites))
    )
    exists_K = matrices.rows_of(pa.array(images_before, pa.string()), image_ids) >= 0
    before_UK = csr_array(before_UK @ diags_array(exists_K.astype(np.float32)))  # an image that is gone changes no user
    row_U = matrices.rows_of(pa.array(user_ids, pa.string()), users_before)
    now_Uf, before_Uf = (
        _side_information(_user_fields(tables, root), user_ids, vocabulary) for tables in (now, before)
    )
    is_cold_and_changed_U = (np.diff(now_UK.indptr) == 0) & changed_rows(now_Uf, before_Uf)
    changed = np.flatnonzero((row_U < 0) | changed_rows(now_UK, before_UK) | is_cold_and_changed_U)
    users_Ud = users_Vd[np.maximum(row_U, 0)]
    users_Ud[changed] = fold_users(maps, csr_array(now_UK[changed]), images_Kd, csr_array(now_Uf[changed]))

    new, vectors_Nd = _new_images(vocabulary, maps, kept, now, favorites, (user_ids, users_Ud), root)
    ledger.count("users embedded", len(changed))
    ledger.count("images embedded", len(new))
    usable_ids = np.concatenate([images_before[exists_K], new])
    vectors = np.concatenate([images_Kd[exists_K], vectors_Nd])
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, user_ids, users_Ud, kept.label, root),
        [write_embeddings(IMAGE_EMBEDDINGS, usable_ids, vectors, kept.label, root)],
    )
    return Model(kept.system, kept.label, now.users, now.images, embeddings, None)


def _new_images(
    vocabulary: Vocabulary,
    maps: Maps,
    kept: Model,
    side_information: SideInformation,
    favorites: Ref,
    users: tuple[Ids, np.ndarray],
    root: Root,
) -> tuple[Ids, np.ndarray]:
    """The images that are new to the model and have favorites or side information; and their vectors."""
    images_before = matrices.ids_of(parquet.read(kept.images, root, ["image_id"])["image_id"])
    images = matrices.ids_of(parquet.read(side_information.images, root, ["image_id"])["image_id"])
    new = images[matrices.rows_of(pa.array(images, pa.string()), images_before) < 0]
    user_ids, users_Ud = users
    pairs = parquet.read(favorites, root)
    favorites_NU = matrices.incidence(pairs["image_id"], pairs["user_id"], new, user_ids)
    features_Nf = read_features(side_information.features, new, root)
    content_Nf = _content(_image_fields(side_information, root), features_Nf, new, vocabulary)
    has_input_N = (np.diff(favorites_NU.indptr) > 0) | (np.diff(content_Nf.indptr) > 0)
    rows = np.flatnonzero(has_input_N)
    return new[rows], fold_images(maps, csr_array(content_Nf[rows]), csr_array(favorites_NU[rows]), users_Ud)


def _vocabulary(fields: Fields, ids: Ids) -> Vocabulary:
    """The commonest words of each field, each with its weight; a field has a mean square of 1 over `ids`."""
    vocabulary = {}
    for field, pairs in fields:
        words = matrices.ids_of(pairs["word"])
        has_word_NW = matrices.incidence(pairs["id"], pairs["word"], ids, words)
        counts_W = np.bincount(has_word_NW.indices, minlength=len(words))
        chosen = commonest_columns(has_word_NW, MAX_WORDS, LEAST_ROWS)
        weights_C = counts_W[chosen] ** -RARITY
        energy = float((np.square(weights_C) * counts_W[chosen]).sum()) / max(1, len(ids))
        weights = torch.from_numpy(weights_C / np.sqrt(max(energy, 1e-12)))
        vocabulary[field] = {"words": words[chosen].tolist(), "weights": weights}
    return vocabulary


def _side_information(fields: Fields, users: Ids, vocabulary: Vocabulary) -> csr_array:
    """float64 (U, f): the side information of these users; each field of unit length, however many words it has."""
    parts = [part for part in _parts(fields, users, vocabulary) if part.shape[1]]
    empty = csr_array((len(users), 0))
    return csr_array(hstack([normalize(part) for part in parts], format="csr")) if parts else empty


def _content(fields: Fields, features_If: np.ndarray | None, images: Ids, vocabulary: Vocabulary) -> csr_array:
    """float64 (I, f): the side information of these images, and their features."""
    parts = _parts(fields, images, vocabulary)
    if vocabulary["features"]:
        parts.append(
            csr_array((len(images), vocabulary["features"])) if features_If is None else csr_array(features_If)
        )
    return csr_array(hstack(parts, format="csr"))


def _parts(fields: Fields, ids: Ids, vocabulary: Vocabulary) -> list[csr_array]:
    """float64 (rows of ids, C), one for each field: the weights of the vocabulary's words that a row has."""
    parts = []
    for field, pairs in fields:
        words, weights = np.array(vocabulary[field]["words"], object), vocabulary[field]["weights"].numpy()
        has_word_NW = matrices.incidence(pairs["id"], pairs["word"], ids, words)
        parts.append(csr_array(has_word_NW.astype(np.float64) @ diags_array(weights)))
    return parts


def _image_fields(side_information: SideInformation, root: Root) -> Iterator[tuple[str, pa.Table]]:
    images, tagged = parquet.read(side_information.images, root), parquet.read(side_information.image_tags, root)
    owned = images.filter(images["owner_id"].is_valid())
    yield "tags", _pairs(tagged["image_id"], tagged["tag"])
    yield "titles", _pairs(*title_words(images).columns)
    yield "owners", _pairs(owned["image_id"], _anonymous(owned["owner_id"]))


def _user_fields(side_information: SideInformation, root: Root) -> Iterator[tuple[str, pa.Table]]:
    tagged, member_of = parquet.read(side_information.user_tags, root), parquet.read(side_information.memberships, root)
    contacts = parquet.read(side_information.contacts, root)
    yield "own tags", _pairs(tagged["user_id"], tagged["tag"])
    yield "contacts", _pairs(contacts["user_id"], _anonymous(contacts["contact_id"]))
    yield "followers", _pairs(contacts["contact_id"], _anonymous(contacts["user_id"]))
    yield "groups", _pairs(member_of["user_id"], member_of["group_id"])


def _pairs(ids: pa.ChunkedArray, words: pa.ChunkedArray) -> pa.Table:
    return pa.table({"id": ids, "word": words})


def _anonymous(users: pa.ChunkedArray) -> pa.ChunkedArray:
    """Digests of the ids: the vocabulary is kept in a file, and no such file may name a user."""
    ids = matrices.ids_of(users)
    digests = [hashlib.blake2b(id_.encode(), digest_size=12).hexdigest() for id_ in ids]
    return pa.chunked_array([pa.array(digests, pa.string()).take(pa.array(matrices.rows_of(users, ids)))])
