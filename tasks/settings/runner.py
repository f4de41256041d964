"""Settings of where the parts of a run are computed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """Where shards, blocks, and the fits of a comparison are computed. No result depends on it."""

    kind: Literal["threads", "processes", "ray"] = "threads"  # threads, processes, or ray (a cluster)
    workers: int = 0  # at once; 0: one for each core; a running Ray cluster decides itself
    address: str = ""  # of a Ray cluster, as ray://head:10001; empty: RAY_ADDRESS, else one is started

    def __post_init__(self) -> None:
        if self.kind not in ("threads", "processes", "ray"):
            raise ValueError(f"runner.kind is {self.kind!r}; choose threads, processes or ray")
        if self.workers < 0:
            raise ValueError(f"runner.workers = {self.workers}: it is a number of workers, or 0 for one for each core")
        if self.address and self.kind != "ray":
            raise ValueError(f"runner.address is {self.address!r}, and runner.kind {self.kind!r}: it is of ray alone")
