"""Any system of `models.systems`: fitted on a community, kept as a file, written as embeddings where it can be."""

import time
from typing import Any

import numpy as np
import torch

from models.systems import System
from storage import checkpoints, matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.exports import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.data.community import CommunityTables, IndexedCommunity, read_community
from tasks.runtime.caching import stage
from tasks.systems.scoring import Embeddings, Fitted, Model, make_system, restore, write_embeddings


@stage
def fit_system(
    name: str, version: str, settings: dict[str, Any], seed: int, given: CommunityTables, root: Root
) -> Fitted:
    """The fitted system's state. `version` stands for the code of the system, which no import here tells.

    Raises ValueError where the community lacks a signal that the system needs.
    """
    known = read_community(given, root)
    if lacking := make_system(name, settings).lacking(known.community):
        raise ValueError(
            f"{name} needs {', '.join(lacking)}, which the source does not tell; choose another model.system"
        )
    system, _ = fit(name, settings, seed, known)
    state = {key: torch.from_numpy(np.require(value, None, ["C", "W"])) for key, value in system.state().items()}
    return Fitted(name, version, settings, checkpoints.store({"state": state}, name, root))


@stage
def embed_system(fitted: Fitted, users: Ref, images: Ref, root: Root) -> Model:
    """The model to publish: embeddings of everybody and of all usable images; without rows where there are none."""
    user_ids, image_ids = (
        matrices.ids_of(parquet.read(ref, root, [key])[key]) for ref, key in ((users, "user_id"), (images, "image_id"))
    )
    vectors = restore(fitted, root).vectors
    nothing = np.empty((0, 1), np.float32)
    known, users_Ud, shown, images_Id = user_ids[:0], nothing, image_ids[:0], nothing
    if vectors is not None:
        known, users_Ud = user_ids, vectors.users_Ud
        shown, images_Id = image_ids[vectors.usable_I], vectors.images_Id[vectors.usable_I]
    label = f"{fitted.system}-{fitted.state.sha256[:12]}"
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, known, users_Ud, label, root),
        [write_embeddings(IMAGE_EMBEDDINGS, shown, images_Id, label, root)],
    )
    return Model(fitted.system, label, users, images, embeddings, fitted if vectors is None else None)


def fit(name: str, settings: dict[str, Any], seed: int, known: IndexedCommunity) -> tuple[System[Any], float]:
    """The fitted system, and the seconds that it took."""
    system = make_system(name, settings, seed)
    start = time.perf_counter()
    system.fit(known.community)
    return system, time.perf_counter() - start
