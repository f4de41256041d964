"""The part of an image embedding that describes the image's appearance, for similar images.

I images, d dimensions of the embedding, f of them that describe appearance.
"""

import numpy as np
import torch

from storage import checkpoints
from storage.refs import Ref
from storage.roots import Root
from tasks.runtime.caching import stage
from tasks.systems.model import Model, read_embeddings


@stage
def describe_looks(model: Model, root: Root) -> Ref:
    """The dimensions of an embedding that describe an image's appearance, and the mean over images.

    A kept model keeps both, or one more image would change the cosine of all others.
    """
    _, users_Ud = read_embeddings([model.embeddings.users], root)
    _, images_Id = read_embeddings(model.embeddings.images, root)
    # A dimension on which all users agree adds the same to each user's score of an image: it is no matter of taste.
    is_descriptive_d = (users_Ud != users_Ud[:1]).any(axis=0)
    # Centred: no objective asks for a mean of zero, and with the mean that all images share every cosine is near 1.
    mean_d = images_Id.mean(axis=0) if len(images_Id) else np.zeros(len(is_descriptive_d), np.float32)
    tensors = {"is_descriptive": torch.from_numpy(is_descriptive_d), "mean": torch.from_numpy(mean_d)}
    return checkpoints.store(tensors, "looks", root)


def representations(images_Id: np.ndarray, appearance: Ref, root: Root) -> np.ndarray:
    """float32 (I, f): the centred descriptive dimensions of these embeddings."""
    saved = {name: tensor.numpy() for name, tensor in checkpoints.load(appearance, root).items()}
    found_If = np.compress(saved["is_descriptive"], images_Id, axis=1)
    found_If -= np.compress(saved["is_descriptive"], saved["mean"])
    return np.asarray(found_If)
