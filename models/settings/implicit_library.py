"""Settings of `als` and `bpr`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ALSConfig:
    """Settings of `als`; the defaults are those chosen on validation on `movielens-posters` and `lastfm-friends`."""

    factors: int = 128  # f
    alpha: float = 10.0  # confidence in a favorite (other pairs: 1); the paper's 1 + α
    regularization: float = 50.0  # λ, not times the number of favorites
    iterations: int = 15  # in each all users, then all images are solved for
    intercept: bool = True  # everybody favors one more image, never listed: popularity gets a factor


@dataclass(frozen=True, kw_only=True)
class BPRConfig:
    """Settings of `bpr`; the defaults are the library's."""

    factors: int = 100  # f, plus a bias of each image
    learning_rate: float = 0.01  # of plain stochastic descent
    regularization: float = 0.01  # λ, the same for users, images and biases
    iterations: int = 100  # epochs
    popular: float = 0.75  # p ln(popularity) is added to scores; 1 undoes the sampling, 0: the library's
