"""What every request passes: known hosts only, GET and POST only, headers that let a page fetch nothing foreign."""

import ipaddress
import json
import socket
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST")
MAX_BODY_BYTES = 2**20
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """The application behind these rules.

    A name that is not ours in `Host` is a page of somebody else's that points its own name here (DNS rebinding).
    Routes see the path as it was sent: an id is one segment, even one with slashes, which come as %2F.

    Args:
        names: of this machine, beside localhost and all addresses.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()):
        self.app = app
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websockets
        sent = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_known(sent.get(b"host", "")):
            await _refuse(421, "this host is not served here; open the address that `tastegraph serve` says", send)
        elif scope["method"] not in METHODS:
            await _refuse(405, f"only {', '.join(METHODS)}: nothing can be changed here", send)
        elif _length(sent.get(b"content-length", "0")) > MAX_BODY_BYTES or b"transfer-encoding" in sent:
            await _refuse(413, f"a request has at most {MAX_BODY_BYTES} bytes, and says how many", send)
        else:
            raw = scope.get("raw_path") or scope["path"].encode()
            path = raw.partition(b"?")[0].decode("latin-1")
            await self.app({**scope, "path": path}, receive, _with_headers(send))

    def _is_known(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True


def _length(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() else MAX_BODY_BYTES + 1


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *ours]}
        await send(message)

    return send_with_headers


async def _refuse(status: int, why: str, send: Send) -> None:
    body = json.dumps({"error": why, "nearest": []}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    send = _with_headers(send)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
