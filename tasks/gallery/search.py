"""Search of ids and titles: what begins with the words, then what contains them, then what is near to them."""

from collections.abc import Sequence
from itertools import islice

from storage import near_ids

MAX_LENGTH = 200  # letters of a query that count
NEAR_AMONG = 2_000  # near ids are looked for among so many that stand beside the query in the order of the ids


class Index:
    """Texts to be found: sorted ids, and the titles or names of some."""

    def __init__(self, ids: Sequence[str], titles: Sequence[str | None]):
        self.ids = ids
        self.titles = titles
        self._texts = [f"{id_}\n{title or ''}".casefold() for id_, title in zip(ids, titles, strict=True)]

    def find(self, query: str, at_most: int) -> list[str]:
        """Ids that begin with the query, then those that contain it or whose titles do."""
        wanted = query.strip()[:MAX_LENGTH].casefold()
        if not wanted:
            return []
        first = list(islice((row for row, text in enumerate(self._texts) if text.startswith(wanted)), at_most))
        seen = set(first)
        rest = (row for row, text in enumerate(self._texts) if row not in seen and wanted in text)
        found = [*first, *islice(rest, at_most - len(first))]
        return [self.ids[row] for row in found]

    def near(self, query: str, at_most: int = 3) -> list[str]:
        """The ids most like the query, at most so many; none where none is like it."""
        wanted = query.strip()[:MAX_LENGTH]
        return near_ids.alike(wanted, self.ids, at_most, NEAR_AMONG // 2) if wanted else []
