"""Why the first places of each list are there: the share of each signal, and what stands behind it.

N places, U users of a block, I images, d dimensions, S signals.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array, diags_array

from models.ensemble import reasons
from models.sparse import degrees
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.reasons import REASONS
from tasks.runtime.caching import stage
from tasks.systems.model import Fitted, Model, read_embeddings
from tasks.systems.restore import restore

SAME = 0.01  # how far, relatively, a user's vector may be from the sum of its parts, which are kept at half precision


@dataclass(frozen=True)
class Evidence:
    """The state that knows each signal's part, the users that it was fitted on, and what stands behind the signals."""

    fitted: Fitted
    users: Ref
    favorites: Ref
    user_tags: Ref
    image_tags: Ref
    contacts: Ref
    memberships: Ref
    images: Ref  # with their owners

    @classmethod
    def of(cls, fitted: Fitted, users: Ref, table: dict[str, Ref]) -> "Evidence":
        """The evidence in the community's tables."""
        names = ("favorites", "user_tags", "image_tags", "contacts", "memberships", "images")
        return cls(fitted, users, *(table[name] for name in names))


@stage
def explain(listed: Ref, model: Model, evidence: Evidence, num_explained: int, root: Root) -> Ref:
    """REASONS of the first places of one block's RECOMMENDATIONS; no rows where the system's score is no such sum.

    Where a kept model has moved a user's vector since it was fitted, by new favorites, all of the score is owed to
    these.
    """
    lists = parquet.read(listed, root, ["user_id", "rank", "image_id", "score"])
    lists = lists.filter(pc.less_equal(lists["rank"], num_explained))
    by_signal = dict(restore(evidence.fitted, root).users_by_signal)
    if not by_signal or not lists.num_rows:
        return parquet.write(REASONS, {field.name: pa.nulls(0, field.type) for field in REASONS.schema}, root)
    users = matrices.ids_of(lists["user_id"])
    images, images_Id = read_embeddings(model.embeddings.images, root)
    user_N, image_N = matrices.rows_of(lists["user_id"], users), matrices.rows_of(lists["image_id"], images)
    parts = _parts_of(users, by_signal, model, evidence, root)
    shares_NS = reasons.shares(parts, user_N, images_Id[image_N], lists["score"].to_numpy())
    pairs = _Pairs(users, images, images_Id, user_N, image_N)
    ways = {signal: BEHIND.get(signal, _nothing) for signal in parts}
    behind = {way: way(pairs, evidence, root) for way in set(ways.values())}
    columns: dict[str, list[pa.Array]] = {field.name: [] for field in REASONS.schema}
    for number, signal in enumerate(parts):
        rows = np.flatnonzero(shares_NS[:, number])
        taken = lists.take(pa.array(rows))
        for name in ("user_id", "rank", "image_id"):
            columns[name].append(taken[name].combine_chunks())
        columns["signal"].append(pa.repeat(signal, len(rows)))
        columns["share"].append(pa.array(shares_NS[rows, number]))
        columns["because"].append(behind[ways[signal]].take(pa.array(rows)))
    return parquet.write(REASONS, {name: pa.concat_arrays(parts) for name, parts in columns.items()}, root)


def _parts_of(
    users: Ids, by_signal: dict[str, np.ndarray], model: Model, evidence: Evidence, root: Root
) -> dict[str, np.ndarray]:
    """What each signal adds to these users' vectors; one whose vector is no longer the sum has a part of favorites."""
    exported, exported_Ud = read_embeddings([model.embeddings.users], root)
    now_Ud = exported_Ud[matrices.rows_of(pa.array(users, pa.string()), exported)]
    fitted = matrices.ids_of(parquet.read(evidence.users, root, ["user_id"])["user_id"])
    row_U = matrices.rows_of(pa.array(users, pa.string()), fitted)
    parts = {signal: part[np.maximum(row_U, 0)].astype(np.float32) for signal, part in by_signal.items()}
    gap_U = np.linalg.norm(np.sum(list(parts.values()), axis=0) - now_Ud, axis=1)
    moved = np.flatnonzero((row_U < 0) | (gap_U > SAME * np.linalg.norm(now_Ud, axis=1)))
    if len(moved):
        parts.setdefault("favorites", np.zeros_like(now_Ud))
        for signal, part in parts.items():
            part[moved] = now_Ud[moved] if signal == "favorites" else 0
    return parts


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of a user and an image, by rows."""

    users: Ids
    images: Ids
    images_Id: np.ndarray
    user_N: np.ndarray
    image_N: np.ndarray

    def strongest(self, of_users: csr_array, of_images: csr_array, things: Ids) -> pa.Array:
        """string (N,): the thing that user and image have most of in common."""
        return _named(reasons.strongest(self.user_N, self.image_N, of_users, of_images), things)


def _favorites(evidence: Evidence, root: Root) -> pa.Table:
    return parquet.read(evidence.favorites, root, ["user_id", "image_id"])


def _liked(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    liked = _favorites(evidence, root)
    favorites_UI = matrices.incidence(liked["user_id"], liked["image_id"], pairs.users, pairs.images)
    nearest_N = reasons.nearest_favorite(pairs.user_N, pairs.image_N, favorites_UI, pairs.images_Id)
    return _named(nearest_N, pairs.images)


def _tag(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    used, tagged = (parquet.read(ref, root) for ref in (evidence.user_tags, evidence.image_tags))
    tags = matrices.ids_of(used["tag"], tagged["tag"])
    of_users = matrices.incidence(used["user_id"], used["tag"], pairs.users, tags, used["count"]).log1p()
    of_images = matrices.incidence(tagged["image_id"], tagged["tag"], pairs.images, tags)
    rarity = diags_array(degrees(of_images, 0) ** -0.5)
    return pairs.strongest(csr_array(of_users @ rarity), of_images, tags)


def _contact(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    liked, follows = _favorites(evidence, root), parquet.read(evidence.contacts, root)
    contacts = matrices.ids_of(follows["contact_id"])
    of_users = matrices.incidence(follows["user_id"], follows["contact_id"], pairs.users, contacts)
    of_images = matrices.incidence(liked["image_id"], liked["user_id"], pairs.images, contacts)
    return pairs.strongest(of_users, of_images, contacts)


def _group(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    liked, joined = _favorites(evidence, root), parquet.read(evidence.memberships, root)
    groups, members = matrices.ids_of(joined["group_id"]), matrices.ids_of(joined["user_id"])
    of_users = matrices.incidence(joined["user_id"], joined["group_id"], pairs.users, groups)
    of_members = matrices.incidence(joined["user_id"], joined["group_id"], members, groups)
    liked_IM = matrices.incidence(liked["image_id"], liked["user_id"], pairs.images, members)
    return pairs.strongest(of_users, csr_array(liked_IM @ of_members), groups)


def _owner(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    owned = parquet.read(evidence.images, root, ["image_id", "owner_id"])
    row = matrices.rows_of(pa.array(pairs.images, pa.string()), matrices.ids_of(owned["image_id"]))
    return owned.sort_by("image_id")["owner_id"].combine_chunks().take(pa.array(row[pairs.image_N]))


def _nothing(pairs: _Pairs, evidence: Evidence, root: Root) -> pa.Array:
    return pa.nulls(len(pairs.user_N), pa.string())


# How the id of what stands behind a signal is found for each pair: string (N,), null where nothing is known.
BEHIND: dict[str, Callable[[_Pairs, Evidence, Root], pa.Array]] = {
    "favorites": _liked,
    "content": _liked,
    "tags": _tag,
    "contacts": _contact,
    "groups": _group,
    "owners": _owner,
}


def _named(found_N: np.ndarray, ids: Ids) -> pa.Array:
    """The ids of these rows; null for row -1."""
    return pa.array(ids, pa.string()).take(pa.array(found_N, mask=found_N < 0))
