"""Shards of vectors as inputs of the image tower."""

import numpy as np
import polars as pl
import pytest

from storage import parquet, shards
from storage.roots import Root
from storage.shards import Shards
from storage.tables.community import IMAGE_FEATURES
from tasks.cdl.pack import pack_features, scale_features


@pytest.mark.parametrize("of", ["source", "pictures"])
def test_features_of_the_source_and_of_pictures_are_scaled_to_unit_length_and_zeros_stay(tmp_path, of):
    root, ids = Root(str(tmp_path)), ["i0", "i1", "i2"]
    features_If = np.array([[3, 4], [0, 0], [0, 2]], np.float32)
    if of == "source":
        rows = pl.DataFrame({"image_id": ids, "feature": features_If.tolist()})
        packed = pack_features.fn(parquet.write(IMAGE_FEATURES, rows, root), 8192, root)
    else:
        packed = [scale_features.fn(shards.write(ids, features_If, "features", root), root)]
    opened = Shards.open(packed, root)

    assert list(opened.ids) == ids
    np.testing.assert_allclose(opened.gather(np.arange(3)), [[0.6, 0.8], [0, 0], [0, 1]], rtol=1e-6)
