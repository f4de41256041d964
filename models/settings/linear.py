"""Settings of `ease` and `itemknn`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ItemKNNConfig:
    """Settings of `itemknn`. With `popular` .5 and `crowd` 0 the similarity is the plain cosine."""

    neighbours: int = 500  # k: the most similar images of each image
    shrinkage: float = 0.0  # added to the cosine's denominator: lowers similarities of few users
    popular: float = 0.25  # exponent of a neighbour's popularity in the denominator (equation 3's α)
    crowd: float = 1.0  # exponent of a user's number of favorites; 1: rows of length 1

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.shrinkage < 0:
            raise ValueError(
                f"neighbours {self.neighbours}, shrinkage {self.shrinkage}: need at least 1 and at least 0"
            )


@dataclass(frozen=True, kw_only=True)
class EASEConfig:
    """Settings of `ease`."""

    ridge: float = 250.0  # λ; the paper's best are 200 to 1000 on far larger sets
    intercept: float = 0.5  # everybody favors one more image so much: lists are popular, not empty; 0: the paper's
    matrix_gib: float = 16.0  # the largest Gram matrix; inverting takes twice its memory

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise ValueError(f"ridge is {self.ridge}; it must be positive, so that the Gram matrix can be inverted")
        if self.intercept < 0:
            raise ValueError(f"intercept is {self.intercept}; it must be 0 or more")
