"""What a stage needs in memory is bounded by a setting: each runs under a limit that a larger setting exceeds."""

import json
import subprocess
import sys

import pytest

# The limit is of the data segment (RLIMIT_DATA), above what the process holds once its input is made: memory that is
# mapped to files does not count. What a stage takes beyond it is an error of numpy's or torch's.
CHILD = """
import json, resource, sys
import numpy as np
import torch
from scipy.sparse import csr_array
from models.cdl.negatives import assign
from models.community import Community, Signals
from models.ensemble.experts.base import Expert
from models.ensemble.experts.linear import Ridge
from models.ensemble.weights import build_pools
from models.retrieval import index
from models.retrieval.incremental_topk import best
from models.retrieval.ranking import top_k
from models.settings.negatives import NegativeConfig
from models.settings.weights import WeightsConfig

torch.set_num_threads(1)
rng = np.random.default_rng(0)

def sparse(rows, columns, each):
    places = (np.repeat(np.arange(rows), each), rng.integers(0, columns, rows * each))
    matrix = csr_array((np.ones(rows * each, np.float32), places), shape=(rows, columns))
    matrix.data[:] = 1
    return matrix

def fits(run, setting, mib):
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + mib * 2**20, resource.RLIM_INFINITY))
    try:
        run(setting)
        return True
    except (MemoryError, RuntimeError) as error:
        assert "memory" in str(error).lower() or isinstance(error, MemoryError), error
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

users, images = (rng.standard_normal((rows, 16), np.float32) for rows in (4096, 65_536))
seen = sparse(4096, 65_536, 4)
community = Community(sparse(20_000, 30_000, 3), image_tags_IT=sparse(30_000, 2_000, 3))
signals = Signals(
    community.favorites_UI, sparse(20_000, 2_000, 3), community.image_tags_IT,
    sparse(20_000, 20_000, 4), sparse(20_000, 500, 2),
)
experts = [Expert(*(rng.standard_normal(shape, np.float32) for shape in ((20_000, 8), (8, 30_000)))) for _ in range(4)]
nobody = np.zeros(30_000, bool)

def ridge(floats):
    Ridge(exact_rows=1, tags=0.0, rank=256, max_floats=floats).fit(community, 0)

cells = index.build(users)._replace(num_probed=128)

def search(probes):
    index.PROBES, index.SCORES = probes, 2**20
    index.search(images[:32_768], users, 10, cells, seen_UI=csr_array((32_768, 4096)))

cases = {
    "top-K": (lambda shape: top_k(users, images, 10, seen_UI=seen, block_shape=shape), (64, 8192), (4096, 65_536), 96),
    "similar images": (
        lambda rows: best(images[:rows], images, 10, seen_UI=csr_array((rows, 65_536))), 2048, None, 160,
    ),
    "index": (search, 2**18, 2**23, 48),
    "negatives": (lambda size: assign(signals, NegativeConfig(), size), 2**20, None, 48),
    "pools": (
        lambda number: build_pools(
            experts, community, sparse(20_000, 30_000, 1), nobody, WeightsConfig(weighing_users=number, depth=50), 0
        ),
        1000, None, 96,
    ),
    "experts": (ridge, 5 * 10**5, 4 * 10**8, 96),
}
chosen = {name: cases[name] for name in sys.argv[1:]} or cases
print(json.dumps({
    name: [fits(run, small, mib), None if large is None else fits(run, large, mib)]
    for name, (run, small, large, mib) in chosen.items()
}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and RLIMIT_DATA are Linux's")
def test_memory_is_bounded_by_settings_and_not_by_the_community() -> None:
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    fits = json.loads(child.stdout)
    assert {name: small for name, (small, _) in fits.items()} == dict.fromkeys(fits, True)
    assert {name: large for name, (_, large) in fits.items() if large is not None} == {
        "top-K": False,
        "index": False,
        "experts": False,
    }
