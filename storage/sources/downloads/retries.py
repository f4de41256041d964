"""When a request is tried again: after a growing wait, or the wait that the server requires."""

import random
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState


class PassingError(Exception):
    """A temporary failure. `wait_s`: how long the server requires to wait."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


def backoff(first_s: float, seed: int) -> Callable[[RetryCallState], float]:
    """The wait before each attempt: doubled each time, with a random part, plus the wait that the server requires."""
    rng = random.Random(seed)

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        required_s = error.wait_s if isinstance(error, PassingError) else 0.0
        grown_s = first_s * 2.0 ** (state.attempt_number - 1)
        return required_s + grown_s * (1 + rng.random())

    return wait_s


def retry_after(value: str | None, now: datetime) -> float:
    """The wait in seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); else 0."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\s*\d+\s*", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0
