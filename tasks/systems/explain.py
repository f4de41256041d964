"""Why the first places of each list are there: the share of each signal, and what stands behind it.

N places, U users of a block, I images, d dimensions, S signals.
"""

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
    behind = {
        signal: _behind(signal, (user_N, image_N), (users, images), images_Id, evidence, root) for signal in parts
    }
    columns: dict[str, list[pa.Array]] = {field.name: [] for field in REASONS.schema}
    for number, signal in enumerate(parts):
        rows = np.flatnonzero(shares_NS[:, number])
        taken = lists.take(pa.array(rows))
        for name in ("user_id", "rank", "image_id"):
            columns[name].append(taken[name].combine_chunks())
        columns["signal"].append(pa.repeat(signal, len(rows)))
        columns["share"].append(pa.array(shares_NS[rows, number]))
        columns["because"].append(behind[signal].take(pa.array(rows)))
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


def _behind(
    signal: str,
    pairs: tuple[np.ndarray, np.ndarray],
    ids: tuple[Ids, Ids],
    images_Id: np.ndarray,
    evidence: Evidence,
    root: Root,
) -> pa.Array:
    """string (N,): the id of what stands behind the signal for each pair; null where nothing is known."""
    users, images = ids
    liked = parquet.read(evidence.favorites, root, ["user_id", "image_id"])
    if signal in ("favorites", "content"):
        favorites_UI = matrices.incidence(liked["user_id"], liked["image_id"], users, images)
        return _named(reasons.nearest_favorite(*pairs, favorites_UI, images_Id), images)
    if signal == "tags":
        used, tagged = (parquet.read(ref, root) for ref in (evidence.user_tags, evidence.image_tags))
        things = matrices.ids_of(used["tag"], tagged["tag"])
        of_users = matrices.incidence(used["user_id"], used["tag"], users, things, used["count"]).log1p()
        of_images = matrices.incidence(tagged["image_id"], tagged["tag"], images, things)
        rarity = diags_array(degrees(of_images, 0) ** -0.5)
        return _named(reasons.strongest(*pairs, csr_array(of_users @ rarity), of_images), things)
    if signal == "contacts":
        follows = parquet.read(evidence.contacts, root)
        things = matrices.ids_of(follows["contact_id"])
        of_users = matrices.incidence(follows["user_id"], follows["contact_id"], users, things)
        of_images = matrices.incidence(liked["image_id"], liked["user_id"], images, things)
        return _named(reasons.strongest(*pairs, of_users, of_images), things)
    if signal == "groups":
        joined = parquet.read(evidence.memberships, root)
        things, members = matrices.ids_of(joined["group_id"]), matrices.ids_of(joined["user_id"])
        of_users = matrices.incidence(joined["user_id"], joined["group_id"], users, things)
        of_members = matrices.incidence(joined["user_id"], joined["group_id"], members, things).astype(np.float32)
        liked_IM = matrices.incidence(liked["image_id"], liked["user_id"], images, members).astype(np.float32)
        return _named(reasons.strongest(*pairs, of_users, csr_array(liked_IM @ of_members)), things)
    if signal == "owners":
        owned = parquet.read(evidence.images, root, ["image_id", "owner_id"])
        row = matrices.rows_of(pa.array(images, pa.string()), matrices.ids_of(owned["image_id"]))
        return owned.sort_by("image_id")["owner_id"].combine_chunks().take(pa.array(row[pairs[1]]))
    return pa.nulls(len(pairs[0]), pa.string())


def _named(found_N: np.ndarray, ids: Ids) -> pa.Array:
    """The ids of these rows; null for row -1."""
    return pa.array(ids, pa.string()).take(pa.array(found_N, mask=found_N < 0))
