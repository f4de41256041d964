"""Clusters as a stage: what its log says."""

import logging

import numpy as np

from models.settings.clusters import ClusterConfig
from storage import matrices, parquet
from storage.roots import Root
from storage.tables.tastes import TOKEN_VECTORS
from tasks.data.clusters import cluster_vectors
from tasks.runtime.whereabouts import RUN


def test_fewer_clusters_than_wanted_are_said_once_a_run_and_name_the_stage(tmp_path, caplog):
    caplog.set_level(logging.INFO, "tastegraph")
    root = Root(str(tmp_path))
    columns = {"token": ["a", "b", "c"], "count": [3, 2, 1], "vector": matrices.lists_of(np.eye(3, dtype=np.float32))}
    vectors = parquet.write(TOKEN_VECTORS.with_dimensions(3), columns, root)
    token = RUN.set("night-1")
    try:
        found = [cluster_vectors.fn(vectors, ClusterConfig(seed=seed), root) for seed in range(2)]
    finally:
        RUN.reset(token)

    assert [ref.rows for ref in found] == [3, 3]
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage().split() == [
        *("cluster-vectors", "clusters.num_clusters", "is", "1024,", "and", "there", "are", "3", "distinct", "vectors")
    ]
