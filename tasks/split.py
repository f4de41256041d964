"""Favorites concealed before anything is learned, for the evaluation."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from models import protocols
from models.protocols import ProtocolConfig
from storage import matrices, parquet, tables
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage


@dataclass(frozen=True)
class Split:
    """The favorites to learn from, those concealed, and the thresholds that were used."""

    training: Ref
    concealed: Ref
    thresholds: ProtocolConfig  # as given, or lowered to the community's size


@stage
def conceal_favorites(favorites_table: Ref, config: ProtocolConfig, root: Root) -> Split:
    """Set favorites of the test users aside (CDL, section 6.1.1)."""
    favorites = parquet.read(favorites_table, root)
    users = matrices.ids_of(favorites["user_id"])
    images = matrices.ids_of(favorites["image_id"])
    split = protocols.conceal(matrices.incidence(favorites["user_id"], favorites["image_id"], users, images), config)
    concealed = _keys(split.concealed)
    row = matrices.rows_of(favorites["user_id"], users) * len(images) + matrices.rows_of(favorites["image_id"], images)
    training = favorites.filter(~np.isin(row, concealed))
    return Split(
        parquet.write(tables.FAVORITES, training, root),
        parquet.write(
            tables.CONCEALED,
            {"user_id": users[concealed // len(images)], "image_id": images[concealed % len(images)]},
            root,
        ),
        split.thresholds,
    )


def _keys(pairs_UI: csr_array) -> np.ndarray:
    pairs = pairs_UI.tocoo()
    return np.asarray(pairs.coords[0].astype(np.int64) * pairs_UI.shape[1] + pairs.coords[1])
