"""Where the code that runs now is: in which run, and in which stage. Lines of the log say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

RUN: ContextVar[str | None] = ContextVar("run", default=None)  # the run's id
STAGE: ContextVar[str | None] = ContextVar("stage", default=None)  # the stage's name


@contextmanager
def in_stage(name: str) -> Iterator[None]:
    """Within, the code is in this stage. A stage's task refers to this function, as no context variable is pickled."""
    before = STAGE.set(name)
    try:
        yield
    finally:
        STAGE.reset(before)
