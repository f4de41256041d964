"""How far tags tell of held-out favorites: what was withheld, and a sign of what could not be."""

from dataclasses import dataclass

import pyarrow as pa
from scipy.sparse import csr_array

from models.tag_assignments import TagLeak, leak_of
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, IMAGES, TAG_ASSIGNMENTS, USER_TAGS, USERS
from tasks.runtime.caching import stage

TABLES = tuple(table.name for table in (USERS, IMAGES, FAVORITES, IMAGE_TAGS, USER_TAGS, TAG_ASSIGNMENTS))


@dataclass(frozen=True)
class TagAccount:
    """What a report says of tags and held-out favorites."""

    num_assignments: int  # 0: the source does not say who put which tag on what
    num_withheld: int
    of: str  # what the leak is measured on: favorites, or held-out favorites
    leak: TagLeak

    @property
    def is_warning(self) -> bool:
        """Whether figures of systems that use tags may be too high."""
        return self.leak.tells

    @property
    def line(self) -> str:
        """The account in a few words."""
        leak = self.leak
        sign = (
            f"of {leak.pairs:,} pairs of an image and the only user of one of its tags, {_percent(leak.share)} are "
            f"{self.of}, and of all pairs of these users and any image {_percent(leak.base_rate)}"
        )
        if not self.num_assignments:
            told = "they may tell of held-out favorites, as tag_assignments is missing, which says who put them there"
            how_far = f": {sign}" if leak.pairs else "; how far is unknown, as no tag has one user only"
            return f"{told}{how_far}; a table tag_assignments in the source withholds what they tell"
        withheld = (
            f"{self.num_withheld:,} of {self.num_assignments:,} assignments were withheld, as they are on held-out "
            f"favorites or later than what is learned from"
        )
        return f"{withheld}; what no assignment explains may tell more: {sign}" if leak.tells else withheld


def account_of_tags(table: dict[str, Ref], known: dict[str, Ref], heldout: Ref, root: Root) -> TagAccount | None:
    """What tags tell on a split; None where images have no tags, or nothing is held out.

    Args:
        table: the community, as ingested.
        known: its tables as they are learned from.
        heldout: the favorites that are tested, pairs of users and images.
    """
    if not (table[IMAGE_TAGS.name].rows and heldout.rows):
        return None
    given, learned_from = ({name: tables[name] for name in TABLES} for tables in (table, known))
    return measure_tags(given, learned_from, heldout, root)


@stage
def measure_tags(table: dict[str, Ref], known: dict[str, Ref], heldout: Ref, root: Root) -> TagAccount:
    """How many tag assignments were withheld, and how far the tags to learn from tell of favorites.

    Of all favorites, where users have tags and nothing says who put which tag on what: that is a property of the
    source, and the same on every split. Else of the held-out favorites alone: of what is left once assignments are
    withheld, and where users have no tags but those of the favorites to learn from.
    """
    tables = {name: parquet.read(ref, root) for name, ref in known.items()}
    users = matrices.ids_of(tables[USERS.name]["user_id"])
    images = matrices.ids_of(tables[IMAGES.name]["image_id"])
    user_tags, image_tags = tables[USER_TAGS.name], tables[IMAGE_TAGS.name]
    tags = matrices.ids_of(user_tags["tag"], image_tags["tag"])

    def pairs_of(rows: pa.Table) -> csr_array:
        return matrices.incidence(rows["user_id"], rows["image_id"], users, images)

    known_UI = pairs_of(tables[FAVORITES.name])
    user_tags_UT = matrices.incidence(user_tags["user_id"], user_tags["tag"], users, tags)
    image_tags_IT = matrices.incidence(image_tags["image_id"], image_tags["tag"], images, tags)
    num_assignments = table[TAG_ASSIGNMENTS.name].rows
    if user_tags_UT.nnz and not num_assignments:
        all_UI = pairs_of(parquet.read(table[FAVORITES.name], root))
        return TagAccount(0, 0, "favorites", leak_of(user_tags_UT, image_tags_IT, all_UI))
    used_UT = user_tags_UT if user_tags_UT.nnz else csr_array(known_UI @ image_tags_IT)
    leak = leak_of(used_UT, image_tags_IT, pairs_of(parquet.read(heldout, root)), known_UI)
    return TagAccount(num_assignments, num_assignments - known[TAG_ASSIGNMENTS.name].rows, "held-out favorites", leak)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
