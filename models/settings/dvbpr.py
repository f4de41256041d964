"""Settings of `dvbpr`."""

from dataclasses import dataclass
from typing import Literal

from models.settings.visual_taste import TasteConfig


@dataclass(frozen=True, kw_only=True)
class DVBPRConfig(TasteConfig):
    """Settings of `dvbpr`. The defaults suit a CPU."""

    epochs: int = 10  # passes over the favorites
    learning_rate: float = 0.001  # of Adam; the paper's 0.0001 needs ten times the epochs
    network: Literal["small", "cnn_f"] = "small"  # cnn_f is the paper's
    channels: tuple[int, ...] = (32, 64, 128, 256)  # of the small network's convolutions
    size_px: int = 32  # side that pictures are resized to; cnn_f: 224
    dropout: float = 0.5  # of cnn_f
