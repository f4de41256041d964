"""Pictures whose path is an address: fetched into the root, once, and treated as any other picture from there on."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from flows import settings
from flows.cli import app
from flows.nightly import nightly
from storage import parquet, snapshots
from storage.images import FETCHED, FETCHED_FOLDER
from storage.manifests import Manifest
from storage.roots import Root
from storage.settings.downloads import FetchConfig
from storage.settings.images import ImageLimits
from storage.sources import fetching
from tasks.gallery.runs import Runs
from tasks.upkeep.forget import forget
from tasks.upkeep.retention import collect
from tasks.upkeep.verify import verify
from tests import world
from tests.storage.servers import moto_server

LOOPBACK = {"private_hosts": ("127.0.0.1",), "backoff_s": 0.001, "attempts": 2, "timeout_s": 0.5, "max_bytes": 50_000}


class Host:
    """A server of the world's pictures on loopback; it counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.dies_after = folder, Counter[str](), 10**9
        self.address = ""

    def answer(self, request: Any) -> None:
        path = request.path
        self.asked[path] += 1
        file = self.folder / "pictures" / path.rpartition("/")[2]
        if path.startswith("/hang"):
            time.sleep(1.0)
        elif path.startswith("/large"):
            self.send(request, 200, "image/png", file.read_bytes() + bytes(100_000))
        elif path.startswith("/page"):
            self.send(request, 200, "text/html", b"<html>a page that shows a picture</html>")
        elif path.startswith("/private"):
            self.send(request, 302, "", b"", Location="http://10.0.0.1/picture.png")
        elif path.startswith("/scheme"):
            self.send(request, 302, "", b"", Location="file:///etc/passwd")
        elif file.is_file() and sum(self.asked.values()) <= self.dies_after:
            self.send(request, 200, "application/octet-stream", file.read_bytes())
        else:
            self.send(request, 404, "text/plain", b"no such picture")

    @staticmethod
    def send(request: Any, status: int, type_: str, body: bytes, **headers: str) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": type_, "Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def served(folder: Path) -> Iterator[Host]:
    host = Host(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    host.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with served(world.write_source(tmp_path / "pictures of the host")) as host:
        yield host


def with_addresses(folder: Path, host: Host, others: dict[int, str] | None = None, owners: bool = False) -> Path:
    """The world as a source without a picture: the paths are addresses of the host."""
    world.write_source(folder)
    for file in (folder / "pictures").iterdir():
        file.unlink()
    images = pl.read_parquet(folder / "images.parquet")
    kinds = [(others or {}).get(row, "picture") for row in range(len(images))]
    paths = [f"{host.address}/{kind}/{image}.png" for kind, image in zip(kinds, images["image_id"], strict=True)]
    columns = {"path": pl.Series(paths)}
    if owners:
        columns["owner_id"] = pl.Series([f"user{row % 24:02d}" for row in range(len(images))])
    images.with_columns(**columns).write_parquet(folder / "images.parquet")
    return folder


def run(source: Path, root: object, **changes: Any):
    """One night of a quick system that uses the pictures."""
    sections = {**world.SETTINGS, "model": {"system": "vbpr", "refit": False, "epochs": 1}, "fetch": LOOPBACK}
    sections["images"] = {**world.SETTINGS["images"], "fetch": True}
    sections["gate"] = {"metric_fall": [None, None]}
    return nightly(str(source), str(root), settings.validate({**sections, **changes}))


def images_of(root: Root) -> pl.DataFrame:
    return pl.DataFrame(parquet.read(manifest_of(root).inputs["images"], root))


def manifest_of(root: Root) -> Manifest:
    return snapshots.manifest(root, snapshots.current_id(root) or "")


@pytest.mark.usefixtures("prefect_server")
def test_a_night_fetches_each_picture_once_and_failures_end_nothing(tmp_path, host):
    bad = {1: "hang", 2: "large", 3: "page", 4: "scheme", 5: "gone", 6: "page", 7: "page", 8: "page"}
    bad |= dict.fromkeys(range(10, 25), "lost")  # more than the share of rows that may be in quarantine
    source, root = with_addresses(tmp_path / "source", host, bad), Root(str(tmp_path / "root"))
    for row in (5, *range(10, 25)):
        (host.folder / "pictures" / f"image{row:02d}.png").unlink()

    assert run(source, root.address).is_current
    images = images_of(root)
    assert images["path"].str.starts_with(FETCHED).sum() == 60 - len(bad)
    assert images["url"][0] == f"{host.address}/picture/image00.png"
    quarantine = pl.DataFrame(parquet.read(manifest_of(root).quarantine, root))
    assert Counter(quarantine["reason"]) == {
        "slower than timeout_s": 1,
        "too many bytes": 1,
        "no picture's content type": 4,
        "no http address": 1,
        "not found": 16,
    }
    assert quarantine.filter(reason="too many bytes")["value"][0] == f"{host.address}/large/image02.png"
    picture = Runs(root).run().pictures.jpeg(images["path"][0], 64)
    assert picture is not None
    assert list(Path(source, "pictures").iterdir()) == []

    asked = host.asked.copy()
    (source / "favorites.csv").write_text((source / "favorites.csv").read_text() + "user00,image29\n")
    run(source, root.address)
    again = {path: count - asked[path] for path, count in host.asked.items() if count > asked[path]}
    assert set(again) == {"/hang/image01.png", "/large/image02.png"}  # what may pass, or depends on a setting
    assert verify(root).is_whole


@pytest.mark.usefixtures("prefect_server")
def test_who_is_forgotten_has_no_fetched_picture_and_gc_keeps_those_of_all_others(tmp_path, host):
    source, root = with_addresses(tmp_path / "source", host, owners=True), Root(str(tmp_path / "root"))
    run(source, root.address)
    path_of = dict(images_of(root).select("image_id", "path").iter_rows())
    assert not [entry for entry in collect(root, 1).deleted if entry.path.startswith(FETCHED_FOLDER)]

    forget({"image": frozenset({"image07"}), "user": frozenset({"user03"})}, root)
    gone = {"image07", "image03", "image27", "image51"}
    left = {f"{FETCHED}{entry.path}" for entry in root.entries(FETCHED_FOLDER)}
    assert left == {path for image, path in path_of.items() if image not in gone}
    collect(root, 1)
    assert {f"{FETCHED}{entry.path}" for entry in root.entries(FETCHED_FOLDER)} == left

    asked = host.asked.copy()
    run(source, root.address)
    assert host.asked == asked
    assert {f"{FETCHED}{entry.path}" for entry in root.entries(FETCHED_FOLDER)} == left


@pytest.mark.usefixtures("prefect_server")
def test_pictures_are_fetched_into_a_bucket(tmp_path, host, monkeypatch):
    with moto_server() as server:
        root, source = server.root(monkeypatch, tmp_path / "scratch"), with_addresses(tmp_path / "source", host)
        assert run(source, root.address).is_current
        assert len(list(root.entries(FETCHED_FOLDER))) == 60
        assert Runs(root).run().pictures.jpeg(images_of(root)["path"][0], 64)


def test_without_the_setting_addresses_are_refused_and_the_setting_is_named(tmp_path, host):
    source = with_addresses(tmp_path / "source", host)
    result = CliRunner().invoke(app, ["validate", "--source", str(source)])
    assert result.exit_code == 1
    assert "url in path" in result.output
    assert "images.fetch=true" in result.output

    result = CliRunner().invoke(app, ["validate", "--source", str(source), "--set", "images.fetch=true"])
    assert result.exit_code == 0
    assert "60 addresses, which a night would fetch" in result.output
    assert not host.asked


def test_a_fetch_that_is_broken_off_goes_on_with_what_is_missing(tmp_path, host):
    root, config = Root(str(tmp_path / "root")), FetchConfig(**LOOPBACK, threads=1)
    addresses = [f"{host.address}/picture/image{row:02d}.png" for row in range(20)]

    def kill(done: int, _total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetching.fetch(addresses, config, ImageLimits(), root, kill)
    assert 8 <= len(host.asked) < 20
    outcomes = fetching.fetch(addresses, config, ImageLimits(), root)
    assert [outcome.address for outcome in outcomes] == addresses
    assert all(outcome.path for outcome in outcomes)
    assert max(host.asked.values()) == 1


def test_a_private_address_is_not_connected_to_directly_or_by_a_redirect(tmp_path, host, monkeypatch):
    root = Root(str(tmp_path / "root"))
    one = [f"{host.address}/picture/image00.png"]
    assert [found.reason for found in fetching.fetch(one, FetchConfig(), ImageLimits(), root)] == ["private address"]
    other = FetchConfig(private_hosts=("minio.example",))  # one's own servers are named one by one
    assert [found.reason for found in fetching.fetch(one, other, ImageLimits(), root)] == ["private address"]
    assert not host.asked

    port = host.address.rpartition(":")[2]
    public = "storage.sources.downloads.addresses.is_public"
    monkeypatch.setattr(public, lambda address: address == "127.0.0.1")  # the host counts as public, 10.0.0.1 does not
    addresses = [f"http://127.0.0.1:{port}/private/image00.png"]
    found = fetching.fetch(addresses, FetchConfig(attempts=1), ImageLimits(), root)
    assert [outcome.reason for outcome in found] == ["private address"]
    assert list(host.asked) == ["/private/image00.png"]


def test_a_host_that_only_fails_is_left_alone_and_asked_again_later(tmp_path, host):
    root, config = Root(str(tmp_path / "root")), FetchConfig(**LOOPBACK | {"attempts": 1}, threads=1, failures=2)
    addresses = [f"{host.address}/hang/{row}.png" for row in range(5)]
    reasons = Counter(found.reason for found in fetching.fetch(addresses, config, ImageLimits(), root))
    assert reasons == {"slower than timeout_s": 2, "host left alone": 3}
    assert sum(host.asked.values()) == 2
    assert not list(root.entries(FETCHED_FOLDER))


def test_an_address_without_a_picture_is_asked_again_after_some_days(tmp_path, host):
    root = Root(str(tmp_path / "root"))
    for days, asked in ((7.0, 1), (7.0, 1), (0.0, 2)):
        config = FetchConfig(**LOOPBACK, again_days=days)
        found = fetching.fetch([f"{host.address}/gone/x.png"], config, ImageLimits(), root)
        assert [outcome.reason for outcome in found] == ["not found"]
        assert host.asked["/gone/x.png"] == asked
