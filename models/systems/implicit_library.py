"""ALS and BPR of the library `implicit`, an optional extra: a common choice, to compare with.

U users, I images, f factors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from scipy.sparse import csr_matrix, hstack
from threadpoolctl import threadpool_limits

from models.community import Community
from models.settings.implicit_library import ALSConfig, BPRConfig
from models.systems.base import InnerProduct, Vectors, vectors_of


class ALS(InnerProduct[ALSConfig]):
    """Weighted least squares over all pairs of users and images."""

    name = "als"
    source = "Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets, ICDM 2008; implicit 0.7"
    grid = {
        "factors": (64, 128, 256),
        "alpha": (2.0, 10.0, 40.0),
        "regularization": (0.1, 10.0, 50.0),
        "iterations": (15, 30),
        "intercept": (True, False),
    }
    Config = ALSConfig

    def fit(self, community: Community) -> None:
        with _implicit() as implicit:
            # no two threads have the same user or image, so their number does not change the result
            model = implicit.cpu.als.AlternatingLeastSquares(
                factors=self.config.factors,
                alpha=self.config.alpha,
                regularization=self.config.regularization,
                iterations=self.config.iterations,
                random_state=self.seed,
            )
            favorites_UI = community.favorites_UI
            if self.config.intercept:
                favorites_UI = hstack([favorites_UI, np.ones((community.num_users, 1), np.float32)])
            model.fit(csr_matrix(favorites_UI), show_progress=False)
        self.fitted = _vectors(model.user_factors, model.item_factors[: community.num_images], community)


class BPR(InnerProduct[BPRConfig]):
    """Pairwise ranking by stochastic gradient descent; negatives are sampled in proportion to popularity.

    With negatives from a distribution q the best scores are ln p(i|u) - ln q(i), where the paper's uniform negatives
    give ln p(i|u): so ln q, the logarithm of popularity, is added to the biases of images.
    """

    name = "bpr"
    source = "Rendle et al.: BPR: Bayesian personalized ranking from implicit feedback, UAI 2009; implicit 0.7"
    grid = {
        "factors": (64, 100),
        "learning_rate": (0.01, 0.03, 0.05),
        "regularization": (0.003, 0.01, 0.03),
        "iterations": (50, 100, 200),
        "popular": (0.0, 0.75, 1.0),
    }
    Config = BPRConfig

    def fit(self, community: Community) -> None:
        with _implicit() as implicit:
            model = implicit.cpu.bpr.BayesianPersonalizedRanking(
                factors=self.config.factors,
                learning_rate=self.config.learning_rate,
                regularization=self.config.regularization,
                iterations=self.config.iterations,
                num_threads=1,  # several threads overwrite each other's steps, and no two runs are equal
                random_state=self.seed,
            )
            model.fit(csr_matrix(community.favorites_UI), show_progress=False)
        images_If = model.item_factors
        images_If[:, -1] += self.config.popular * np.log(np.maximum(community.popularity_I, 1))  # the column of biases
        self.fitted = _vectors(model.user_factors, images_If, community)


@contextmanager
def _implicit() -> Iterator[ModuleType]:
    """The library, with one thread of BLAS: with more it warns, and slows down."""
    try:
        import implicit.cpu.als
        import implicit.cpu.bpr
    except ImportError as error:
        raise ImportError("als and bpr need the library implicit: pip install 'tastegraph[implicit]'") from error
    with threadpool_limits(1, "blas"):
        yield implicit


def _vectors(users_Uf: np.ndarray, images_If: np.ndarray, community: Community) -> Vectors:
    return vectors_of(users_Uf, images_If, community.popularity_I > 0)
