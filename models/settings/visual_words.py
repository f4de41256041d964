"""Settings of visual words."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """Settings of the descriptors and of the words."""

    num_words: int = 512  # visual words; fewer if there are fewer distinct descriptors
    cell_px: int = 4  # side of a cell; a patch has 4 x 4, the next starts 2 further on
    color_weight: float = 0.0  # of a patch's mean color beside its gradients; 0: gray
