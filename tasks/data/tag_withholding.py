"""The tables to learn from while favorites are held out: without these, and without tags that would betray them."""

import numpy as np
import pyarrow as pa

from models.settings.splits import TimeOf
from models.tag_assignments import TagCounts, last_known, withhold
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, TAG_ASSIGNMENTS, USER_TAGS
from tasks.data.assignments import read_assignments
from tasks.runtime.caching import stage

TAG_TABLES = (IMAGE_TAGS.name, USER_TAGS.name, TAG_ASSIGNMENTS.name)


def known_tables(
    table: dict[str, Ref], training: Ref, heldout: list[Ref], root: Root, *, time_of: TimeOf | None
) -> dict[str, Ref]:
    """The community's tables as they may be learned from with these favorites held out: nothing in them is held out.

    Args:
        table: the community, as ingested.
        training: the favorites to learn from.
        heldout: pairs of users and images.
        time_of: by whose times, where the latest favorites are held out: assignments later than what is learned from
            go as well. None: the others.
    """
    known = table | {FAVORITES.name: training}
    if not (table[TAG_ASSIGNMENTS.name].rows and any(pairs.rows for pairs in heldout)):
        return known
    tags = {name: table[name] for name in TAG_TABLES}
    return known | withhold_assignments(tags, training, heldout, time_of, root)


@stage
def withhold_assignments(
    tags: dict[str, Ref], training: Ref, heldout: list[Ref], time_of: TimeOf | None, root: Root
) -> dict[str, Ref]:
    """IMAGE_TAGS, USER_TAGS and TAG_ASSIGNMENTS without assignments on held-out favorites, or later than is known."""
    image_tags, user_tags, assigned = (parquet.read(tags[name], root) for name in TAG_TABLES)
    favorites, pairs = parquet.read(training, root), pa.concat_tables(parquet.read(ref, root) for ref in heldout)
    users = matrices.ids_of(user_tags["user_id"], assigned["user_id"], favorites["user_id"], pairs["user_id"])
    images = matrices.ids_of(image_tags["image_id"], assigned["image_id"], pairs["image_id"])
    names = matrices.ids_of(image_tags["tag"], user_tags["tag"], assigned["tag"])
    counts = TagCounts(
        matrices.incidence(user_tags["user_id"], user_tags["tag"], users, names, user_tags["count"]),
        matrices.incidence(image_tags["image_id"], image_tags["tag"], images, names),
        read_assignments(assigned, users, images, names),
    )
    heldout_UI = matrices.incidence(pairs["user_id"], pairs["image_id"], users, images)
    left = withhold(counts, heldout_UI, _last_known(favorites, pairs, users, time_of) if time_of else None)
    user, tag = left.user_tags_UT.nonzero()
    image, label = left.image_tags_IT.nonzero()
    kept = left.assignments
    at = pa.array(kept.at_N, from_pandas=True).cast(pa.int64(), safe=False)
    columns = {"user_id": users[kept.user_N], "image_id": images[kept.image_N], "tag": names[kept.tag_N]}
    uses = left.user_tags_UT.data.astype(np.int64)
    return {
        IMAGE_TAGS.name: parquet.write(IMAGE_TAGS, {"image_id": images[image], "tag": names[label]}, root),
        USER_TAGS.name: parquet.write(USER_TAGS, {"user_id": users[user], "tag": names[tag], "count": uses}, root),
        TAG_ASSIGNMENTS.name: parquet.write(
            TAG_ASSIGNMENTS, columns | {"tagged_at": at.cast(pa.timestamp("s", "UTC"))}, root
        ),
    }


def _last_known(favorites: pa.Table, heldout: pa.Table, users: Ids, time_of: TimeOf) -> np.ndarray | None:
    """float64 (U,): after when nothing of a user is known; inf for users who know no such moment. None without times.

    By each user's own times it is a tested user's last favorite to learn from. It is the community's last one where the
    split is by one moment for all, and for a tested user without a favorite to learn from.
    """
    if not len(favorites) or favorites["favorited_at"].null_count:
        return None
    at = matrices.seconds(favorites["favorited_at"])
    if time_of == "community":
        return np.full(len(users), at.max())
    is_tested_U = np.zeros(len(users), bool)
    is_tested_U[matrices.rows_of(heldout["user_id"], users)] = True
    return last_known(matrices.rows_of(favorites["user_id"], users), at, is_tested_U, without_any=at.max())
