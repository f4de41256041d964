"""Tag assignments as row numbers."""

import pyarrow as pa

from models.tag_assignments import TagAssignments
from storage import matrices
from storage.matrices import Ids


def read_assignments(rows: pa.Table, users: Ids, images: Ids, tags: Ids) -> TagAssignments:
    """The rows of TAG_ASSIGNMENTS whose user, image and tag are among these ids, as row numbers."""
    user_N, image_N, tag_N = (
        matrices.rows_of(rows[name], ids) for name, ids in (("user_id", users), ("image_id", images), ("tag", tags))
    )
    assigned = TagAssignments(user_N, image_N, tag_N, matrices.seconds(rows["tagged_at"]))
    return assigned.where((user_N >= 0) & (image_N >= 0) & (tag_N >= 0))
