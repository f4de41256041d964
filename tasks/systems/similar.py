"""Every image's similar images."""

import numpy as np
import pyarrow as pa

from models.retrieval import index
from models.retrieval.incremental_topk import Before
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.similar import SIMILAR_IMAGES
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.settings.lists import RecommendConfig
from tasks.systems.compared import only_itself, read_compared
from tasks.systems.listing import differ, listing, read_lists, sample_rows, update
from tasks.systems.lists import Lists, Policy
from tasks.systems.model import Model, read_embeddings


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
    images, unit_If = read_compared(model, appearance, policy, pixels, root)
    if not unit_If.size:
        return parquet.write(SIMILAR_IMAGES, {name: [] for name in SIMILAR_IMAGES.schema.names}, root)
    everything = np.arange(len(images))
    itself_II, k = only_itself(everything, len(images)), config.num_similar
    if config.recall < 1:
        some = sample_rows(len(images), seed=0)
        found = index.fit(unit_If[some], unit_If, k, config.recall, seen_NI=itself_II[some])
        lists = index.search(unit_If, unit_If, k, found, seen_UI=itself_II)
        is_recomputed_I = np.ones(len(images), bool)
    else:
        before = _before(model, images, k, last, root) if last else None
        lists, is_recomputed_I, _ = update(unit_If, unit_If, (k, k), before, itself_II, None)
    ledger.count("images compared", int(is_recomputed_I.sum()))
    image, rank, similar, score = listing(images, images, lists, slice(0, None))
    columns = {"image_id": image, "rank": rank, "similar_image_id": similar, "score": score}
    return parquet.write(SIMILAR_IMAGES, columns, root)


def _before(model: Model, images: Ids, k: int, last: Lists, root: Root) -> Before:
    """The previous lists of these images, and which images have changed."""
    embedded, images_Id = read_embeddings(model.embeddings.images, root)
    if len(embedded) > len(images):
        images_Id = images_Id[matrices.rows_of(pa.array(images, pa.string()), embedded)]
    images_before, before_Kd = read_embeddings(last.request.model.embeddings.images, root)
    is_changed_I = differ(images_Id, before_Kd, matrices.rows_of(pa.array(images, pa.string()), images_before))
    is_changed_I |= ~matrices.are_in(images, parquet.read(last.similar, root, ["image_id"])["image_id"])
    listed = read_lists([last.similar], ("image_id", "similar_image_id"), images, images, k, root)
    return Before(listed, is_changed_I, is_changed_I)
