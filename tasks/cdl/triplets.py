"""Training triplets from the training favorites and the assigned negatives."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.cdl import triplets
from models.cdl.negatives import NegativeConfig
from models.cdl.triplets import TripletConfig
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from storage.tables.cdl import TRIPLETS
from tasks.cdl.negatives import read_assignment
from tasks.cdl.signals import SignalTables, read_signals
from tasks.runtime.caching import stage


@dataclass(frozen=True, kw_only=True)
class TrainingUsersConfig:
    """Who is trained on: users with interests in enough clusters, and not in too many (CDL, section 6.1.1)."""

    min_clusters: int = 1  # the paper's community is large enough for 80
    max_clusters: int = 1024  # the paper: 280


@stage
def sample_triplets(
    given: SignalTables,
    profiles: Ref,
    inputs: list[Ref],
    audit: Ref,
    assignment: NegativeConfig,
    who: TrainingUsersConfig,
    config: TripletConfig,
    root: Root,
) -> Ref:
    """Draw the triplets. Images without an input are neither positives nor negatives."""
    known = read_signals(given, root)
    rows = parquet.read(profiles, root, ["user_id", "clusters"])
    num_clusters = rows["clusters"].combine_chunks().value_lengths().to_numpy()
    wide_enough = (num_clusters >= who.min_clusters) & (num_clusters <= who.max_clusters)
    users = matrices.rows_of(rows["user_id"], known.users)[wide_enough]
    usable_I = matrices.rows_of(pa.array(known.images), Shards.open(inputs, root).ids) >= 0
    assigned = read_assignment(audit, assignment, root)
    drawn = triplets.sample(known.signals, assigned, np.sort(users), config, usable_I)
    return parquet.write(
        TRIPLETS,
        {
            "pool": drawn.pool,
            "user_id": known.users[drawn.user],
            "positive_id": known.images[drawn.positive],
            "negative_id": known.images[drawn.negative],
            "draw": drawn.draw,
        },
        root,
    )
