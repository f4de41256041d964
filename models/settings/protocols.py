"""Settings of the paper's protocol."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """Which users are tested and on how many images; the defaults are the paper's numbers."""

    min_favorites: int = 40  # users with fewer favorites are not tested
    max_favorites: int = 200  # users with more favorites are not tested
    num_concealed: int = 20  # favorites of each tested user that are concealed from training
    num_others: int = 80  # distractors mixed with them, a multiple of num_concealed
    max_k: int = 20  # precision and recall are measured at 1 to max_k
    seed: int = 0  # of all samples, and of equal scores' order
    lower_to_community: bool = True  # lower min_favorites and num_concealed if few users qualify
    min_users: int = 100  # min_favorites is lowered while fewer users qualify

    def __post_init__(self) -> None:
        if not 0 < self.num_concealed < self.min_favorites <= self.max_favorites:
            raise ValueError(
                f"num_concealed {self.num_concealed} < min_favorites {self.min_favorites} <= max_favorites "
                f"{self.max_favorites} does not hold; every tested user must keep a favorite to learn from"
            )
        if self.num_others < 1 or self.num_others % self.num_concealed:
            raise ValueError(
                f"num_others {self.num_others} is no multiple of num_concealed {self.num_concealed}: each concealed "
                f"image has equally many distractors"
            )
        if not 1 <= self.max_k <= self.num_concealed + self.num_others:
            raise ValueError(
                f"max_k {self.max_k} is not within the {self.num_concealed + self.num_others} mixed images"
            )
