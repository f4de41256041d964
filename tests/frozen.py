"""A root as an earlier version of the code left it, to show that later versions can still work with it.

`fixtures/schema_1.tar.xz` holds two runs with tables of schema version 1, published at commit 00ae414 with these
settings:

    tastegraph nightly --source demo --root /tmp/schema_1 --config SETTINGS --set model.system=ease --run-id older
    tastegraph nightly --source demo --root /tmp/schema_1 --config SETTINGS --set model.system=tastegraph
                       --set model.dimensions=8 --run-id newest

    demo: {users: 24, images: 40, picture_px: 16}
    evaluation: {min_users: 5}
    images: {size_px: 16, shard_images: 20}
    word2vec: {dimensions: 4}
    clusters: {num_clusters: 8}
    recommend: {num_recommendations: 5, num_similar: 3, block_users: 16}
    gate: {tolerance: 0.9}

The gate stopped `older`; `newest` is current. Left out to keep it small: Prefect's history, the demo source, and the
pictures' features with the network that made them. Never make it again with newer code: its age is its use.
"""

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "fixtures" / "schema_1.tar.xz"


def root_of_schema_1(folder: Path) -> Path:
    """The root, unpacked below this folder."""
    root = folder / "schema_1"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return root
