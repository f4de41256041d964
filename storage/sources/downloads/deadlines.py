"""A time limit for a whole HTTP request: connecting, TLS, headers and body, redirects too.

The timeouts of httpx are for one operation on the socket each: a server that sends a byte of a header every few seconds
never meets one. Here the operations of a request share one deadline.
"""

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

_end: ContextVar[float] = ContextVar("end", default=float("inf"))  # of this thread's request, by the monotonic clock


@contextmanager
def deadline(timeout_s: float) -> Iterator[None]:
    """In this block and thread, requests by clients that `keeps_deadlines` raise httpx.TimeoutException at its end."""
    token = _end.set(time.monotonic() + timeout_s)
    try:
        yield
    finally:
        _end.reset(token)


def keeps_deadlines(transports: Iterable[httpx.BaseTransport | None]) -> None:
    """Make the connections of these transports of httpx keep the deadline of the block that they are used in."""
    for transport in transports:
        if isinstance(transport, httpx.HTTPTransport):
            # httpx has no argument for it, and transports of its own would lose the proxies of the environment.
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend)


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """The time that an operation may take, in seconds. Raises the error if none is left."""
    left = _end.get() - time.monotonic()
    if left <= 0:
        raise error("the time limit of the whole request is over")
    if timeout is None:
        return left if left < float("inf") else None
    return min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()
