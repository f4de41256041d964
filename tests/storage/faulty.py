"""A proxy before an S3 server, on which requests go wrong as they do in real networks."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.storage.servers import Server

Fault = Literal[
    *("503", "500", "400", "403", "404", "409", "412"),
    *("reset", "silence", "cut", "short", "drip", "lost answer", "error in 200", "no upload"),
]
Operation = Literal[
    *("GET", "HEAD", "PUT", "conditional PUT", "COPY", "LIST", "DELETE"),
    *("multipart begin", "multipart PUT", "multipart end"),
    "other",
]
Plan = Callable[[str, str], Fault | None]  # operation and path of a request -> what goes wrong with it
ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>as planned</Message></Error>'
ERRORS = {
    "503": b"SlowDown",
    "500": b"InternalError",
    "400": b"InvalidRequest",
    "403": b"AccessDenied",
    "404": b"NoSuchKey",
    "409": b"ConditionalRequestConflict",
    "412": b"PreconditionFailed",
}


@dataclass
class FaultyServer(Server):
    """A server behind the proxy. Requests go wrong as `plan` says, which a test may change at any time.

    Numbers: the server is not asked. reset: the connection breaks. silence: no answer for `silent_s`, then it breaks.
    cut: it breaks in the middle of the answer's body; short: it ends there. drip: the body takes `drip_s`. lost answer:
    the server does what it was asked, and the connection breaks. error in 200: it is not asked, and says so late, as S3
    may for what takes it long. no upload: nor is it, and does not know the upload that is to end.
    """

    plan: Plan = lambda _method, _path: None
    silent_s: float = 3.0
    drip_s: float = 2.0
    seen: list[tuple[Operation, str, Fault | None]] = field(default_factory=list)

    def count(self, operation: str, part: str = "") -> int:
        """How many requests had this text in their operation, and this one in their path."""
        return sum(operation in seen and part in path for seen, path, _ in self.seen)


def first(times: int, fault: Fault, operation: str = "", part: str = "") -> Plan:
    """The first requests with a text in their operation and one in their path go wrong."""
    left = iter(range(times))
    turn = threading.Lock()

    def plan(seen: str, path: str) -> Fault | None:
        with turn:
            return fault if operation in seen and part in path and next(left, None) is not None else None

    return plan


def always(fault: Fault, operation: str = "", part: str = "") -> Plan:
    """All requests with a text in their operation and one in their path go wrong."""
    return first(10**9, fault, operation, part)


def operation_of(method: str, path: str, headers: Message) -> Operation:
    """What a request asks the store to do."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if "uploadId" in query or "uploads" in query:
        steps: dict[str, Operation] = {"PUT": "multipart PUT", "POST": "multipart end"}
        return "multipart begin" if "uploads" in query else steps.get(method, "other")
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "COPY"
    if method == "PUT" and ("If-Match" in headers or "If-None-Match" in headers):
        return "conditional PUT"
    if method == "GET" and "list-type" in query:
        return "LIST"
    plain: dict[str, Operation] = {"GET": "GET", "HEAD": "HEAD", "PUT": "PUT", "DELETE": "DELETE"}
    return plain.get(method, "other")


@contextmanager
def faulty(server: Server) -> Iterator[FaultyServer]:
    """The server behind a proxy on a port of its own."""
    upstream = urlsplit(server.endpoint)
    proxied = FaultyServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            operation = operation_of(self.command, self.path, self.headers)
            fault = proxied.plan(operation, self.path)
            proxied.seen.append((operation, self.path, fault))
            if fault == "silence":
                time.sleep(proxied.silent_s)
            if fault in ("reset", "silence"):
                return self.reset()
            if fault in ERRORS:
                return self.answer(int(fault), {}, ERROR % ERRORS[fault])
            if fault == "no upload":
                return self.answer(404, {}, ERROR % b"NoSuchUpload")
            if fault == "error in 200":
                return self.answer(200, {}, ERROR % b"InternalError")
            connection = http.client.HTTPConnection(str(upstream.hostname), upstream.port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if fault == "lost answer":
                return self.reset()
            headers = {name: value for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP}
            length = response.headers.get("Content-Length") if self.command == "HEAD" else None
            headers["Content-Length"] = length or str(len(content))
            if fault == "drip":
                return self.drip(response.status, headers, content)
            sent = len(content) // 2 if fault in ("cut", "short") else len(content)
            self.answer(response.status, headers, content[:sent])
            if fault == "cut":
                self.reset()
            self.close_connection |= fault == "short"
            return None

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def drip(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.answer(status, headers, b"")
            size = len(content) // 8 + 1
            for start in range(0, len(content), size):
                time.sleep(proxied.drip_s / 8)
                self.wfile.write(content[start : start + size])

        def reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def log_message(self, *_args: Any) -> None:
            """Requests are in `seen`."""

        def handle(self) -> None:
            with_suppressed(super().handle)

        def finish(self) -> None:
            with_suppressed(super().finish)

    def with_suppressed(action: Callable[[], None]) -> None:
        with suppress(OSError, ValueError):  # the connection that a fault, or a client that gave up, has closed
            action()

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    proxied.endpoint = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield proxied
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
