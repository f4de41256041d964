"""Weight of the report of 10,000 users, and the time to its first paint in Chromium: `python -m benchmarks.pages`.

The page is opened over HTTP at 10 Mbit/s with 40 ms of latency, and without a limit; medians of the rounds.
"""

import argparse
import io
import tempfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageFilter

from tasks.night.report import NUM_GOT, NUM_LIKES, NUM_PEOPLE
from tasks.pages.contents import Distributions, Person, Picture, Recommendation, Report
from tasks.pages.night import PAGE, files_of
from tasks.pages.sprites import THUMBNAIL_PX
from tests.browser import Browser, browser
from tests.tasks.pages.reports import full

MEGABIT = 1e6 / 8
RESOURCES = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Weigh and time the report.")
    parser.add_argument("--users", type=int, default=10_000, help="of the community (default 10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often it is opened (default 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder, "profile")) as tab:
        files = files_of(synthetic(options.users))
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        beside = [len(content) for name, content in files.items() if name.endswith(".jpg")]
        print(
            f"{options.users:,} users: page {len(files[PAGE]) / 1e6:.2f} MB; "
            f"pictures beside it {sum(beside) / 1e6:.2f} MB in {len(beside)} files"
        )
        for name, megabits in (("no limit", None), ("10 Mbit/s", 10)):
            rounds = [opened(tab, server.server_port, megabits) for _ in range(options.rounds)]
            paint_ms, load_ms, num_bytes = (median(figures) for figures in zip(*rounds, strict=True))
            print(f"{name}: first paint {paint_ms:.0f} ms, loaded {num_bytes / 1e6:.2f} MB at {load_ms:.0f} ms")
        server.shutdown()


def synthetic(num_users: int) -> Report:
    """A report of so many users with a picture in every place."""
    rng = np.random.default_rng(0)
    thumbnails = iter([picture(rng, number) for number in range(NUM_PEOPLE * (NUM_LIKES + 2 * NUM_GOT))])
    amounts = rng.zipf(1.5, num_users).clip(0, 5000)

    def listed() -> list[Recommendation]:
        return [Recommendation(picture=next(thumbnails), rank=rank + 1, score=1.0) for rank in range(NUM_GOT)]

    people = [
        Person(
            user_id=f"u{number}",
            interests=["tag"] * 12,
            likes=[next(thumbnails) for _ in range(NUM_LIKES)],
            got=listed(),
            num_concealed=20,
            found=listed(),
        )
        for number in range(NUM_PEOPLE)
    ]
    spread = Distributions(users_per_cluster=amounts[:1024], favorites_per_user=amounts, tags_per_user=amounts)
    return replace(full(), distributions=spread, people=people, case=None)


def picture(rng: np.random.Generator, number: int) -> Picture:
    """Blurred noise: a thumbnail about as heavy as a photograph's."""
    noise = Image.fromarray(rng.integers(0, 255, (THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8))
    buffer = io.BytesIO()
    noise.filter(ImageFilter.GaussianBlur(2)).save(buffer, "JPEG", quality=85)
    return Picture(image_id=f"i{number}", title=f"Picture {number}", tags=["lake"], jpeg=buffer.getvalue())


def opened(tab: Browser, port: int, megabits: float | None) -> tuple[float, float, float]:
    """Milliseconds to the first contentful paint and until all is loaded that is not lazy; and bytes loaded by then."""
    rate = -1 if megabits is None else megabits * MEGABIT
    latency = 0 if megabits is None else 40
    tab.call("Network.setCacheDisabled", cacheDisabled=True)
    tab.call(
        "Network.emulateNetworkConditions", offline=False, latency=latency, downloadThroughput=rate, uploadThroughput=-1
    )
    tab.call("Page.navigate", url="about:blank")
    tab.open(f"http://127.0.0.1:{port}/index.html")
    tab.wait(f"{PAINT} > 0 && performance.timing.loadEventEnd > 0")
    loaded = "performance.timing.loadEventEnd - performance.timing.navigationStart"
    return (
        tab.value(PAINT),
        tab.value(loaded),
        tab.value(f"{RESOURCES}.reduce((sum, one) => sum + one.transferSize, 0)"),
    )


if __name__ == "__main__":
    main()
