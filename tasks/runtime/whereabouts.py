"""Where the code that runs now is: in which run, and in which stage. Lines of the log say so."""

from contextvars import ContextVar

RUN: ContextVar[str | None] = ContextVar("run", default=None)  # the run's id
STAGE: ContextVar[str | None] = ContextVar("stage", default=None)  # the stage's name
