"""The published model of a fitted system: its embeddings, or its state where the score is no inner product."""

import numpy as np

from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.runtime.caching import stage
from tasks.systems.model import Embeddings, Fitted, Model, write_embeddings
from tasks.systems.restore import restore


@stage
def embed_system(fitted: Fitted, users: Ref, images: Ref, root: Root) -> Model:
    """The published model: embeddings of all users and all usable images; tables without rows where it has none."""
    user_ids, image_ids = (
        matrices.ids_of(parquet.read(ref, root, [key])[key]) for ref, key in ((users, "user_id"), (images, "image_id"))
    )
    vectors = restore(fitted, root).vectors
    if vectors is None:
        user_ids, image_ids = user_ids[:0], image_ids[:0]
        users_Ud = images_Id = np.empty((0, 1), np.float32)
    else:
        image_ids = image_ids[vectors.usable_I]
        users_Ud, images_Id = vectors.users_Ud, vectors.images_Id[vectors.usable_I]
    label = f"{fitted.system}-{fitted.state.sha256[:12]}"
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, user_ids, users_Ud, label, root),
        [write_embeddings(IMAGE_EMBEDDINGS, image_ids, images_Id, label, root)],
    )
    return Model(fitted.system, label, users, images, embeddings, fitted if vectors is None else None)
