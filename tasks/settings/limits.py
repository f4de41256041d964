"""Settings of the gate: its limits."""

from dataclasses import dataclass, fields

Limits = tuple[float | None, float | None]  # beyond the first a check warns, beyond the second it holds; None: never

LEAST = ("lead_over_random", "lead_over_popularity", "overlap")  # a figure below the limit is beyond it

RECALL = "recall of"  # begins the name of a check, before the name of the table


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Limits, each [warn, hold]: beyond the first a warning, beyond the second the run is held; null: never.

    Falls, rises and shifts are from the current run to this one.
    """

    lead_over_random: Limits = (None, 0.0)  # least lead of a headline metric over random's
    lead_over_popularity: Limits = (0.0, None)  # the same over popularity's
    metric_fall: Limits = (0.05, 0.1)  # relative fall of a headline metric; no hold where the intervals explain it
    volume_fall: Limits = (0.1, 0.5)  # relative fall of users, images or favorites
    activity_shift: Limits = (0.25, None)  # of favorites per user: population stability index over ten quantile bins
    profile_shift: Limits = (0.1, None)  # of users' profiles over clusters, on average: Jensen-Shannon, 0 to 1
    score_shift: Limits = (0.25, None)  # of one system's recommended scores: population stability index
    overlap: Limits = (0.3, 0.05)  # least share of a user's first 20 that were there before, mean of users
    popularity_shift: Limits = (0.1, 0.3)  # of recommended images' mean popularity percentile
    owner_rise: Limits = (0.05, 0.2)  # of the largest share of places of one owner
    coverage_fall: Limits = (0.2, 0.5)  # relative fall of the share of images recommended
    listed_fall: Limits = (0.02, 0.2)  # relative fall of the share of users who have a list
    recall_short: Limits = (0.02, None)  # how far the recall of lists that an index found is below recommend.recall
    sample_users: int = 20_000  # users whose lists are compared, always the same

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name != "sample_users":
                _check(item.name, *getattr(self, item.name), is_least=item.name in LEAST)
        if self.sample_users < 1:
            raise ValueError(f"gate.sample_users is {self.sample_users}: it must be at least 1")


def _check(name: str, warn: float | None, hold: float | None, *, is_least: bool) -> None:
    if warn is not None and hold is not None and (warn < hold if is_least else warn > hold):
        raise ValueError(
            f"gate.{name} is [{warn}, {hold}]: the first is the limit of a warning, so the second, which holds the run "
            f"back, must be at {'most' if is_least else 'least'} as high"
        )
