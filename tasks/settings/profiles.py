"""Settings of the vocabulary of profiles."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """What an interest names."""

    interests_of: Literal["tags", "clusters"] = "tags"  # raw tags are the paper's wording

    def __post_init__(self) -> None:
        if self.interests_of not in ("tags", "clusters"):
            raise ValueError(f"vocabulary.interests_of is {self.interests_of!r}; choose tags or clusters")
