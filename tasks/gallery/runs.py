"""One published run in memory, as the gallery shows it, and the runs of a root, of which the current one is followed.

U users, I images, d dimensions of a vector, N images of a bag.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval.fold_in import fold_users, learn_maps
from models.retrieval.projection import project
from models.retrieval.ranking import top_k_of_scores
from storage import matrices, parquet, snapshots
from storage.documents import DocumentError
from storage.images import PictureFiles
from storage.manifests import Manifest
from storage.matrices import Ids
from storage.roots import DamagedError, Root
from storage.snapshots import Pointer
from tasks.gallery.lists import Lists, lists_of
from tasks.gallery.once import once
from tasks.gallery.pictures import Pictures
from tasks.gallery.search import Index
from tasks.night.start import states_of
from tasks.systems.policy import allowed

LOOK_S: Final = 5.0  # how long the pointer, and that a run is still published, are believed
KEPT_RUNS: Final = 3  # in memory
MAX_CLUSTERS, CLUSTER_TOKENS = 60, 12
EXAMPLES: Final = 6  # pictures of a cluster
LISTED: Final = (("recommendations", "image_id"), ("similar_images", "similar_image_id"))

log = logging.getLogger("tastegraph")


class UnknownError(LookupError):
    """No such user, image or run; `nearest` are ids that are like it."""

    def __init__(self, what: str, wanted: str, where: str, nearest: Sequence[str] = ()):
        super().__init__(f"{what} {wanted!r} is not in {where}")
        self.nearest = list(nearest)


class UnableError(ValueError):
    """What this run cannot answer, and why."""


@dataclass(frozen=True)
class Listed:
    """An image of a list."""

    rank: int
    image_id: str
    score: float


@dataclass(frozen=True)
class Cluster:
    """A semantic cluster, the images that carry most of its tokens, and how many users care for it."""

    cluster: int
    size: int
    tokens: list[str]
    examples: list[str]


class Run:
    """What a published run exported, and what it knows of its users and images. Parts are read when first needed."""

    def __init__(self, manifest: Manifest, root: Root, source: Root | None):
        self.manifest, self.root = manifest, root
        self.pointer = Pointer.of(manifest)
        self.pictures = Pictures(PictureFiles(source, root) if source else None)
        self.lock = threading.RLock()
        self._mapping: Future[np.ndarray] | None = None

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.manifest.run_id

    def warm(self) -> None:
        """Read what most answers need, so that the first is as fast as the others."""
        _ = (
            self.recommendations,
            self.similar,
            self.liked,
            self.user_index,
            self.image_index,
            self.user_row,
            self.image_row,
        )

    # Users and images

    @once
    def user_ids(self) -> Ids:
        """All users of lists, embeddings and the community, sorted."""
        return self._ids("users", "user_id", ("recommendations", "user_embeddings"))

    @once
    def image_ids(self) -> Ids:
        """All images of lists, embeddings and the community, sorted."""
        listed = [self._export(name, [column])[column] for name, column in LISTED if self._has(name)]
        return self._ids("images", "image_id", ("image_embeddings", "similar_images"), listed)

    def user(self, user_id: str) -> int:
        """The user's row. Raises UnknownError."""
        return self._row(self.user_row, user_id, "user", self.user_index)

    def image(self, image_id: str) -> int:
        """The image's row. Raises UnknownError."""
        return self._row(self.image_row, image_id, "image", self.image_index)

    @once
    def user_row(self) -> dict[str, int]:
        """Each user's row."""
        return {id_: row for row, id_ in enumerate(self.user_ids.tolist())}

    @once
    def image_row(self) -> dict[str, int]:
        """Each image's row."""
        return {id_: row for row, id_ in enumerate(self.image_ids.tolist())}

    @once
    def user_index(self) -> Index:
        """Users by id and name."""
        return Index(self.user_ids.tolist(), self.names)

    @once
    def image_index(self) -> Index:
        """Images by id and title."""
        return Index(self.image_ids.tolist(), self.titles)

    def find(self, query: str, at_most: int) -> tuple[list[str], list[str]]:
        """Users and images that have the query in their id, name or title; where nothing has, those with near ids."""
        users, images = self.user_index.find(query, at_most), self.image_index.find(query, at_most)
        if users or images:
            return users, images
        return self.user_index.near(query), self.image_index.near(query)

    @once
    def names(self) -> list[str | None]:
        """Each user's name."""
        return self._texts("users", "user_id", "name", self.user_ids)

    @once
    def titles(self) -> list[str | None]:
        """Each image's title."""
        return self._texts("images", "image_id", "title", self.image_ids)

    @once
    def paths(self) -> list[str | None]:
        """Each image's path below the source."""
        return self._texts("images", "image_id", "path", self.image_ids)

    @once
    def tag_names(self) -> Ids:
        """All tags of images."""
        rows = self._input("image_tags")
        return np.empty(0, object) if rows is None else matrices.ids_of(rows["tag"])

    @once
    def tags(self) -> Lists:
        """Each image's tags."""
        return self._lists_of_input("image_tags", "image_id", "tag", self.image_ids, self.tag_names)

    def tags_of(self, image: int, at_most: int = 12) -> list[str]:
        """The image's tags in words."""
        return [str(self.tag_names[tag]) for tag in self.tags.of(image, at_most)[0]]

    # Lists

    @once
    def recommendations(self) -> Lists:
        """Each user's exported list."""
        return self._exported_lists("recommendations", "user_id", "image_id", self.user_ids)

    @once
    def similar(self) -> Lists:
        """Each image's exported list of similar ones."""
        return self._exported_lists("similar_images", "image_id", "similar_image_id", self.image_ids)

    @once
    def liked(self) -> Lists:
        """Each user's favorites, as the run ingested them."""
        return self._lists_of_input("favorites", "user_id", "image_id", self.user_ids, self.image_ids)

    @once
    def recommended_to(self) -> Lists:
        """For each image the users that it is recommended to, those first in whose lists it is higher."""
        return self.recommendations.turned(len(self.image_ids))

    @once
    def liked_by(self) -> Lists:
        """For each image the users who like it."""
        return self.liked.turned(len(self.image_ids))

    def listed(self, lists: Lists, owner: int, at_most: int | None = None) -> list[Listed]:
        """The images of an exported list."""
        items, scores = lists.of(owner, at_most)
        assert scores is not None
        ids = self.image_ids[items].tolist()
        return [
            Listed(rank + 1, image_id, score)
            for rank, (image_id, score) in enumerate(zip(ids, scores.tolist(), strict=True))
        ]

    def reasons(self, user_id: str) -> dict[int, list[tuple[str, float, str | None]]]:
        """By rank: the signals that add most to the score, each with what it adds and what stands behind it.

        Empty where the run exports no reasons.
        """
        if not self._has("reasons"):
            return {}
        files = snapshots.dataset(self.root, self.pointer, "reasons")
        rows = pl.scan_parquet(files, glob=False).filter(pl.col("user_id") == user_id).collect()
        found: dict[int, list[tuple[str, float, str | None]]] = {}
        for row in rows.sort("share", "signal", descending=[True, False]).iter_rows(named=True):
            found.setdefault(row["rank"], []).append((row["signal"], row["share"], row["because"]))
        return found

    # Vectors

    @once
    def image_vectors(self) -> np.ndarray:
        """float32: the exported embeddings of images, zeros for those without one. Raises UnableError without any."""
        return self._vectors("image_embeddings", "image_id", self.image_ids)

    @once
    def has_vector(self) -> np.ndarray:
        """bool: which images have an embedding."""
        return np.asarray(self.image_vectors.any(axis=1))

    @once
    def directions(self) -> np.ndarray:
        """float32: the embeddings of images, centred and of unit length; zeros for those without one."""
        has = self.has_vector
        centred_Id = np.where(has[:, None], self.image_vectors - self.image_vectors[has].mean(axis=0), 0)
        lengths_I1 = np.linalg.norm(centred_Id, axis=1, keepdims=True)
        return np.asarray(centred_Id / np.maximum(lengths_I1, 1e-12), np.float32)

    def closest(self, images: Iterable[int], among: Iterable[int]) -> list[int | None]:
        """For each image the one of `among` whose embedding is nearest by cosine; None where either has none."""
        try:
            directions = self.directions
        except UnableError:
            return [None for _ in images]
        has, these = self.has_vector, np.fromiter(images, np.int64)
        those = np.fromiter((image for image in among if has[image]), np.int64)
        if not len(those):
            return [None] * len(these)
        best = those[np.argmax(directions[these] @ directions[those].T, axis=1)].tolist()
        return [near if has[image] else None for image, near in zip(these.tolist(), best, strict=True)]

    def positions(self, *, wait: bool = False) -> np.ndarray | None:
        """float32 (images with an embedding, 2), from 0 to 1: the map. None while it is being computed.

        Computed at its first use, in a thread that nothing waits for unless `wait`. Raises UnableError without any.
        """
        vectors = self.image_vectors[self.has_vector]  # before a thread begins, which nobody would hear of an error
        with self.lock:
            if self._mapping is None:
                self._mapping = Future()
                threading.Thread(target=_compute, args=(self._mapping, project, vectors), daemon=True).start()
        return self._mapping.result() if wait or self._mapping.done() else None

    def for_newcomer(self, image_ids: Sequence[str], k: int) -> list[Listed]:
        """What a new user with these favorites would get: the model's own map from favorites to a vector (fold-in).

        Raises UnknownError for an unknown image, UnableError where the run exports no embeddings or none of these.
        """
        bag = sorted({self.image(image_id) for image_id in image_ids})
        usable = [image for image in bag if self.has_vector[image]]
        if not usable:
            raise UnableError(f"run {self.run_id} has no embedding of any of these images; choose others")
        bag_NI = _incidence(Lists(np.array([0, len(usable)]), np.array(usable, np.int32), None), len(self.image_ids))
        (vector_d,) = fold_users(self._maps, bag_NI, self.image_vectors, csr_array((1, 0)))
        scores_I = np.where(self._candidates, self.image_vectors @ vector_d, -np.inf)
        scores_I[bag] = -np.inf
        found = top_k_of_scores(scores_I[None], k, csr_array((1, len(scores_I))))
        best = zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True)
        return [Listed(rank + 1, self.image_ids[row], score) for rank, (row, score) in enumerate(best) if row >= 0]

    @once
    def _maps(self) -> Any:
        vectors_Ud = self._vectors("user_embeddings", "user_id", self.user_ids)
        favorites_UI = _incidence(self.liked, len(self.image_ids))
        favorites_UI.data[np.repeat(~vectors_Ud.any(axis=1), self.liked.lengths)] = 0  # users without a vector
        favorites_UI.eliminate_zeros()
        if not favorites_UI.nnz:
            raise UnableError(f"run {self.run_id} does not know its favorites, from which a newcomer's vector follows")
        no_content = csr_array((len(self.image_ids), 0)), csr_array((len(self.user_ids), 0))
        return learn_maps(favorites_UI, vectors_Ud, self.image_vectors, self.has_vector, *no_content)

    @once
    def _candidates(self) -> np.ndarray:
        """bool: images with an embedding that the run's policy lets be recommended to everybody."""
        states = states_of(self.manifest)
        request = None if isinstance(states, str) or states[1].lists is None else states[1].lists.request
        if request is not None and request.policy is not None:
            try:
                return np.asarray(self.has_vector & allowed(request.policy, self.image_ids, self.root))
            except FileNotFoundError as error:
                log.warning("run %s: its policy cannot be read (%s)", self.run_id, error)
        # The policy is not known any more, but no blocked image is in any list.
        is_listed = np.zeros(len(self.image_ids), bool)
        is_listed[self.recommendations.items_N] = is_listed[self.similar.items_N] = True
        return self.has_vector & is_listed

    # Clusters

    @once
    def clusters(self) -> list[Cluster]:
        """The largest clusters; none where the run's state does not say where they are."""
        states = states_of(self.manifest)
        if isinstance(states, str):
            return []
        try:
            rows = parquet.read(states[1].tested.tastes.clusters, self.root, ["cluster", "size", "tokens"])
        except FileNotFoundError:
            return []
        largest = pl.DataFrame(rows).sort("size", "cluster", descending=[True, False]).head(MAX_CLUSTERS)
        return [
            Cluster(row["cluster"], row["size"], row["tokens"][:CLUSTER_TOKENS], self._examples(row["tokens"]))
            for row in largest.iter_rows(named=True)
        ]

    @once
    def _images_of_tag(self) -> Lists:
        return self.tags.turned(len(self.tag_names))

    @once
    def _row_of_tag(self) -> dict[str, int]:
        return {tag: row for row, tag in enumerate(self.tag_names.tolist())}

    def _examples(self, tokens: Sequence[str]) -> list[str]:
        """Images that carry most of the tokens, of these those that most users like; where tokens are images, them."""
        tags = [self._row_of_tag[token] for token in tokens if token in self._row_of_tag]
        if not tags:
            return [token for token in tokens if token in self.image_row][:EXAMPLES]
        images, counts = np.unique(np.concatenate([self._images_of_tag.of(tag)[0] for tag in tags]), return_counts=True)
        likes = self.liked_by.lengths[images]
        return [str(id_) for id_ in self.image_ids[images[np.lexsort((images, -likes, -counts))[:EXAMPLES]]]]

    # Reading

    def _row(self, rows: dict[str, int], wanted: str, what: str, index: Index) -> int:
        if wanted not in rows:
            raise UnknownError(what, wanted, f"run {self.run_id}", index.near(wanted))
        return rows[wanted]

    def _has(self, name: str) -> bool:
        return bool(self.manifest.rows.get(name))

    def _export(self, name: str, columns: Sequence[str]) -> pa.Table:
        refs = [file.ref for file in self.manifest.table_files(name)]
        return pa.concat_tables([parquet.read(ref, self.root, columns) for ref in refs])

    def _input(self, name: str) -> pa.Table | None:
        """A table of the community as ingested; None where the run does not know it, or not any more."""
        ref = self.manifest.inputs.get(name)
        try:
            return None if ref is None else parquet.read(ref, self.root)
        except FileNotFoundError as error:
            log.warning("run %s: shown without the community's %s (%s)", self.run_id, name, error)
            return None

    def _ids(self, table: str, key: str, exports: Sequence[str], more: Iterable[pa.ChunkedArray] = ()) -> Ids:
        columns = [self._export(name, [key])[key] for name in exports if self._has(name)]
        known = self._input(table)
        columns += [*more, *([] if known is None else [known[key]])]
        return matrices.ids_of(*columns) if columns else np.empty(0, object)

    def _texts(self, table: str, key: str, column: str, ids: Ids) -> list[str | None]:
        rows = self._input(table)
        if rows is None:
            return [None] * len(ids)
        texts: list[str | None] = [None] * len(ids)
        for row, text in zip(matrices.rows_of(rows[key], ids).tolist(), rows[column].to_pylist(), strict=True):
            texts[row] = text
        return texts

    def _exported_lists(self, name: str, owner: str, item: str, owners: Ids) -> Lists:
        if not self._has(name):
            return Lists(np.zeros(len(owners) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        rows = self._export(name, [owner, item, "rank", "score"])
        return lists_of(rows[owner], rows[item], owners, self.image_ids, rows["rank"], rows["score"])

    def _lists_of_input(self, name: str, owner: str, item: str, owners: Ids, items: Ids) -> Lists:
        rows = self._input(name)
        if rows is None:
            return Lists(np.zeros(len(owners) + 1, np.int64), np.empty(0, np.int32), None)
        return lists_of(rows[owner], rows[item], owners, items)

    def _vectors(self, name: str, key: str, ids: Ids) -> np.ndarray:
        if not self._has(name):
            raise UnableError(f"run {self.run_id} exports no {name}: {self.manifest.system} scores otherwise")
        rows = self._export(name, [key, "embedding"])
        found = matrices.vectors_of(rows["embedding"])
        vectors = np.zeros((len(ids), found.shape[1]), np.float32)
        vectors[matrices.rows_of(rows[key], ids)] = found
        return vectors


def _compute(result: "Future[np.ndarray]", function: Callable[[np.ndarray], np.ndarray], vectors: np.ndarray) -> None:
    try:
        result.set_result(function(vectors))
    except BaseException as error:
        result.set_exception(error)


def _incidence(lists: Lists, num_items: int) -> csr_array:
    shape = (len(lists.lengths), num_items)
    return csr_array((np.ones(len(lists.items_N), np.float32), lists.items_N, lists.starts_O), shape=shape)


class Runs:
    """The published runs of a root. Nothing is written; the pointer is looked at every few seconds.

    Args:
        chosen: the run that is shown where none is named; None: the current one, whichever that is.
        source: where pictures are read, instead of where each run's manifest says.
    """

    def __init__(self, root: Root, chosen: str | None = None, source: str | None = None):
        self.root, self.chosen, self.source = root, chosen, source
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._warm: WeakSet[Run] = WeakSet()
        self._looked_at, self._current = -LOOK_S, ""
        self._lock = threading.RLock()

    def run(self, run_id: str | None = None) -> Run:
        """A published run, by default the chosen or the current one. Raises UnknownError, UnableError without any."""
        with self._lock:
            self._look_if_due()
            wanted = run_id or self.chosen or self._current
            if not wanted:
                raise UnableError(f"{self.root.address}: nothing is published below this root")
            if wanted not in self._runs:
                self._runs[wanted] = self._open(wanted)
                while len(self._runs) > KEPT_RUNS:
                    self._runs.popitem(last=False)
            self._runs.move_to_end(wanted)
            return self._runs[wanted]

    def warm(self, run_id: str | None = None) -> Run:
        """As `run`, and what most answers need of it is read."""
        found = self.run(run_id)
        found.warm()
        with self._lock:
            self._warm.add(found)
        return found

    def at_hand(self, run_id: str | None = None) -> Run | None:
        """As `warm` where nothing must be read or waited for; else None."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            found = self._runs.get(run_id or self.chosen or self._current)
            return found if not self._is_due and found in self._warm else None
        finally:
            self._lock.release()

    @property
    def current_id(self) -> str:
        """The current run's id; empty where there is none."""
        with self._lock:
            self._look_if_due()
            return self._current

    def reopen(self) -> None:
        """Let go of all runs, and look at the pointer again: a file of one was gone."""
        with self._lock:
            self._runs.clear()
            self._looked_at = -LOOK_S

    def manifests(self) -> list[Manifest]:
        """Of all published runs, the newest first."""
        return snapshots.runs(self.root, skip_damaged=True)

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._looked_at >= LOOK_S

    def _look_if_due(self) -> None:
        if not self._is_due:
            return
        self._current = snapshots.current_id(self.root) or ""
        for run_id in list(self._runs):  # a run that was deleted, or that somebody was forgotten from, is not shown on
            if not self.root.exists(f"{snapshots.folder(run_id)}/manifest.json"):
                del self._runs[run_id]
        self._looked_at = time.monotonic()

    def _open(self, run_id: str) -> Run:
        try:
            manifest = snapshots.manifest(self.root, run_id)
        except (FileNotFoundError, ValueError) as error:
            if isinstance(error, DocumentError | DamagedError):
                raise
            known = [found.run_id for found in self.manifests()]
            raise UnknownError("run", run_id, self.root.address, known[:5]) from error
        return Run(manifest, self.root, self._source_of(manifest))

    def _source_of(self, manifest: Manifest) -> Root | None:
        try:
            return Root(self.source or manifest.source)
        except ValueError:
            return None
