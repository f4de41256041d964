"""A night's test users: what they liked, what was concealed, and what the measured system ranks first for them.

U users, I images, K places of a list.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval.ranking import TopK
from storage import matrices, parquet
from storage.matrices import Ids
from storage.roots import Root
from tasks.night.records import Night
from tasks.systems.scoring import Scorer, best_images, read_scorer


@dataclass(frozen=True, eq=False)
class Ranked:
    """Some of the users, and the first images for each of all but their training favorites."""

    likes_UI: csr_array  # an entry marks a training favorite
    concealed_UI: csr_array
    best: TopK  # (U, K)


@dataclass(frozen=True, eq=False)
class TestedUsers:
    """Everybody with a concealed favorite, and the measured system."""

    ids: Ids
    training: pa.Table
    concealed: pa.Table
    scorer: Scorer

    @classmethod
    def read(cls, night: Night, root: Root) -> "TestedUsers | None":
        """Those of the night; None where nobody was tested."""
        concealed, training = parquet.read(night.split.concealed, root), parquet.read(night.split.training, root)
        ids = matrices.ids_of(concealed["user_id"])
        return cls(ids, training, concealed, read_scorer(night.tested.model, root)) if len(ids) else None

    @property
    def images(self) -> Ids:
        """The images that the measured system ranks."""
        return self.scorer.images

    def ranked(self, users: Ids, k: int) -> Ranked:
        """The first k images for each of these users, or all where there are fewer."""
        likes_UI, concealed_UI = (
            matrices.incidence(table["user_id"], table["image_id"], users, self.images)
            for table in (self.training, self.concealed)
        )
        rows = matrices.rows_of(pa.array(users, pa.string()), self.scorer.users)
        everything = {"all": np.arange(len(self.images))}
        best = best_images(self.scorer, rows, everything, min(k, len(self.images)), likes_UI)["all"]
        return Ranked(likes_UI, concealed_UI, best)
