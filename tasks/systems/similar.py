"""Every image's similar images."""

import numpy as np
import pyarrow as pa
from scipy.sparse import eye_array

from models.retrieval import incremental_topk
from models.retrieval.incremental_topk import Before
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from storage.tables.similar import SIMILAR_IMAGES
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.settings.lists import RecommendConfig
from tasks.systems.appearance import representations
from tasks.systems.listing import differ, listing, read_lists, update
from tasks.systems.lists import Lists, Policy
from tasks.systems.model import Model, read_embeddings
from tasks.systems.policy import allowed

SAME = 1e-4  # how far, relatively, vectors of equal content are apart by rounding


@stage
def find_similar(
    model: Model,
    appearance: Ref | None,
    config: RecommendConfig,
    policy: Policy | None,
    pixels: list[Ref],
    root: Root,
    last: Lists | None,
) -> Ref:
    """SIMILAR_IMAGES of every image, by the cosine of the centred embeddings; no rows where the model has none.

    What the policy blocks for everybody has no list and is in none; nor have images of which so little is known that
    nothing tells them apart.

    Args:
        pixels: shards of the images with a usable picture.
    """
    if appearance:
        images, images_Id = read_embeddings(model.embeddings.images, root)
        listed_I = allowed(policy, images, root)
        if pixels:
            listed_I &= ~_indistinct(images_Id, matrices.are_in(images, pa.array(Shards.open(pixels, root).ids)))
        if not listed_I.all():  # a copy of all vectors is large
            images, images_Id = images[listed_I], images_Id[listed_I]
        appearance_If = representations(images_Id, appearance, root)
    if not (appearance and appearance_If.size):
        return parquet.write(SIMILAR_IMAGES, {name: [] for name in SIMILAR_IMAGES.schema.names}, root)
    itself_II = eye_array(len(images), dtype=np.float32, format="csr")
    unit_If = incremental_topk.unit(appearance_If, out=appearance_If)
    before = None
    if last:
        images_before, before_Kd = read_embeddings(last.request.model.embeddings.images, root)
        is_changed_I = differ(images_Id, before_Kd, matrices.rows_of(pa.array(images, pa.string()), images_before))
        is_changed_I |= ~matrices.are_in(images, parquet.read(last.similar, root, ["image_id"])["image_id"])
        listed = read_lists([last.similar], ("image_id", "similar_image_id"), images, images, config.num_similar, root)
        before = Before(listed, is_changed_I, is_changed_I)
    lists, is_recomputed_I, _ = update(unit_If, unit_If, (config.num_similar,) * 2, before, itself_II, None)
    ledger.count("images compared", int(is_recomputed_I.sum()))
    image, rank, similar, score = listing(images, images, lists, slice(0, None))
    columns = {"image_id": image, "rank": rank, "similar_image_id": similar, "score": score}
    return parquet.write(SIMILAR_IMAGES, columns, root)


def _indistinct(images_Id: np.ndarray, has_picture_I: np.ndarray) -> np.ndarray:
    """bool (I,): images without a picture that have the vector of another such image.

    They are as near as can be, and not because they look alike.
    """
    without = np.flatnonzero(~has_picture_I)
    vectors_Nd = images_Id[without]
    # Equal vectors are neighbors in the order of their places on any line.
    order = np.argsort(vectors_Nd @ np.random.default_rng(0).standard_normal(vectors_Nd.shape[1]))
    gaps = np.linalg.norm(np.diff(vectors_Nd[order], axis=0), axis=1)
    is_same = gaps <= SAME * np.linalg.norm(vectors_Nd[order[1:]], axis=1)
    is_indistinct_I = np.zeros(len(images_Id), bool)
    is_indistinct_I[without[order[1:][is_same]]] = True
    is_indistinct_I[without[order[:-1][is_same]]] = True
    return is_indistinct_I
