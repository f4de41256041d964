"""Settings of `vbpr`."""

from dataclasses import dataclass

from models.settings.bpr import BPRConfig


@dataclass(frozen=True, kw_only=True)
class VBPRConfig(BPRConfig):
    """Settings of `vbpr`. The paper has 10 latent and 10 visual dimensions and tunes its λ. Both K are seed 001's."""

    epochs: int = 40  # passes over the favorites; fewer are better for cold images, more for warm ones
    learning_rate: float = 0.003  # of Adam
    K: int = 50  # dimensions of γ
    K_visual: int = 50  # dimensions of θ and rows of E
    lambda_theta: float = 0.003  # λ of γ, θ and β
    lambda_visual: float = 0.0001  # λ of E and β'; from .001 on hardly any visual part is left
