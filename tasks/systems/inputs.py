"""What the lists of some users depend on, as numbered users and images with vectors; and the index of these images.

N users, I images, d dimensions.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array

from models.retrieval import index
from models.retrieval.incremental_topk import best_of
from models.retrieval.index import Index
from models.retrieval.ranking import Candidates, TopK
from models.retrieval.reranking import Ranked
from storage import checkpoints, matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.runtime.caching import stage
from tasks.settings.lists import RecommendConfig
from tasks.systems.listing import sample_rows
from tasks.systems.lists import ListRequest
from tasks.systems.policy import Rules, read_rules
from tasks.systems.scoring import Scorer, read_scorer


@dataclass(frozen=True, eq=False)
class ListInputs:
    """Some users and the images that may be listed for anybody, with vectors, and what may be listed for whom."""

    users: Ids
    images: Ids
    users_Nd: np.ndarray
    images_Id: np.ndarray
    tags: Ids
    rules: Rules
    unlisted_NI: csr_array  # favorites, and what the policy hides
    candidates: Candidates | None

    @property
    def exact(self) -> Ranked:
        """The best images of some of the users."""
        return partial(best_of, self.users_Nd, self.images_Id, self.unlisted_NI, self.candidates)

    def by(self, found: Index) -> Ranked:
        """The same by an index."""

        def ranked(users: np.ndarray, k: int) -> TopK:
            some = self.candidates and self.candidates.of(users)
            vectors = self.users_Nd[users], self.images_Id
            return index.search(*vectors, k, found, seen_UI=self.unlisted_NI[users], candidates=some)

        return ranked


def read_inputs(scorer: Scorer, rows: np.ndarray, request: ListRequest, tags: Ids, root: Root) -> ListInputs:
    """Those of the users in these rows; the model has vectors."""
    vectors, users = scorer.vectors, scorer.users[rows]
    assert vectors is not None
    rules = read_rules(request.policy, users, scorer.images, root)
    is_listed_I = vectors.usable_I & rules.allowed
    images, images_Id, rules = scorer.images[is_listed_I], vectors.images_Id[is_listed_I], rules.of(is_listed_I)
    seen_NI, candidates = read_filters(request, users, images, tags, root)
    unlisted_NI = rules.unlisted(seen_NI)
    return ListInputs(users, images, vectors.users_Ud[rows], images_Id, tags, rules, unlisted_NI, candidates)


@stage
def index_images(request: ListRequest, config: RecommendConfig, root: Root) -> Ref:
    """An index of the images that may be listed, for lists with the recall of the settings."""
    scorer = read_scorer(request.model, root)
    now = read_inputs(scorer, sample_rows(len(scorer.users), seed=0), request, read_tags(root, request), root)
    found = index.fit(
        now.users_Nd,
        now.images_Id,
        list_depth(config, now.rules),
        config.recall,
        seen_NI=now.unlisted_NI,
        candidates=now.candidates,
    )
    tensors = {name: torch.from_numpy(getattr(found, name)) for name in ("cells_Lf", "cell_I")}
    return checkpoints.store({**tensors, "num_probed": found.num_probed}, "index", root)


def read_index(ref: Ref, root: Root) -> Index:
    """The index of `index_images`."""
    saved = checkpoints.load(ref, root)
    return Index(saved["cells_Lf"].numpy(), saved["cell_I"].numpy(), saved["num_probed"])


def list_depth(config: RecommendConfig, rules: Rules) -> int:
    """How many images a user's list is chosen from."""
    k = config.num_recommendations
    return max(k, rules.config.pool) if rules.config.chooses else k


def read_tags(root: Root, *requests: ListRequest) -> Ids:
    """All tags of interests and of images; none where all images are candidates."""
    refs = [ref for request in requests for ref in (request.interests, request.image_labels) if ref]
    return matrices.ids_of(*(parquet.read(ref, root, ["tag"])["tag"] for ref in refs)) if refs else np.empty(0, object)


def read_filters(
    request: ListRequest, users: Ids, images: Ids, tags: Ids, root: Root
) -> tuple[csr_array, Candidates | None]:
    """bool (N, I), the favorites of these users, which are never recommended; and candidates, None: all images."""
    seen, candidates = parquet.read(request.favorites, root), None
    if request.interests and request.image_labels:
        interests, labels = parquet.read(request.interests, root), parquet.read(request.image_labels, root)
        candidates = Candidates(
            matrices.incidence(interests["user_id"], interests["tag"], users, tags),
            matrices.incidence(labels["image_id"], labels["tag"], images, tags),
        )
    return matrices.incidence(seen["user_id"], seen["image_id"], users, images), candidates
