"""Full-ranking metrics against those of trec_eval, by ir-measures, on the same lists."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, R, Success, nDCG
from scipy.sparse import csr_array

from models.evaluation import metrics

NUM_USERS, NUM_IMAGES, NUM_LISTED = 60, 80, 30


@pytest.fixture(scope="module")
def lists() -> tuple[np.ndarray, csr_array]:
    rng = np.random.default_rng(0)
    scores_UI = rng.random((NUM_USERS, NUM_IMAGES))
    heldout_UI = rng.random((NUM_USERS, NUM_IMAGES)) < rng.random((NUM_USERS, 1)) ** 2
    heldout_UI[:, 3] = True  # everybody is tested
    ranked_UK = np.argsort(-scores_UI, axis=1)[:, :NUM_LISTED]
    ranked_UK[::4, 12:] = -1  # some lists end early
    return ranked_UK, csr_array(heldout_UI)


def test_every_user_has_the_same_metrics(lists: tuple[np.ndarray, csr_array]) -> None:
    ranked_UK, heldout_UI = lists
    qrels = {f"u{user}": {str(image): 1 for image in heldout_UI[[user]].indices} for user in range(NUM_USERS)}
    run = {
        f"u{user}": {str(image): -float(place) for place, image in enumerate(ranked_K) if image >= 0}
        for user, ranked_K in enumerate(ranked_UK)
    }
    hits = metrics.find_hits(ranked_UK, heldout_UI)
    # trec_eval's average precision divides by all held-out images, ours by those that a list of k has room for
    reachable = np.minimum(hits.num_heldout, NUM_LISTED) / hits.num_heldout
    pairs = {
        nDCG @ 5: metrics.ndcg(hits, 5),
        nDCG @ 20: metrics.ndcg(hits, 20),
        R @ 10: metrics.recall(hits, 10),
        P @ 20: metrics.precision(hits, 20),
        Success @ 5: metrics.hit_rate(hits, 5),
        AP: metrics.average_precision(hits, NUM_LISTED) * reachable,
    }
    theirs = {(one.measure, one.query_id): one.value for one in ir_measures.iter_calc(list(pairs), qrels, run)}
    for measure, ours_U in pairs.items():
        np.testing.assert_allclose(ours_U, [theirs[measure, user] for user in qrels], err_msg=str(measure))
