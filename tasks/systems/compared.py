"""The images that have similar images, by unit vectors of their appearance.

I images, N of them, f dimensions of appearance.
"""

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval import incremental_topk
from storage import matrices
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.systems.appearance import representations
from tasks.systems.lists import Policy
from tasks.systems.model import Model, read_embeddings
from tasks.systems.policy import allowed

SAME = 1e-4  # how far, relatively, vectors of equal content are apart by rounding


def read_compared(
    model: Model, appearance: Ref | None, policy: Policy | None, pixels: list[Ref], root: Root
) -> tuple[Ids, np.ndarray]:
    """The images that have lists, and float32 (I, f) unit vectors of their appearance; none where the model has none.

    Args:
        pixels: shards of the images with a usable picture.
    """
    if not appearance:
        return np.empty(0, object), np.empty((0, 0), np.float32)
    images, images_Id = read_embeddings(model.embeddings.images, root)
    listed_I = allowed(policy, images, root)
    if pixels:
        listed_I &= ~_indistinct(images_Id, matrices.are_in(images, pa.array(Shards.open(pixels, root).ids)))
    if not listed_I.all():  # a copy of all vectors is large
        images, images_Id = images[listed_I], images_Id[listed_I]
    appearance_If = representations(images_Id, appearance, root)
    return images, incremental_topk.unit(appearance_If, out=appearance_If)


def only_itself(rows: np.ndarray, num_images: int) -> csr_array:
    """float32 (N, I): what the list of each image never holds."""
    ones, places = np.ones(len(rows), np.float32), (np.arange(len(rows)), rows)
    return csr_array((ones, places), shape=(len(rows), num_images))


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
