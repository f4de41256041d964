"""A fitted system as the model to publish: exported embeddings, or its state where it has none."""

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
