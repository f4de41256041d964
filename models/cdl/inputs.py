"""Which input the image tower takes: pixels, features, tag clusters, or vectors from favorites."""

from collections.abc import Mapping

import numpy as np

from models.settings.inputs import KINDS, InputConfig, InputKind


def choose(coverage: Mapping[InputKind, int], num_images: int, config: InputConfig) -> InputKind:
    """The kind of input for a community in which `coverage` of `num_images` have each kind.

    The first of KINDS that half of the images have, else the one that most have; where the tower is to see features
    and there are any, pixels are left out. Raises ValueError for a kind that is set and that no image has.
    """
    if config.kind != "auto":
        if not coverage.get(config.kind):
            raise ValueError(
                f"inputs.kind is {config.kind!r}, but no image of this source has it; images with: {dict(coverage)}"
            )
        return config.kind
    has_features = config.sees == "features" and coverage.get("features", 0) > 0
    kinds = [kind for kind in KINDS if kind in coverage and not (kind == "pixels" and has_features)]
    frequent = [kind for kind in kinds if 2 * coverage[kind] >= num_images]
    return frequent[0] if frequent else max(kinds, key=lambda kind: coverage[kind])


def unit_vectors(vectors_If: np.ndarray) -> np.ndarray:
    """float32 (I, f): vectors of l2 norm 1, as the towers expect them; a vector of zeros stays."""
    norms_I = np.linalg.norm(vectors_If, axis=1, keepdims=True)
    return (vectors_If / np.where(norms_I > 0, norms_I, 1)).astype(np.float32)
