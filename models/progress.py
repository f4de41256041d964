"""How far a long computation is, told to whoever listens; nobody by default."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Listener = Callable[[int, int, str], object]
"""Called with how many are done, how many there are, and what they are: 3, 20, "epochs"."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within this context, and not in threads that it starts, the listener hears of each step of an outermost loop."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def told(items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The items, one by one; the listener hears of each when the next one is asked for. Loops within are silent."""
    listener = _listener.get()
    if listener is None:
        yield from items
        return
    _listener.set(None)
    try:
        for done, item in enumerate(items, 1):
            yield item
            listener(done, total, unit)
    finally:
        _listener.set(listener)
