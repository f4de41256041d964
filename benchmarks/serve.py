"""The gallery at the paper's size under load: `python benchmarks/serve.py`.

A made-up export of 54,173 users and 101,496 images is served by `tastegraph serve`; clients ask for lists at once, each
over its own connection, turn about with a Polars scan of the same files per request (what `tastegraph recommend`
does), by as many threads. Where Chromium is there, also the time to draw a frame of the map.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl

from storage import matrices, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGES, USERS
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tests.browser import CHROMIUM, browser

REACH_MS = 50.0  # the 99th percentile of a list, with 8 clients
REACH_FRAME_MS = 16.7  # sixty frames a second
K, DIMENSIONS, FAVORITES_EACH = 20, 64, 60


def main() -> None:
    sizes = _sizes()
    with tempfile.TemporaryDirectory(dir=sizes.folder) as name:
        root = Root(f"{name}/root")
        _publish(root, sizes.users, sizes.images)
        start = time.perf_counter()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        command = [sys.executable, "-c", "from flows.cli import main; main()", "serve", "--root", root.address]
        server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            server.stdout.readline()
            print(f"{sizes.users:,} users x {sizes.images:,} images, lists of {K}; {sizes.clients} clients")
            print(f"{'ready after':28} {time.perf_counter() - start:8.1f} s")
            _load(port, sizes, 20)
            rounds = [(_load(port, sizes, sizes.requests), _scans(root, sizes)) for _ in range(sizes.rounds)]
            ours = [statistics.median(ours[share] for ours, _ in rounds) for share in (0, 1)]
            theirs = statistics.median(theirs for _, theirs in rounds)
            newcomer = _post(port, sizes)
            frame = _frame(port, Path(name)) if CHROMIUM and not sizes.no_map else None
            status = Path(f"/proc/{server.pid}/status").read_text()
            peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        finally:
            server.terminate()
            server.wait()
    print(f"{'a list, median':28} {ours[0]:8.1f} ms")
    print(f"{'a list, 99th percentile':28} {ours[1]:8.1f} ms; a scan of the files {theirs:.1f}")
    print(f"{'a newcomer, median':28} {newcomer:8.1f} ms")
    lines = [("serve: p99 of a list, ms", ours[1], theirs, "polars: scan_parquet for each request", REACH_MS)]
    if frame is not None:
        print(f"{'a frame of the map':28} {frame:8.1f} ms")
        lines.append(("serve: a frame of the map, ms", frame, REACH_FRAME_MS, "sixty frames a second", REACH_FRAME_MS))
    for name, value, reference, reference_name, reach in lines:
        line = {"name": name, "ours": value, "reference": reference, "reference_name": reference_name}
        print(
            json.dumps(line | {"ratio": value / reference, "reach": reach, "holds": value <= reach, "peak_mib": peak})
        )


def _load(port: int, sizes: argparse.Namespace, requests: int) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, of recommendations and similar images in turn."""
    took: list[float] = []

    def client(number: int) -> None:
        rng, connection = np.random.default_rng(number), HTTPConnection("127.0.0.1", port)
        for turn in range(requests):
            user, image = rng.integers(sizes.users), rng.integers(sizes.images)
            path = f"users/u{user:06}/recommendations" if turn % 2 else f"images/{quote(f'i{image:06}')}/similar"
            start = time.perf_counter()
            connection.request("GET", f"/api/{path}?k={K}")
            answer = json.loads(connection.getresponse().read())
            took.append(1000 * (time.perf_counter() - start))
            assert len(answer["images"]) == K

    _at_once(client, sizes.clients)
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def _scans(root: Root, sizes: argparse.Namespace) -> float:
    """99th percentile, in milliseconds, of a scan of the files for each list, by a thread for each client."""
    pointer = snapshots.current(root)
    assert pointer
    files, took = snapshots.dataset(root, pointer, "recommendations"), list[float]()

    def client(number: int) -> None:
        for user in np.random.default_rng(number).integers(sizes.users, size=60):
            start = time.perf_counter()
            rows = pl.scan_parquet(files).filter(pl.col("user_id") == f"u{user:06}").sort("rank").collect()
            took.append(1000 * (time.perf_counter() - start))
            assert rows.height == K

    _at_once(client, sizes.clients)
    return float(np.percentile(took, 99))


def _at_once(client: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _post(port: int, sizes: argparse.Namespace) -> float:
    """Median milliseconds of a newcomer's list, without the first, which learns the map from favorites to users."""
    connection, took = HTTPConnection("127.0.0.1", port), []
    for first in range(6):
        bag = json.dumps({"image_ids": [f"i{first * 7 + row:06}" for row in range(5)], "k": K})
        start = time.perf_counter()
        connection.request("POST", "/api/recommendations", bag, {"content-type": "application/json"})
        assert len(json.loads(connection.getresponse().read())["images"]) == K
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[1:])


def _frame(port: int, folder: Path) -> float:
    """Median milliseconds that the map's script takes for a frame while it is moved, in Chromium without a GPU."""
    with browser(folder / "profile") as tab:
        tab.show_as(1280, "light")
        tab.open(f"http://127.0.0.1:{port}/map")
        end = time.monotonic() + 900
        while not tab.value("!!document.querySelector('.map')?.dataset.frameMs"):  # the page looks again by itself
            assert time.monotonic() < end, "no map"
            time.sleep(1)
        frames = []
        for _ in range(30):
            tab.value(
                "document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
            )
            tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            frames.append(float(tab.value("document.querySelector('.map').dataset.frameMs")))
    return statistics.median(frames)


def _publish(root: Root, num_users: int, num_images: int) -> None:
    """A made-up run: embeddings in sixty groups; lists are random images of a user's own group."""
    rng = np.random.default_rng(0)
    users, images = (
        [f"{letter}{number:06}" for number in range(count)] for letter, count in (("u", num_users), ("i", num_images))
    )
    centres = rng.standard_normal((60, DIMENSIONS))

    def vectors(count: int) -> np.ndarray:
        own = centres[np.arange(count) % 60]
        return np.asarray(own + 0.4 * rng.standard_normal((count, DIMENSIONS)), np.float32)

    def lists(owner: str, owners: list[str], item: str) -> dict[str, object]:
        rows = (np.arange(len(owners))[:, None] * 61 + 60 * np.arange(1, K + 1)) % num_images
        return {
            owner: np.repeat(owners, K),
            "rank": np.tile(np.arange(1, K + 1, dtype=np.int32), len(owners)),
            item: np.array(images)[rows.ravel()],
            "score": np.tile(np.linspace(1, 0, K, dtype=np.float32), len(owners)),
            "model": np.repeat("made up", K * len(owners)),
        }

    def embeddings(key: str, ids: list[str]) -> dict[str, object]:
        return {key: ids, "embedding": matrices.lists_of(vectors(len(ids))), "model": np.repeat("made up", len(ids))}

    tables = {
        RECOMMENDATIONS: lists("user_id", users, "image_id"),
        SIMILAR_IMAGES: lists("image_id", images, "similar_image_id"),
        USER_EMBEDDINGS.with_dimensions(DIMENSIONS): embeddings("user_id", users),
        IMAGE_EMBEDDINGS.with_dimensions(DIMENSIONS): embeddings("image_id", images),
    }
    liked = (np.arange(num_users)[:, None] * 67 + 60 * np.arange(FAVORITES_EACH)) % num_images
    community = {
        USERS: {"user_id": users, "name": [None] * num_users},
        IMAGES: {"image_id": images, **{name: [None] * num_images for name in IMAGES.schema.names[1:]}},
        FAVORITES: {
            "user_id": np.repeat(users, FAVORITES_EACH),
            "image_id": np.array(images)[liked.ravel()],
            "favorited_at": [None] * liked.size,
        },
    }
    inputs = {table.name: parquet.write(table, rows, root) for table, rows in community.items()}
    files = {table.name: [parquet.write(table, rows, root)] for table, rows in tables.items()}
    at = "2026-01-01T00:00:00+00:00"
    manifest = Manifest(run_id="made-up", generated_at=at, metrics=[], system="made up", inputs=inputs)
    snapshots.publish(root, manifest, files, {"index.html": b"", "report.json": b"{}"}, current=True)


def _sizes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the gallery's server under load.")
    parser.add_argument("--users", type=int, default=54_173)
    parser.add_argument("--images", type=int, default=101_496)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=400, help="of each client in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-map", action="store_true", help="without the map, whose first computation takes a minute")
    parser.add_argument("--folder", help="where the export is written for a while; 0.3 GB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
