"""What each rule of the policy costs: NDCG of the tested model's lists with the rule and without it.

N users, I images, K places of a list.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation import metrics
from models.retrieval.ranking import TopK
from models.sparse import has_entries
from storage import matrices, parquet
from storage.roots import Root
from storage.samples import sampled
from tasks.data.split import Split
from tasks.runtime.caching import stage
from tasks.systems.lists import Policy
from tasks.systems.model import Model
from tasks.systems.policy import Rules, read_rules
from tasks.systems.scoring import Scorer, best_images, read_scorer

K = 20
MOST_USERS = 5_000  # about so many of the test users, the same every night; a rare rule's interval is small there
NO_RULE, ALL_RULES = "no rule", "all rules"
PROTOCOL = "policy"  # of the rows in METRICS


@dataclass(frozen=True)
class Price:
    """NDCG@K under one rule, and how far that is from NDCG@K under none, over the same users; 95 % intervals."""

    rule: str
    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    users: int
    users_changed: int  # whose first K places are others
    ruled_out: int  # concealed favorites that can be in no list
    concealed: int

    @property
    def line(self) -> str:
        """The price in a few words."""
        return (
            f"NDCG@{K} {self.value - self.difference:.4f} without it, {self.value:.4f} with it: {self.difference:+.4f} "
            f"[{self.difference_low:+.4f}, {self.difference_high:+.4f}]; other lists for {self.users_changed:,} of "
            f"{self.users:,} test users; {self.ruled_out:,} of {self.concealed:,} concealed favorites ruled out"
        )


def metrics_of(prices: list[Price], system: str) -> list[dict[str, Any]]:
    """Rows of METRICS, with the rule as slice."""
    of = {"protocol": PROTOCOL, "system": system, "metric": "ndcg", "k": K}
    return [
        {**of, "slice": price.rule, "value": price.value, "low": price.low, "high": price.high, "users": price.users}
        for price in prices
    ]


@stage
def price_policy(split: Split, model: Model, policy: Policy, root: Root) -> list[Price]:
    """The price of each active rule, and of all of them, with the lists' NDCG under no rule first.

    Lists are ranked as in full ranking: of all images but training favorites. Empty where no rule is active, or nobody
    is tested.
    """
    scorer = read_scorer(model, root)
    training, concealed = (parquet.read(ref, root) for ref in (split.training, split.concealed))
    users = matrices.ids_of(concealed["user_id"])
    users = users[sampled(users, MOST_USERS / max(len(users), MOST_USERS))]
    rules = read_rules(policy, users, scorer.images, root)
    if not (len(users) and rules.names):
        return []
    training_NI, concealed_NI = (
        matrices.incidence(rows["user_id"], rows["image_id"], users, scorer.images) for rows in (training, concealed)
    )
    users_N = matrices.rows_of(pa.array(users, pa.string()), scorer.users)
    without_NK = _ranked(scorer, model.system, users_N, training_NI, rules.only(None))
    ndcg_N = metrics.ndcg(metrics.find_hits(without_NK, concealed_NI), K)
    prices = []
    together = [ALL_RULES] if len(rules.names) > 1 else []
    for name in (NO_RULE, *rules.names, *together):
        applied = rules if name == ALL_RULES else rules.only(name)
        ranked_NK = without_NK.copy()
        affected = _affected(without_NK, applied)
        if affected.size:
            some = applied.for_users(affected)
            ranked_NK[affected] = _ranked(scorer, model.system, users_N[affected], training_NI[affected], some)
        values_N = metrics.ndcg(metrics.find_hits(ranked_NK, concealed_NI), K)
        value, difference = metrics.bootstrap(values_N), metrics.bootstrap(values_N - ndcg_N)
        prices.append(
            Price(
                name,
                *value[:3],
                *difference[:3],
                users=value.users,
                users_changed=int((ranked_NK != without_NK).any(axis=1).sum()),
                ruled_out=applied.unlisted_pairs(concealed_NI).nnz,
                concealed=concealed_NI.nnz,
            )
        )
    return prices


def _affected(ranked_NK: np.ndarray, rules: Rules) -> np.ndarray:
    """The users whose list may change under these rules: all where they choose, else those that lose an image."""
    if rules.config.chooses:
        return np.arange(len(ranked_NK))
    rows, columns = np.nonzero(ranked_NK >= 0)
    listed_NI = csr_array(
        (np.ones(len(rows), np.float32), (rows, ranked_NK[rows, columns])), shape=(len(ranked_NK), len(rules.owner_I))
    )
    return np.flatnonzero(has_entries(rules.unlisted_pairs(listed_NI)))


def _ranked(scorer: Scorer, system: str, users_N: np.ndarray, seen_NI: csr_array, rules: Rules) -> np.ndarray:
    """int32 (N, K): the users' lists under these rules."""
    unlisted_NI, allowed = rules.unlisted(seen_NI), np.flatnonzero(rules.allowed)

    def ranked(rows: np.ndarray, depth: int) -> TopK:
        return best_images(scorer, users_N[rows], {"all": allowed}, depth, unlisted_NI[rows])["all"]

    depth = max(K, rules.config.pool) if rules.config.chooses else K
    lists = ranked(np.arange(len(users_N)), depth)
    if not rules.config.chooses:
        return lists.rows
    return rules.choose(lists, K, ranked, scorer.vectors and scorer.vectors.images_Id, system).rows
