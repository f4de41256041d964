"""Settings of the training of CDL and its family."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train. The defaults train the small network; flows/paper.yaml holds the paper's (6.1.3)."""

    epochs: int = 30  # passes over the triplets
    batch_triplets: int = 128  # triplets a step in the paper's plain order; else a step is a pool
    optimizer: Literal["sgd", "adamw"] = "adamw"  # sgd is the paper's
    learning_rate: float = 0.002  # at its highest
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.01  # of either optimizer; the paper: 0.0005
    schedule: Literal["constant", "cosine"] = "cosine"  # cosine: warm up over a twentieth, then fall to 0
    precision: Literal["auto", "float32"] = "auto"  # auto: bfloat16 where it is fast, else float32
    checkpoint_steps: int = 100  # steps between two saved states
    device: str = "auto"  # auto: CUDA where there is one, else the CPU
    processes: int = 1  # that share each step: one for each GPU
    seed: int = 0  # of first weights, order and dropout

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adamw"):
            raise ValueError(f"training.optimizer is {self.optimizer!r}; choose sgd or adamw")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"training.schedule is {self.schedule!r}; choose constant or cosine")
        if self.precision not in ("auto", "float32"):
            raise ValueError(f"training.precision is {self.precision!r}; choose auto or float32")
        if min(self.epochs, self.batch_triplets, self.checkpoint_steps, self.processes) < 1:
            raise ValueError("training.epochs, batch_triplets, checkpoint_steps and processes must be at least 1")
