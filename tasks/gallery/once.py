"""A property that is computed at its first use, by one thread while the others wait."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801  # as cached_property
    """As functools.cached_property, whose lock is gone from Python 3.12 on. The object has an RLock `lock`."""

    def __init__(self, compute: Callable[[Any], T]):
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> "once[T] | T":
        if instance is None:
            return self
        with instance.lock:
            if self.name not in instance.__dict__:
                instance.__dict__[self.name] = self.compute(instance)
            found: T = instance.__dict__[self.name]
            return found
