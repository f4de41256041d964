"""What of an embedding says how an image looks, for similar images."""

import numpy as np
import torch

from storage import checkpoints
from storage.refs import Ref
from storage.roots import Root
from tasks.runtime.caching import stage
from tasks.systems.model import Model, read_embeddings


@stage
def describe_looks(model: Model, root: Root) -> Ref:
    """What of a vector tells how an image looks, and the mean of it.

    A model that is kept keeps both, else one image more would change the cosine of all others.
    """
    _, users_Ud = read_embeddings([model.embeddings.users], root)
    _, images_Id = read_embeddings(model.embeddings.images, root)
    # An entry that all users share adds the same to everybody's score of an image: it says nothing of what it is like.
    tells_d = (users_Ud != users_Ud[:1]).any(axis=0)
    # Centred: no objective asks for a mean of zero, and with what all images share every cosine is near 1.
    centre_d = images_Id.mean(axis=0) if len(images_Id) else np.zeros(len(tells_d), np.float32)
    return checkpoints.store({"tells": torch.from_numpy(tells_d), "centre": torch.from_numpy(centre_d)}, "looks", root)


def representations(images_Id: np.ndarray, looks: Ref, root: Root) -> np.ndarray:
    """What images with these embeddings are like: float32 (I, f)."""
    told = {name: tensor.numpy() for name, tensor in checkpoints.load(root, looks.path).items()}
    return np.asarray(np.compress(told["tells"], images_Id - told["centre"], axis=1))
