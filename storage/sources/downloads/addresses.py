"""HTTP connections to public addresses only, for urls that are not trusted.

A host name is resolved once, all its addresses are checked, and the connection goes to a checked address, so a name
that resolves differently a moment later is harmless. Every request, also a redirect, passes this check.
"""

import ipaddress
import socket
import ssl
from collections.abc import Collection
from functools import cache

import httpx

from storage.sources.downloads.deadlines import keeps_deadlines

MOST_REDIRECTS = 3

# Beyond what Python calls private: IANA's special purposes (which Python knows better from version to version), and
# what is public by its number and answers inside a cloud only. Others than 2000::/3 are no addresses of hosts.
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata lie there
            "192.88.99.0/24",  # relays to 6to4, which lead to any IPv6 address
            "168.63.129.16/32",  # Azure's own services: DNS, health, the machine's agent
            "2001::/23",  # protocol assignments, Teredo among them
            "2002::/16",  # 6to4: embeds another address
            "3fff::/20",  # documentation
        ),
    )
)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class PrivateAddressError(httpx.RequestError):
    """The host is, or resolves to, an address that is not public."""


class PublicOnly(httpx.BaseTransport):
    """Sends http and https requests to public addresses, and to `private_hosts` wherever they are. Proxies from the
    environment are not used, because they resolve names themselves.
    """

    def __init__(self, private_hosts: Collection[str], connections: int) -> None:
        self.private_hosts = frozenset(map(str.lower, private_hosts))
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._inner = httpx.HTTPTransport(verify=certificates(), trust_env=False, limits=limits)
        keeps_deadlines([self._inner])

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{request.url.scheme}: neither http nor https")
        if host.lower() not in self.private_hosts:
            request.url = request.url.copy_with(host=public_address(host))  # the Host header stays
            request.extensions = {**request.extensions, "sni_hostname": host}  # and TLS checks this name
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@cache
def certificates() -> ssl.SSLContext:
    """The trusted certificates; read once, as reading takes longer than many requests."""
    return httpx.create_ssl_context()


def public_address(host: str) -> str:
    """One address of the host. Raises PrivateAddressError if any of its addresses is not public."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(f"{host}: {error}") from error
    addresses = [str(place[0]) for *_, place in found]
    if private := [address for address in addresses if not is_public(address)]:
        raise PrivateAddressError(f"{host} is at {private[0]}, which is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether the address is reachable from the internet and does not embed another address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6 and found not in GLOBAL_UNICAST:
        return False
    special = found.is_multicast or found.is_reserved or any(found in network for network in NOT_PUBLIC)
    return found.is_global and not special
