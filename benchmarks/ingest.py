"""What an ingest takes in time and memory, beside Polars that only copies the files: `python benchmarks/ingest.py`.

Each way runs in a process of its own, turn about; seconds are medians over rounds, ratios medians of the ratios within
rounds. An ingest reads, checks, sorts and merges the tables, and stores them as a night does; the reference is
`scan_csv` (or `scan_parquet`) into `sink_parquet`, file by file. Prints a row, and a line of JSON, for each figure.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from storage import parquet
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.tables.community import COMMUNITY

REACH_RATIO, REACH_MIB = 2.5, 1024
PART_ROWS = 500_000
PAPER = {
    "users": 54_173,
    "images": 101_496,
    "favorites": 5.8,
    "image_tags": 23.5,
}  # CDL, section 6.1; the last two each


def main() -> None:
    options = _options()
    if options.way:
        print(json.dumps(_measured(options.way, Path(options.source))))
        return
    million = options.favorites // 1_000_000
    cases = {
        f"{million} million favorites": (options.favorites // 20, options.favorites // 50, options.favorites, 0),
        "the paper's community": (
            PAPER["users"],
            PAPER["images"],
            round(PAPER["users"] * PAPER["favorites"]),
            round(PAPER["images"] * PAPER["image_tags"]),
        ),
    }
    print(f"{'':44} {'ours':>8} {'polars':>8} {'ratio':>6} {'reach':>6}")
    for title, sizes in cases.items():
        for suffix in ("csv", "parquet"):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                write_source(Path(folder), suffix, *map(int, sizes))
                rounds = [{way: _child(way, folder) for way in ("polars", "ours")} for _ in range(options.rounds)]
            _show(f"{title} from {suffix}", rounds)


def write_source(folder: Path, suffix: str, users: int, images: int, favorites: int, image_tags: int) -> None:
    """A source of that size; text ids of users, numbers as ids of images, times; written part by part."""
    rng = np.random.default_rng(0)
    ids = pl.Series("image_id", np.arange(images)).cast(pl.String)
    _write(folder / f"images.{suffix}", iter([ids.to_frame()]))

    def of_users() -> Iterator[pl.DataFrame]:
        for start in range(0, favorites, PART_ROWS):
            rows = min(PART_ROWS, favorites - start)
            who, what = rng.integers(0, users, rows), (rng.random(rows) ** 2 * images).astype(np.int64)
            when = pl.Series(rng.integers(1_300_000_000, 1_700_000_000, rows)).cast(pl.Datetime("ms"))
            frame = pl.DataFrame({"user_id": who, "image_id": what, "favorited_at": when})
            yield frame.select(
                pl.format("{}@N{}", "user_id", pl.col("user_id") % 100).alias("user_id"),
                pl.col("image_id").cast(pl.String),
                pl.from_epoch(pl.col("favorited_at").cast(pl.Int64)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            )

    def of_images() -> Iterator[pl.DataFrame]:
        for start in range(0, image_tags, PART_ROWS):
            rows = min(PART_ROWS, image_tags - start)
            tag = (rng.random(rows) ** 3 * 20_000).astype(np.int64)
            frame = pl.DataFrame({"image_id": rng.integers(0, images, rows), "tag": tag})
            yield frame.select(pl.col("image_id").cast(pl.String), pl.format("tag {}", "tag").alias("tag"))

    _write(folder / f"favorites.{suffix}", of_users())
    if image_tags:
        _write(folder / f"image_tags.{suffix}", of_images())


def _write(file: Path, parts: Iterator[pl.DataFrame]) -> None:
    if file.suffix == ".csv":
        with file.open("wb") as stream:
            for place, part in enumerate(parts):
                part.write_csv(stream, include_header=not place)
        return
    pl.concat(list(parts)).write_parquet(file)


def _measured(way: str, source: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak MiB of this process, which has done nothing else."""
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        if way == "ours":
            root, community = Root(out), directory.ingest(Root(str(source)), IngestConfig())
            for table in COMMUNITY:
                if table.name in community.tables:
                    parquet.write(table, community.tables[table.name], root)
        else:
            for file in sorted(source.iterdir()):
                scan = pl.scan_csv(file, infer_schema=False) if file.suffix == ".csv" else pl.scan_parquet(file)
                scan.sink_parquet(Path(out, f"{file.stem}.parquet"))
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _child(way: str, source: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--source", source]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _show(title: str, rounds: list[dict[str, dict[str, float]]]) -> None:
    lines = []
    for measure, reach in (("seconds", REACH_RATIO), ("cpu", REACH_RATIO), ("mib", REACH_MIB)):
        ours, theirs = (statistics.median(each[way][measure] for each in rounds) for way in ("ours", "polars"))
        ratio = statistics.median(each["ours"][measure] / each["polars"][measure] for each in rounds)
        holds = (ours if measure == "mib" else ratio) <= reach
        print(
            f"{title + ', ' + measure:44} {ours:8.1f} {theirs:8.1f} {ratio:6.2f} {reach:6g}{'' if holds else ' missed'}"
        )
        lines.append(
            {
                "name": f"ingest: {title}, {measure}",
                "ours": ours,
                "reference": theirs,
                "reference_name": "polars: scan, sink_parquet",
                "ratio": ratio,
                "reach": reach,
                "holds": holds,
                "peak_mib": statistics.median(each["ours"]["mib"] for each in rounds),
            }
        )
    for line in lines:
        print(json.dumps(line))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure an ingest beside Polars that only copies.")
    parser.add_argument("--favorites", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the sources are written for a while; 1 GB")
    parser.add_argument("--way", choices=["ours", "polars"], help=argparse.SUPPRESS)  # this process is a measured one
    parser.add_argument("--source", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
