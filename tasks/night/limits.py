"""The gate's settings, and how a figure is judged by two limits: pass, warn or hold."""

import math

from storage.manifests import Outcome
from tasks.settings.limits import LEAST, GateConfig


def fall(now: float, before: float) -> float:
    """How far, relatively, a figure is below what it was; negative where it is above."""
    return 1 - now / before if before else 0.0


def judge(name: str, figure: float, setting: str, config: GateConfig, message: str, *, no_hold: str = "") -> Outcome:
    """The outcome for a figure by the limits of a setting.

    Args:
        no_hold: why a figure beyond the second limit only warns; empty where it does not.
    """
    warn, hold = getattr(config, setting)
    is_least = setting in LEAST

    def is_beyond(limit: float | None) -> bool:
        return limit is not None and not (figure >= limit if is_least else figure <= limit)  # nan is beyond any

    held, warned = is_beyond(hold), is_beyond(warn)
    side = "below" if is_least else "above"
    named = [f"{what} {side} {limit:g}" for what, limit in (("warn", warn), ("hold", hold)) if limit is not None]
    spared = f"; no hold: {no_hold}" if held and no_hold else ""
    return Outcome(
        name,
        passed=not (held or warned),
        is_warning=bool(no_hold) if held else True,
        message=message + spared,
        figure=figure if math.isfinite(figure) else None,
        limits=f"gate.{setting}: {', '.join(named) or 'no limit'}",
    )
