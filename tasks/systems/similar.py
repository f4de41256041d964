"""Every image's similar images."""

import numpy as np
import pyarrow as pa
from scipy.sparse import eye_array

from models.retrieval import incremental_topk
from models.retrieval.incremental_topk import Before
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.similar import SIMILAR_IMAGES
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.settings.lists import RecommendConfig
from tasks.systems.appearance import representations
from tasks.systems.listing import differ, listing, read_lists, update
from tasks.systems.lists import Lists, Policy
from tasks.systems.model import Model, read_embeddings
from tasks.systems.policy import allowed


@stage
def find_similar(
    model: Model,
    appearance: Ref | None,
    config: RecommendConfig,
    policy: Policy | None,
    root: Root,
    last: Lists | None,
) -> Ref:
    """SIMILAR_IMAGES of every image, by the cosine of the centred embeddings; no rows where the model has none.

    What the policy blocks for everybody has no list and is in none.
    """
    if appearance:
        images, images_Id = read_embeddings(model.embeddings.images, root)
        allowed_I = allowed(policy, images, root)
        if not allowed_I.all():  # a copy of all vectors is large
            images, images_Id = images[allowed_I], images_Id[allowed_I]
        appearance_If = representations(images_Id, appearance, root)
    if not (appearance and appearance_If.size):
        return parquet.write(SIMILAR_IMAGES, {name: [] for name in SIMILAR_IMAGES.schema.names}, root)
    itself_II = eye_array(len(images), dtype=np.float32, format="csr")
    unit_If = incremental_topk.unit(appearance_If)
    before = None
    if last:
        images_before, before_Kd = read_embeddings(last.request.model.embeddings.images, root)
        is_changed_I = differ(images_Id, before_Kd, matrices.rows_of(pa.array(images, pa.string()), images_before))
        is_changed_I |= ~allowed(last.request.policy, images, root)
        listed = read_lists([last.similar], ("image_id", "similar_image_id"), images, images, config.num_similar, root)
        before = Before(listed, is_changed_I, is_changed_I)
    lists, is_recomputed_I, _ = update(unit_If, unit_If, (config.num_similar,) * 2, before, itself_II, None)
    ledger.count("images compared", int(is_recomputed_I.sum()))
    image, rank, similar, score = listing(images, images, lists, slice(0, None))
    columns = {"image_id": image, "rank": rank, "similar_image_id": similar, "score": score}
    return parquet.write(SIMILAR_IMAGES, columns, root)
