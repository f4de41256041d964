"""Pictures: what is kept, what is quarantined, and which addresses are never connected to."""

import gzip
import socket
import threading
import time
from contextlib import closing

import httpx
import pytest
from PIL import Image

from storage.roots import Root
from storage.settings.flickr import PictureConfig
from storage.sources.downloads import addresses
from storage.sources.downloads.addresses import PrivateAddressError, PublicOnly, is_public, public_address
from storage.sources.downloads.pictures import Downloader, Picture
from storage.sources.flickr.pictures import OF_FLICKR
from tests.storage.sources.flickr.community import jpeg
from tests.storage.sources.flickr.dripping import WHERE, dripping

QUICK = {"private_hosts": ("127.0.0.1",), "backoff_s": 0.001, "attempts": 2}
JPEG = {"Content-Type": "image/jpeg"}
BYTES = jpeg("red", 0)


@pytest.fixture
def root(tmp_path):
    return Root(str(tmp_path / "source"))


def downloader(root, **changes) -> Downloader:
    return Downloader(root, PictureConfig(**QUICK | changes), OF_FLICKR)


@pytest.fixture
def fetch(flickr, root):
    """Fetches a path of the server, where the given answer waits."""

    def fetch(path: str, answer=None, known: Picture | None = None, **changes) -> Picture:
        if answer:
            flickr.pictures[path] = answer
        with closing(downloader(root, **changes)) as one:
            return one.fetch(known or Picture(flickr.address + path))

    return fetch


def test_a_picture_is_a_file_named_by_its_content(fetch, root):
    one, same = fetch("/1.jpg", (200, JPEG, BYTES)), fetch("/2.jpg", (200, JPEG, BYTES))

    assert one.outcome == "ok"
    assert one.path == same.path
    assert [entry.path for entry in root.entries("images")] == [one.path]
    with Image.open(root.local(one.path)) as image:
        assert image.size == (24, 24)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {"Content-Type": "text/html"}, BYTES), "no picture's content type"),
        ((200, {"Content-Type": "image/svg+xml"}, b"<svg/>"), "no picture's content type"),
        ((200, JPEG, b"<html>sorry</html>"), "lying content type"),
        ((200, {"Content-Type": "image/png"}, BYTES), "lying content type"),
        ((200, JPEG | {"Content-Length": "9000"}, BYTES), "lying content length"),
        ((200, JPEG, BYTES[:300]), "truncated"),
        ((200, JPEG, BYTES + b"\0" * 100_000), "too many bytes"),
        ((200, JPEG | {"Content-Length": "99999999"}, BYTES), "too many bytes"),
        ((403, {}, b""), "status 403"),
        ((302, {"Location": "/loop.jpg"}, b""), "too many redirects"),
        ((302, {"Location": "ftp://example.org/1.jpg"}, b""), "no http address"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "no http address"),
    ],
)
def test_what_is_no_whole_picture_of_its_type_is_quarantined(fetch, root, answer, reason):
    found = fetch("/loop.jpg", answer, max_bytes=50_000)

    assert (found.outcome, found.reason) == ("quarantined", reason)
    assert list(root.entries("images")) == []


def test_a_picture_that_is_missing_or_replaced_by_the_placeholder_is_gone(fetch):
    assert fetch("/1.jpg").outcome == "gone"
    fetch("/photo_unavailable.png", (200, JPEG, BYTES))
    assert fetch("/2.jpg", (302, {"Location": "/photo_unavailable.png"}, b"")).outcome == "gone"


def test_a_redirect_is_followed(fetch):
    fetch("/moved.jpg", (200, JPEG, BYTES))

    assert fetch("/linked.jpg", (302, {"Location": "/moved.jpg"}, b"")).outcome == "ok"


def test_a_picture_that_did_not_change_is_not_sent_again(flickr, fetch):
    first = fetch("/65535/4_red_n.jpg")
    again = fetch("", known=first)

    assert first.etag
    assert again == first
    assert flickr.asked["GET /65535/4_red_n.jpg"] == 2
    assert flickr.answered["GET /65535/4_red_n.jpg"] == 1


@pytest.mark.parametrize("where", WHERE)
def test_an_answer_that_drips_ends_at_the_time_limit_wherever_it_drips(root, where):
    with (
        dripping(*WHERE[where]) as address,
        closing(downloader(root, timeout_s=0.4)) as one,
    ):
        found = one.fetch(Picture(f"{address}/1.jpg"))

    assert (found.outcome, found.reason) == ("failed", "slower than timeout_s")


def test_redirects_share_the_time_limit(root):
    to_itself = b"HTTP/1.1 302 Found\r\nLocation: /2.jpg\r\nContent-Length: 0\r\n", b"X-Slow: x\r\n"
    with (
        dripping(*to_itself) as address,
        closing(downloader(root, timeout_s=0.3)) as one,
    ):
        found = one.fetch(Picture(f"{address}/1.jpg"))

    assert (found.outcome, found.reason) == ("failed", "slower than timeout_s")  # and not "too many redirects"


def test_a_compressed_picture_is_not_inflated(fetch):
    bomb = gzip.compress(BYTES + bytes(10**7))
    found = fetch("/1.jpg", (200, JPEG | {"Content-Encoding": "gzip"}, bomb))

    assert (found.outcome, found.reason) == ("quarantined", "lying content type")


def test_a_host_that_fails_is_tried_again_and_the_old_file_stays(fetch, flickr):
    first = fetch("/1.jpg", (200, JPEG, BYTES))
    failed = fetch("/1.jpg", (503, {}, b""), known=first)

    assert (failed.outcome, failed.reason, failed.path) == ("failed", "status 503", first.path)
    assert flickr.asked["GET /1.jpg"] == 3


def test_one_host_sees_only_so_many_requests_at_once(flickr, root):
    busy, most, lock = 0, 0, threading.Lock()

    pictures = downloader(root, threads=8, per_host=2)

    def count(_request) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.02)
        with lock:
            busy -= 1

    pictures._http.event_hooks = {"request": [count]}
    fetches = [
        threading.Thread(target=pictures.fetch, args=(Picture(f"{flickr.address}/65535/{row}_red_n.jpg"),))
        for row in range(12)
    ]
    for one in fetches:
        one.start()
    for one in fetches:
        one.join()
    pictures.close()

    assert most == 2


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fec0::1",
        "fec0:0:0:ffff::1",
        "192.88.99.1",
        "168.63.129.16",
        "192.0.0.192",
        "64:ff9b:1::a00:1",
        "2001::1",
        "3fff::1",
        "::7f00:1",
        "::ffff:0:127.0.0.1",
        "4000::1",
    ],
)
def test_addresses_that_are_not_public_are_known(address):
    assert not is_public(address)


def test_public_addresses_are_public():
    assert is_public("8.8.8.8")
    assert is_public("2001:4860:4860::8888")
    assert is_public("168.63.129.17")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
def test_a_private_address_is_never_connected_to_however_it_is_written(flickr, fetch, host):
    port = flickr.address.rpartition(":")[2]
    found = fetch("", known=Picture(f"http://{host}:{port}/65535/4_red_n.jpg"), private_hosts=())

    assert (found.outcome, found.reason) in {("quarantined", "private address"), ("quarantined", "no http address")}
    assert flickr.asked.total() == 0


@pytest.fixture
def names(monkeypatch):
    """Names that resolve to what a test says; every connection is noted, and led to loopback."""
    answers, resolve = {}, socket.getaddrinfo

    def look_up(host, port, *how, **more):
        found = answers.get(host)
        if not found:
            return resolve(host, port, *how, **more)
        address = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port or 0)) for one in address.split()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def test_a_name_is_refused_if_any_of_its_addresses_is_private(names):
    names["pictures.test"] = ["8.8.8.8 10.0.0.1"]
    with pytest.raises(PrivateAddressError, match=r"pictures.test is at 10.0.0.1"):
        public_address("pictures.test")


def test_a_connection_goes_to_the_address_that_was_checked(names, monkeypatch):
    """A name that is public when it is checked and private a moment later (rebinding) leads to the public address."""
    names["pictures.test"] = ["8.8.8.8", "127.0.0.1"]
    sent = []
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _self, request: sent.append(request))
    with closing(PublicOnly((), 1)) as transport:
        transport.handle_request(httpx.Request("GET", "https://pictures.test/1.jpg"))

    assert sent[0].url == "https://8.8.8.8/1.jpg"
    assert sent[0].headers["Host"] == "pictures.test"
    assert sent[0].extensions["sni_hostname"] == "pictures.test"


def test_a_redirect_to_a_private_address_is_refused_at_connection(flickr, fetch, names, monkeypatch):
    flickr.pictures["/1.jpg"] = (302, {"Location": f"{flickr.address}/65535/4_red_n.jpg"}, b"")
    port = flickr.address.rpartition(":")[2]
    names["pictures.test"] = ["127.0.0.1"]
    checked = addresses.is_public
    first = iter([True])  # lets the first hop, and only that, reach loopback
    monkeypatch.setattr(addresses, "is_public", lambda address: next(first, None) or checked(address))
    found = fetch("", known=Picture(f"http://pictures.test:{port}/1.jpg"), private_hosts=())

    assert (found.outcome, found.reason) == ("quarantined", "private address")
    assert flickr.asked["GET /65535/4_red_n.jpg"] == 0
    assert flickr.asked["GET /1.jpg"] == 1


def test_sizes_that_flickr_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"pictures.sizes = \('huge',\)"):
        PictureConfig(sizes=("huge",))
