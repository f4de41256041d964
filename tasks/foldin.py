"""A kept model of any system but CDL: the vectors of users and images that are new or changed, from what it knew."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_array, diags_array, hstack

from models import delta, foldin
from models.experts.base import commonest
from models.foldin import Maps
from storage import checkpoints, matrices, parquet, tables
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks import ledger
from tasks.caching import stage
from tasks.community import read_features, title_words
from tasks.scoring import Embeddings, Model, read_embeddings, read_scorer, write_embeddings

MAX_WORDS = 1024  # of tags, title words and uploaders each, the commonest
LEAST_IMAGES = 2  # a word of one image alone tells nothing of another
RARITY = 0.25  # how much less a word counts that many images carry


@dataclass(frozen=True)
class Described:
    """What is told of images."""

    images: Ref
    image_tags: Ref
    features: list[Ref]

    @classmethod
    def of(cls, table: dict[str, Ref], features: list[Ref]) -> "Described":
        """What a community's tables tell, and features of its pictures."""
        return cls(table["images"], table["image_tags"], features)


@stage
def learn_fold_in(model: Model, favorites: Ref, described: Described, root: Root) -> Ref:
    """What a model taught of its vectors: maps from favorites and from content, and the columns of content."""
    scorer = read_scorer(model, root)
    assert scorer.vectors, "a model without vectors is not kept"
    pairs = parquet.read(favorites, root)
    favorites_UI = matrices.incidence(pairs["user_id"], pairs["image_id"], scorer.users, scorer.images)
    columns = _columns(described, scorer.images, root)
    maps = foldin.learn(favorites_UI, *scorer.vectors, _content(described, scorer.images, columns, root))
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in maps._asdict().items()}
    return checkpoints.store({"maps": tensors, "columns": columns}, "foldin", root)


@stage
def fold_in(
    learned: Ref,
    kept: Model,
    learned_from: Ref,
    users: Ref,
    described: Described,
    favorites: Ref,
    root: Root,
) -> Model:
    """The kept model over tonight's users and images; what it knew keeps its vector, where its favorites are the same.

    Args:
        learned_from: the favorites that the model learned from.
        favorites: tonight's.
    """
    state = checkpoints.load(root, learned.path)
    maps = Maps(**{name: tensor.numpy() for name, tensor in state["maps"].items()})
    user_ids = matrices.ids_of(parquet.read(users, root, ["user_id"])["user_id"])
    image_ids = matrices.ids_of(parquet.read(described.images, root, ["image_id"])["image_id"])
    known, known_Kd = read_embeddings(kept.embeddings.images, root)
    then_users, users_Vd = read_embeddings([kept.embeddings.users], root)
    before_UI, now_UI = (
        matrices.incidence(pairs["user_id"], pairs["image_id"], user_ids, known)
        for pairs in (parquet.read(ref, root) for ref in (learned_from, favorites))
    )
    is_there_K = matrices.rows_of(pa.array(known, pa.string()), image_ids) >= 0
    before_UI = csr_array(before_UI @ diags_array(is_there_K.astype(np.float32)))  # to lose an image is no change
    row_U = matrices.rows_of(pa.array(user_ids, pa.string()), then_users)
    changed = np.flatnonzero((row_U < 0) | delta.changed_rows(now_UI, before_UI))
    users_Ud = users_Vd[np.maximum(row_U, 0)]
    users_Ud[changed] = foldin.fold_users(maps, csr_array(now_UI[changed]), known_Kd)

    new, vectors_Nd = _new_images(state["columns"], maps, kept, described, favorites, (user_ids, users_Ud), root)
    ledger.count("users embedded", len(changed))
    ledger.count("images embedded", len(new))
    shown = np.concatenate([known[is_there_K], new])
    vectors = np.concatenate([known_Kd[is_there_K], vectors_Nd])
    embeddings = Embeddings(
        write_embeddings(tables.USER_EMBEDDINGS, user_ids, users_Ud, kept.label, root),
        [write_embeddings(tables.IMAGE_EMBEDDINGS, shown, vectors, kept.label, root)],
    )
    return Model(kept.system, kept.label, users, described.images, embeddings, None)


def _new_images(
    columns: dict[str, Any],
    maps: Maps,
    kept: Model,
    described: Described,
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
    content_Nf = _content(described, new, columns, root)
    is_known_N = (np.diff(loved_NU.indptr) > 0) | (np.diff(content_Nf.indptr) > 0)
    rows = np.flatnonzero(is_known_N)
    return new[rows], foldin.fold_images(maps, csr_array(content_Nf[rows]), csr_array(loved_NU[rows]), users_Ud)


def _columns(described: Described, images: Ids, root: Root) -> dict[str, Any]:
    """What content is told in: the commonest words of each kind with their weights, and how much features count."""
    columns: dict[str, Any] = {}
    for kind, pairs in _words(described, root):
        words = matrices.ids_of(pairs["word"])
        told_IW = matrices.incidence(pairs["image_id"], pairs["word"], images, words)
        counts_W = np.bincount(told_IW.indices, minlength=len(words))
        chosen = commonest(told_IW, MAX_WORDS, LEAST_IMAGES)
        weights_C = counts_W[chosen] ** -RARITY
        energy = float((np.square(weights_C) * counts_W[chosen]).sum()) / max(1, len(images))
        weights = torch.from_numpy(weights_C / np.sqrt(max(energy, 1e-12)))
        columns[kind] = {"words": words[chosen].tolist(), "weights": weights}
    features_If = read_features(described.features, images, root)
    columns["features"] = 0 if features_If is None else int(features_If.shape[1])
    return columns


def _content(described: Described, images: Ids, columns: dict[str, Any], root: Root) -> csr_array:
    """float64 (I, f): what is told of these images, in these columns."""
    parts = []
    for kind, pairs in _words(described, root):
        words, weights = np.array(columns[kind]["words"], object), columns[kind]["weights"].numpy()
        told_IW = matrices.incidence(pairs["image_id"], pairs["word"], images, words)
        parts.append(csr_array(told_IW.astype(np.float64) @ diags_array(weights)))
    if columns["features"]:
        features_If = read_features(described.features, images, root)
        parts.append(csr_array((len(images), columns["features"])) if features_If is None else csr_array(features_If))
    return csr_array(hstack(parts, format="csr"))


def _words(described: Described, root: Root) -> Iterator[tuple[str, pa.Table]]:
    """Of each kind of word which image it tells of: columns image_id and word."""
    images, tagged = parquet.read(described.images, root), parquet.read(described.image_tags, root)
    owned = images.filter(images["owner_id"].is_valid())
    yield "tags", pa.table({"image_id": tagged["image_id"], "word": tagged["tag"]})
    yield "titles", title_words(images)
    # By a digest: the columns are kept in a file that shall name nobody.
    owners = [hashlib.blake2b(name.encode(), digest_size=12).hexdigest() for name in owned["owner_id"].to_pylist()]
    yield "owners", pa.table({"image_id": owned["image_id"], "word": pa.array(owners, pa.string())})
