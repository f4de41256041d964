"""Settings of `bpr_mf`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BPRMFConfig:
    """Settings of `bpr_mf`. The paper tunes its λ and rate, and names no values."""

    K: int = 64  # dimensions of γ
    epochs: int = 30  # passes over the favorites
    learning_rate: float = 0.1  # of plain stochastic descent
    lambda_theta: float = 0.02  # λ of users, images and biases; as in the paper's updates, without a 2
    candidates: int = 8  # the one with the highest score is the negative; 1: the paper's
    batch_triplets: int = 2048  # triplets of a step, at most

    def __post_init__(self) -> None:
        if min(self.K, self.epochs, self.candidates, self.batch_triplets) < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"K {self.K}, epochs {self.epochs}, candidates {self.candidates}, batch_triplets "
                f"{self.batch_triplets}, learning_rate {self.learning_rate}: need at least 1, and a rate above 0"
            )
