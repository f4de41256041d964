"""Settings of the network of CDL and its family."""

from dataclasses import dataclass
from typing import Literal

LOSSES = ("cross_entropy", "hinge", "softmax", "doublets")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network of CDL and its family."""

    size: Literal["small", "paper"] = "small"  # paper: AlexNet's layers

    def __post_init__(self) -> None:
        if self.size not in ("small", "paper"):
            raise ValueError(f"model.size is {self.size!r}; choose one of small, paper")


@dataclass(frozen=True, kw_only=True)
class HingeConfig(NetworkConfig):
    """The same; the paper does not give the margin."""

    margin: float = 1.0  # by which the hinge wants a favorite nearer than a negative


@dataclass(frozen=True, kw_only=True)
class CDLConfig(HingeConfig):
    """The network, and what it is trained by."""

    loss: Literal["cross_entropy", "hinge", "softmax", "doublets"] = (
        "cross_entropy"  # Eq. 5; hinge, doublets (TwoNets): section 6.1.2; softmax (ours): several negatives at once
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(f"model.loss is {self.loss!r}; choose one of {', '.join(LOSSES)}")
