"""Training triplets from the training favorites and the assigned negatives."""

import numpy as np
import pyarrow as pa

from models.cdl import negatives, triplets
from models.settings.negatives import NegativeConfig
from models.settings.triplets import TrainingUsersConfig, TripletConfig
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from storage.tables.cdl import TRIPLETS
from tasks.cdl.negatives import read_assignment
from tasks.cdl.signals import SignalTables, read_signals
from tasks.runtime.caching import stage


@stage
def sample_triplets(
    tables: SignalTables,
    profiles: Ref,
    inputs: list[Ref],
    audit: Ref,
    negative_config: NegativeConfig,
    training_users: TrainingUsersConfig,
    config: TripletConfig,
    root: Root,
) -> Ref:
    """TRIPLETS of the users to train on. Images without an input are neither positives nor negatives.

    Args:
        audit: the table NEGATIVES that `assign_negatives` wrote with `negative_config`.
    """
    indexed = read_signals(tables, root)
    rows = parquet.read(profiles, root, ["user_id", "clusters"])
    chosen = triplets.are_trained_on(rows["clusters"].combine_chunks().value_lengths().to_numpy(), training_users)
    users = np.sort(matrices.rows_of(rows["user_id"], indexed.users)[chosen])
    usable_I = matrices.rows_of(pa.array(indexed.images), Shards.open(inputs, root).ids) >= 0
    assignment = read_assignment(audit, negative_config, root)
    signals = negatives.signals_of(indexed.signals, negative_config)
    sampled = triplets.sample(signals, assignment, users, config, usable_I)
    return parquet.write(
        TRIPLETS,
        {
            "pool": sampled.pool,
            "user_id": indexed.users[sampled.user],
            "positive_id": indexed.images[sampled.positive],
            "negative_id": indexed.images[sampled.negative],
            "draw": sampled.draw,
        },
        root,
    )
