"""Connections to public addresses only, however a stranger's url names its host.

The name is resolved once, all its addresses are checked, and the connection goes to the checked address: a name that
resolves to something else a moment later gains nothing. Redirects pass here too, as every request does.
"""

import ipaddress
import socket
import ssl
from functools import cache

import httpx

MOST_REDIRECTS = 3


class PrivateAddressError(httpx.RequestError):
    """The host is, or resolves to, an address that is not public."""


class PublicOnly(httpx.BaseTransport):
    """Sends http and https requests to public addresses; with `allow_private` to any. The environment's proxies are
    not used: they would resolve names by themselves.
    """

    def __init__(self, allow_private: bool, connections: int) -> None:
        self.allow_private = allow_private
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._inner = httpx.HTTPTransport(verify=certificates(), trust_env=False, limits=limits)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{request.url.scheme}: neither http nor https")
        if not self.allow_private:
            request.url = request.url.copy_with(host=public_address(host))  # the header Host stays as it is
            request.extensions = {**request.extensions, "sni_hostname": host}  # and so does what TLS checks
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@cache
def certificates() -> ssl.SSLContext:
    """Whom to trust; read once, as that takes longer than many a request."""
    return httpx.create_ssl_context()


def public_address(host: str) -> str:
    """One address of the host. Raises PrivateAddressError where any of them is not public."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(f"{host}: {error}") from error
    addresses = [str(place[0]) for *_, place in found]
    if private := [address for address in addresses if not is_public(address)]:
        raise PrivateAddressError(f"{host} is at {private[0]}, which is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach the address, and it does not stand for another one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    stands_for_another = isinstance(found, ipaddress.IPv6Address) and (found.sixtofour or found.teredo)
    return found.is_global and not (found.is_multicast or found.is_reserved or stands_for_another)
