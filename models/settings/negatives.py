"""Settings of negatives: when an exclusion is dropped."""

from dataclasses import dataclass

DROPPABLE = ("tags", "contacts", "groups")


@dataclass(frozen=True, kw_only=True)
class NegativeConfig:
    """When exclusions are dropped: never for min_negatives=0, the paper's plain reading."""

    min_negatives: int = 100  # a user with fewer loses an exclusion, ...
    min_share: float = 0.05  # ... unless this share of all images is left
    drop_order: tuple[str, ...] = ("tags", "groups", "contacts")  # the first is dropped first
    social: bool = True  # false: any image that is no favorite, for ablations

    def __post_init__(self) -> None:
        if set(self.drop_order) - set(DROPPABLE) or len(set(self.drop_order)) < len(self.drop_order):
            raise ValueError(
                f"drop_order {self.drop_order}: each of {', '.join(DROPPABLE)} may stand in it once, and nothing else "
                f"(a user's own favorites never become negatives)"
            )
