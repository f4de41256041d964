"""Settings of an ingest."""

from dataclasses import dataclass, field

from storage.settings.reading import TableLimits

EVENT_WEIGHTS = {"like": 1.0, "favorite": 1.0, "save": 1.0, "view": 0.0}  # towards a favorite


@dataclass(frozen=True, kw_only=True)
class IngestConfig(TableLimits):
    """How many bad rows an ingest tolerates, and the largest tables."""

    columns: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # columns' names in files, as {favorites: {user_id: userId}}; over the source's columns.yaml
    event_weights: dict[str, float] = field(
        default_factory=dict
    )  # of events without a weight of their own, over like, favorite, save 1, view 0
    favorite_weight: float = 1.0  # a pair whose events weigh so much is a favorite, but for a hide
    max_quarantined_share: float = 0.2  # of all input rows; above it the run stops

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := set(self.event_weights) - set(EVENT_WEIGHTS):
            raise ValueError(
                f"ingest.event_weights: {', '.join(sorted(unknown))} is none of {', '.join(EVENT_WEIGHTS)}"
            )
