"""A night over the paper's community, or several times it: `python benchmarks/world.py --root DIR --times 1`.

The community has as many users, images, groups, tags, favorites and tags a user as the one of Comparative Deep
Learning (CVPR 2016, section 6.1.1), with long tails, topics of taste, contacts and owners; everything is drawn from a
seed. With `--pictures 128` each image has a picture of so many pixels a side. Made once below the root, and kept.

Prints what a default night costs: each stage's seconds and peak memory, and the largest memory of all its processes;
the last line is JSON. Settings of the night follow `--`: `-- --set model.refit=false`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import psutil
from PIL import Image
from reach import Claim, Measured, report

USERS, IMAGES, GROUPS, TAGS = 54_173, 101_496, 6_439, 35_844
FAVORITES_EACH, TAGS_EACH = 5.8, 23.5  # of a user, on average
CONTACTS_EACH, GROUPS_EACH, TAGS_OF_IMAGE = 8.0, 4.0, 5.0  # the paper does not say: as is usual on such sites
MEMBERS_OF_TOPIC = 300  # users of one topic of taste, about
OWN_TOPIC = 0.8  # of what a user does: in the user's own topics; the rest anywhere
REACH_SECONDS, REACH_MIB = 1800, 8192  # of a night at 1 times
COMMAND = Path(sys.executable).with_name("tastegraph")
START = np.datetime64("2015-01-01T00:00:00", "us")


class Topics:
    """Things that belong to topics and are more or less popular, to draw from."""

    def __init__(self, number: int, num_topics: int, skew: float, rng: np.random.Generator) -> None:
        self.topics_T = rng.integers(0, num_topics, number)
        weights = (1 + rng.permutation(number)) ** -skew
        self._order = np.argsort(self.topics_T, kind="stable")
        self._sums = np.concatenate([[0.0], np.cumsum(weights[self._order])])
        self._starts = np.searchsorted(self.topics_T[self._order], np.arange(num_topics + 1))

    def draw(self, topics_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One thing for each topic, by popularity; for topic -1 of any topic."""
        first = self._sums[np.where(topics_N < 0, 0, self._starts[topics_N])]
        last = self._sums[np.where(topics_N < 0, len(self._order), self._starts[topics_N + 1])]
        found = np.searchsorted(self._sums, first + rng.random(len(topics_N)) * (last - first), side="right") - 1
        return self._order[np.clip(found, 0, len(self._order) - 1)]


def name_of(times: float, pictures: int = 0) -> str:
    """The folder of such a community and its outputs."""
    return f"{times:g}x" + (f"-{pictures}px" if pictures else "")


def community_below(root: Path, times: float, pictures: int = 0) -> Path:
    """The source of such a community below the root, made where it is not there."""
    source = root / name_of(times, pictures) / "source"
    if not source.exists():
        half_made = source.with_name("making")
        make_community(half_made, times, pictures=pictures)
        half_made.rename(source)
    return source


def make_community(folder: Path, times: float, seed: int = 0, pictures: int = 0) -> None:
    """Write a source of `times` the paper's community into `folder`."""
    rng = np.random.default_rng(seed)
    num_users, num_images, num_groups, num_tags = (round(number * times) for number in (USERS, IMAGES, GROUPS, TAGS))
    num_topics = max(2, num_users // MEMBERS_OF_TOPIC)
    users, images = Topics(num_users, num_topics, 0.5, rng), Topics(num_images, num_topics, 0.6, rng)
    groups, tags = Topics(num_groups, num_topics, 0.7, rng), Topics(num_tags, num_topics, 0.9, rng)
    tastes_U3 = np.column_stack([users.topics_T, rng.integers(0, num_topics, (num_users, 2))])

    def pairs(of_user: bool, mean: float, things: Topics) -> tuple[np.ndarray, np.ndarray]:
        """Distinct pairs of a user, or an image, and a thing, with long tails on both sides."""
        number = num_users if of_user else num_images
        sizes = rng.lognormal(0, 1.2 if of_user else 0.6, number)
        sizes = rng.poisson(sizes * mean * number / sizes.sum())
        row = np.repeat(np.arange(number), sizes)
        topics = tastes_U3[row, rng.choice(3, len(row), p=(0.7, 0.2, 0.1))] if of_user else images.topics_T[row]
        thing = things.draw(np.where(rng.random(len(row)) < OWN_TOPIC, topics, -1), rng)
        key = np.unique(row * len(things.topics_T) + thing)
        return key // len(things.topics_T), key % len(things.topics_T)

    folder.mkdir(parents=True)
    user, image = pairs(True, 1.03 * FAVORITES_EACH, images)  # some are drawn twice and count once
    seconds = rng.integers(0, 365 * 86_400, len(user))
    _write(folder, "favorites", user_id=_ids("u", user), image_id=_ids("i", image), favorited_at=_times(seconds))
    user, tag = pairs(True, 1.4 * TAGS_EACH, tags)
    counts = rng.zipf(2.5, len(user)).clip(max=1000)
    _write(folder, "user_tags", user_id=_ids("u", user), tag=_ids("tag", tag), count=pl.Series(counts))
    user, contact = pairs(True, CONTACTS_EACH, users)
    others = user != contact
    _write(folder, "contacts", user_id=_ids("u", user[others]), contact_id=_ids("u", contact[others]))
    user, group = pairs(True, 1.3 * GROUPS_EACH, groups)
    _write(folder, "memberships", user_id=_ids("u", user), group_id=_ids("g", group))
    image, tag = pairs(False, 1.1 * TAGS_OF_IMAGE, tags)
    _write(folder, "image_tags", image_id=_ids("i", image), tag=_ids("tag", tag))
    every = np.arange(num_images)
    columns = {"image_id": _ids("i", every), "owner_id": _ids("u", users.draw(images.topics_T, rng))}
    if pictures:
        columns["path"] = pl.select(
            pl.format("pictures/{}/{}.jpg", pl.Series(every // 1000), pl.Series(every))
        ).to_series()
        _write_pictures(folder, images.topics_T, pictures, seed)
    _write(folder, "images", **columns)


def _write(folder: Path, table: str, **columns: pl.Series) -> None:
    pl.DataFrame(columns).write_parquet(folder / f"{table}.parquet")


def _ids(prefix: str, numbers: np.ndarray) -> pl.Series:
    return pl.select(pl.concat_str(pl.lit(prefix), pl.Series(numbers).cast(pl.String))).to_series()


def _times(seconds: np.ndarray) -> pl.Series:
    return pl.Series(START + seconds.astype("timedelta64[s]"), dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")


def _write_pictures(folder: Path, topics_I: np.ndarray, size: int, seed: int) -> None:
    """Pictures with the colors and the stripes of their topic, and noise."""

    def write(first: int) -> None:
        rng = np.random.default_rng([seed, first])
        part = folder / "pictures" / str(first // 1000)
        part.mkdir(parents=True)
        across = np.linspace(0, 1, size)[:, None]
        for number in range(first, min(first + 1000, len(topics_I))):
            topic = np.random.default_rng(topics_I[number])
            colors_23, stripes = topic.random((2, 3)) * 255, topic.integers(1, 12)
            share = np.sin(stripes * np.pi * (across + rng.random())) ** 2 + np.zeros((1, size))
            pixels = share[..., None] * colors_23[0] + (1 - share[..., None]) * colors_23[1]
            pixels += rng.normal(0, 20, pixels.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(part / f"{number}.jpg", quality=80)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(0, len(topics_I), 1000)))


def run_night(source: Path, root: Path, options: list[str], log: Path) -> tuple[int, float, float]:
    """The exit code of a night, its seconds, and the most MiB that its processes held together."""
    start, peak = time.perf_counter(), 0
    with log.open("w") as output:
        night = subprocess.Popen(
            [COMMAND, "nightly", "--source", source, "--root", root, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while night.poll() is None:
            peak = max(peak, sum(_resident(process) for process in _tree(night.pid)))
            time.sleep(0.5)
    return night.returncode, time.perf_counter() - start, peak / 2**20


def _tree(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    """What the process alone holds: pages of files that it maps are the system's."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Make the community, run a night and print what it cost."""
    parser = argparse.ArgumentParser(description="What a night over the paper's community costs.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the community and all outputs")
    parser.add_argument("--times", type=float, default=1.0, help="how many times the paper's numbers (default 1)")
    parser.add_argument("--pictures", type=int, default=0, help="pixels a side of each image's picture (default none)")
    parser.add_argument("--only-make", action="store_true", help="make the community, run no night")
    parser.add_argument("night", nargs="*", help="options of `tastegraph nightly`, after --")
    options = parser.parse_args()
    name = name_of(options.times, options.pictures)
    source, root = community_below(options.root, options.times, options.pictures), options.root / name / "output"
    if options.only_make:
        return
    log = options.root / name / "log.txt"
    before = _cpu_seconds()
    code, seconds, peak = run_night(source, root, options.night, log)
    cpu_seconds = _cpu_seconds() - before
    if code not in (0, 3):
        sys.exit(f"the night ended with {code}; its lines are in {log}")
    things = round((USERS + IMAGES) * options.times)
    run_id = json.loads((root / "exports" / "current.json").read_text())["run_id"]
    subprocess.run([COMMAND, "show", "--root", root, "--run", run_id], check=True)
    print(f"{name}: {seconds:,.0f} s, {seconds / things * 1e3:.2f} ms a user or image, {peak:,.0f} MiB")
    report(
        Claim(f"default night, {name}", "half an hour at the paper's size", options.times),
        Measured([seconds], [cpu_seconds]),
        Measured([REACH_SECONDS], [REACH_SECONDS]),
        holds=seconds <= REACH_SECONDS * options.times and peak <= REACH_MIB,
        peak_mib=peak,
        ms_per_thing=seconds / things * 1e3,
    )


if __name__ == "__main__":
    main()
