"""A published run in Python: `read` its lists, embeddings and figures; `nightly` and `compare` make new ones.

    import tastegraph

    export = tastegraph.read("tastegraph-data")
    export.recommend("u000004", k=5)

Tables come as Polars data frames, vectors as numpy arrays. A root is a local folder or an `s3://` address.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from storage import snapshots
from storage.near_ids import UnknownIdError
from storage.roots import Root
from storage.snapshots import Pointer

__all__ = ["Comparison", "Embeddings", "Export", "UnknownIdError", "compare", "nightly", "read"]


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a run: `users[i] @ images[j]` is the score of `image_ids[j]` for `user_ids[i]`."""

    user_ids: list[str]  # sorted
    users: np.ndarray  # float32 (users, dimensions)
    image_ids: list[str]  # sorted
    images: np.ndarray  # float32 (images, dimensions)


@dataclass(frozen=True)
class Comparison:
    """Systems measured on one split."""

    folder: str  # where its tables and its page lie, below the root
    results: pl.DataFrame  # system, protocol, slice, metric, k, seed, value, low, high, users, fit_s, score_s
    tests: pl.DataFrame  # each system against the best of the others: difference, its interval, p_value, p_holm
    failed: dict[str, str]  # systems that raised an error, and which


@dataclass(frozen=True)
class Export:
    """A published run. It never changes; each call reads what it needs, from S3 once."""

    root: Root
    pointer: Pointer

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.pointer.run_id

    @property
    def is_current(self) -> bool:
        """Whether the root's pointer names this run now."""
        return snapshots.current_id(self.root) == self.run_id

    @cached_property
    def users(self) -> pl.Series:
        """The ids of the users that have a list or an embedding, sorted."""
        return self._ids(("recommendations", "user_id"), ("user_embeddings", "user_id")).rename("user_id")

    @cached_property
    def images(self) -> pl.Series:
        """The ids of the images that have an embedding or similar images, or that are recommended, sorted."""
        return self._ids(
            ("image_embeddings", "image_id"), ("similar_images", "image_id"), ("recommendations", "image_id")
        ).rename("image_id")

    @property
    def metrics(self) -> pl.DataFrame:
        """The run's figures beside popularity and chance: docs/tables.md says what each column of `metrics` holds."""
        return pl.DataFrame(self.pointer.metrics, infer_schema_length=None)

    def table(self, name: str) -> pl.LazyFrame:
        """A table of the run, to be filtered and collected. Raises ValueError for one that it does not have."""
        return pl.scan_parquet(snapshots.dataset(self.root, self.pointer, name), glob=False)

    def recommend(self, users: str | Iterable[str], k: int = 20) -> pl.DataFrame:
        """The first `k` images for a user or for each of several: user_id, rank, image_id, score, model.

        Lists are as long as `recommend.num_recommendations` made them. Raises UnknownIdError.
        """
        wanted = [users] if isinstance(users, str) else list(users)
        return self._lists("recommendations", "user_id", wanted, k)

    def similar(self, images: str | Iterable[str], k: int = 20) -> pl.DataFrame:
        """The `k` images most like an image or each of several: image_id, rank, similar_image_id, score.

        Lists are as long as `recommend.num_similar` made them. Raises UnknownIdError, and ValueError where the run's
        system has no embeddings of images.
        """
        wanted = [images] if isinstance(images, str) else list(images)
        if not self.pointer.rows.get("similar_images"):
            raise ValueError(f"run {self.run_id} exports no similar_images: its system has none")
        return self._lists("similar_images", "image_id", wanted, k)

    def explain(self, user: str, image: str) -> pl.DataFrame:
        """What adds to the score of a recommendation: signal, share, because; the largest share first.

        Shares sum to the score; docs/tables.md says what `because` holds. Raises UnknownIdError, and ValueError where
        the run has no reasons, or none for this image: only the first `recommend.num_explained` places have them.
        """
        self._check("user", [user], self.users)
        self._check("image", [image], self.images)
        if not self.pointer.rows.get("reasons"):
            raise ValueError(
                f"run {self.run_id} exports no reasons: its system is no sum over signals, or recommend.num_explained "
                f"was 0, or it was published before there were any"
            )
        is_row = (pl.col("user_id") == user) & (pl.col("image_id") == image)
        rows = self.table("reasons").filter(is_row).collect()
        if rows.is_empty():
            places = self.table("reasons").select(pl.col("rank").max()).collect().item()
            raise ValueError(
                f"run {self.run_id} has no reasons for {image!r}: it is not among the first {places} images of the "
                f"list of {user!r}"
            )
        return rows.sort("share", descending=True)

    def embeddings(self) -> Embeddings:
        """The vectors of all users and images, whose inner product is the score.

        Raises ValueError where the run's system has none: its score is no inner product.
        """
        if not self.pointer.rows.get("user_embeddings") or not self.pointer.rows.get("image_embeddings"):
            raise ValueError(f"run {self.run_id} exports no embeddings: the score of its system is no inner product")
        return Embeddings(*self._vectors("user_embeddings", "user_id"), *self._vectors("image_embeddings", "image_id"))

    def _vectors(self, table: str, key: str) -> tuple[list[str], np.ndarray]:
        rows = self.table(table).select(key, "embedding").collect()
        return rows[key].to_list(), rows["embedding"].to_numpy()

    def _lists(self, table: str, key: str, wanted: list[str], k: int) -> pl.DataFrame:
        self._check(key.removesuffix("_id"), wanted, self.users if key == "user_id" else self.images)
        return self.table(table).filter(pl.col(key).is_in(wanted) & (pl.col("rank") <= k)).sort(key, "rank").collect()

    def _check(self, what: str, wanted: list[str], known: pl.Series) -> None:
        if unknown := sorted(set(wanted) - set(known.filter(known.is_in(wanted)))):
            raise UnknownIdError(what, unknown[0], f"run {self.run_id}", known.to_list())

    def _ids(self, *columns: tuple[str, str]) -> pl.Series:
        found = [self.table(name).select(pl.col(key).alias("id")) for name, key in columns if name in self.pointer.rows]
        return pl.concat(found).unique().sort("id").collect()["id"]


def read(root: str | Path, run: str | None = None) -> Export:
    """The run that is current below a root, or the one named.

    Raises FileNotFoundError where none is published, or not this one.
    """
    place = Root(str(root))
    pointer = Pointer.of(snapshots.manifest(place, run)) if run else snapshots.current(place)
    if pointer is None:
        raise FileNotFoundError(f"{place.address}: nothing is published here; `tastegraph nightly` publishes a run")
    return Export(place, pointer)


def nightly(source: str | Path, root: str | Path, settings: Mapping[str, Any] | None = None) -> Export:
    """The run of `tastegraph nightly`, which takes minutes; it may be an earlier one where nothing has changed.

    Where the gate held it back it is not current, and `read(root)` gives the earlier one.

    Args:
        source: a source directory, or `demo`.
        settings: by name, such as {"model.system": "ease"}; docs/settings.md has all.
    Raises:
        RuntimeError: the night was refused or failed; the message is the command's.
    """
    answer = _command("nightly", source, root, settings)
    return read(root, answer["run_id"])


def compare(
    source: str | Path,
    root: str | Path,
    systems: Iterable[str] = ("all",),
    *,
    protocol: str = "full",
    seeds: int = 1,
    budget: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """The systems measured on one split of a source, as `tastegraph compare` does; minutes to hours.

    Args:
        systems: names of docs/systems.md, or `all`.
        protocol, seeds, budget: as the command's options.
        settings: by name, such as {"splits.seed": 1}; docs/settings.md has all.
    Raises:
        RuntimeError: the comparison was refused or failed; the message is the command's.
    """
    options = ["--systems", ",".join(systems), "--protocol", protocol, "--seeds", str(seeds), "--budget", str(budget)]
    found = _command("compare", source, root, settings, *options)
    results, tests = (pl.DataFrame(found[name], infer_schema_length=None) for name in ("results", "comparisons"))
    return Comparison(found["folder"], results, tests, found["failed"])


def _command(
    name: str, source: str | Path, root: str | Path, settings: Mapping[str, Any] | None, *options: str
) -> dict[str, Any]:
    """What a command answers, in a process of its own: Prefect's settings and signal handlers stay out of this one."""
    said = [f"--set={key}={json.dumps(value)}" for key, value in (settings or {}).items()]
    words = [name, "--source", str(source), "--root", str(root), "--json", *options, *said]
    code = "from flows.cli import main; main()"
    env = {**os.environ, "TASTEGRAPH_LOG": "text"}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code, *words], check=False, env=env, capture_output=True, text=True
    )
    if not ended.stdout.strip():  # a comparison of which a system failed, or a night that was held, answers too
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise RuntimeError(f"tastegraph {name}: {lines[-1].removeprefix('tastegraph: ')}")
    return dict(json.loads(ended.stdout))
