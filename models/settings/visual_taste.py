"""Settings of `inception`, which others extend."""

from dataclasses import dataclass

from models.settings.bpr import BPRConfig


@dataclass(frozen=True, kw_only=True)
class TasteConfig(BPRConfig):
    """Settings of a learned taste. Seed 001: λ_u = 1, λ = 0.001, K = 50, Adam 1e-4, batches of 128, 20 to 25 epochs.

    In a small community so low a rate hardly moves the weights; a hundred times as high ranks cold images better
    (movielens-posters: NDCG@20 .046 for .031).
    """

    epochs: int = 20  # passes over the favorites
    K: int = 50  # dimensions of θ_u and Φ(i)
    lambda_u: float = 1.0  # λ of θ_u, in each triplet
    lambda_theta: float = 0.001  # λ of the layers that are trained
    pool_images: int = 256  # with pools each image is embedded once an epoch
