"""The test favorites of a night, concealed before anything is learned.

U users, I images.
"""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from models.evaluation import protocols
from models.settings.protocols import ProtocolConfig
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES
from storage.tables.splits import CONCEALED
from tasks.data.split import Split
from tasks.runtime.caching import stage
from tasks.settings.concealment import ConcealmentConfig


def split_favorites(
    favorites_table: Ref, kept: Split | None, config: ProtocolConfig, concealment: ConcealmentConfig, root: Root
) -> Split:
    """The split of the kept model where there is one, on the current favorites; else a new one."""
    if kept is None:
        return conceal_favorites(favorites_table, config, concealment, root)
    return keep_concealed(favorites_table, kept, root)


@stage
def conceal_favorites(
    favorites_table: Ref, config: ProtocolConfig, concealment: ConcealmentConfig, root: Root
) -> Split:
    """Hold out favorites of the test users (CDL, section 6.1.1)."""
    favorites = parquet.read(favorites_table, root)
    users = matrices.ids_of(favorites["user_id"])
    images = matrices.ids_of(favorites["image_id"])
    favorites_UI = matrices.incidence(favorites["user_id"], favorites["image_id"], users, images)
    times_UI = matrices.seconds_of(favorites, users, images) if concealment.order == "latest" else None
    split = protocols.conceal(favorites_UI, config, times_UI)
    concealed = _keys(split.concealed)
    row = matrices.rows_of(favorites["user_id"], users) * len(images) + matrices.rows_of(favorites["image_id"], images)
    training = favorites.filter(~np.isin(row, concealed))
    return Split(
        parquet.write(FAVORITES, training, root),
        parquet.write(
            CONCEALED,
            {"user_id": users[concealed // len(images)], "image_id": images[concealed % len(images)]},
            root,
        ),
        split.thresholds,
        "random" if times_UI is None else "latest",
    )


@stage
def keep_concealed(favorites_table: Ref, kept: Split, root: Root) -> Split:
    """The split of an earlier night on the current favorites: what its model has not seen stays concealed.

    A new split would test favorites that the model has learned from. The protocols need equally many favorites of each
    test user, so a user who lost one, or left, is not tested any more.
    """
    favorites, concealed = parquet.read(favorites_table, root), parquet.read(kept.concealed, root)
    users, images = matrices.ids_of(favorites["user_id"]), matrices.ids_of(favorites["image_id"])
    row = matrices.rows_of(favorites["user_id"], users) * len(images) + matrices.rows_of(favorites["image_id"], images)
    still_concealed = np.intersect1d(
        _keys(matrices.incidence(concealed["user_id"], concealed["image_id"], users, images)), row
    )
    has_all_U = np.bincount(still_concealed // len(images), minlength=len(users)) == kept.thresholds.num_concealed
    is_concealed = np.isin(row, still_concealed[has_all_U[still_concealed // len(images)]])
    pairs = favorites.filter(is_concealed).select(["user_id", "image_id"])
    training = parquet.write(FAVORITES, favorites.filter(~is_concealed), root)
    return replace(kept, training=training, concealed=parquet.write(CONCEALED, pairs, root))


def _keys(pairs_UI: csr_array) -> np.ndarray:
    """int64, one for each pair: user row * I + image row."""
    pairs = pairs_UI.tocoo()
    return np.asarray(pairs.coords[0].astype(np.int64) * pairs_UI.shape[1] + pairs.coords[1])
