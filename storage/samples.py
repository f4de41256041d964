"""A sample of ids that is the same every time, whatever other ids there are."""

import hashlib
from collections.abc import Iterable

import numpy as np


def sampled(ids: Iterable[str], share: float) -> np.ndarray:
    """bool: which ids are in a sample of about this share; of two shares the larger holds the smaller."""
    digests = (hashlib.blake2b(id_.encode(), digest_size=8).digest() for id_ in ids)
    return np.fromiter((int.from_bytes(digest) < share * 2**64 for digest in digests), bool)
