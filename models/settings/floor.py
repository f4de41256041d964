"""Settings of the systems that have none."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FloorConfig:
    """The baselines have no settings."""
