"""How costs grow with a community: `python benchmarks/growth.py --root DIR --times 0.1 0.3 1`.

The communities are those of `world.py`, below the same root. Each expert of `tastegraph` is fitted alone, in a process
of its own and on one thread; `--stages` tabulates the stages of nights that `world.py` has run there, in place of it.
A row has CPU seconds and peak MiB at each size, microseconds for each user or image, and the exponent by which the
seconds grow from the first size to the last: 1 is a constant cost of each user or image. Last lines: JSON, one a row.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from world import IMAGES, USERS, community_below

Cost = tuple[float, float]  # CPU seconds, peak MiB


def main() -> None:
    """Measure, or read what was measured, at each size; print the table."""
    parser = argparse.ArgumentParser(description="How costs grow with a community.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of world.py's communities")
    parser.add_argument("--times", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="sizes, the paper's is 1")
    parser.add_argument("--experts", nargs="+", help="only these; default all of effort normal")
    parser.add_argument("--stages", action="store_true", help="the stages of nights that were run there")
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        _fit(options.fit, options.root)
        return
    costs: dict[str, dict[float, Cost]] = {}
    for times in options.times:
        found = _of_stages(options.root, times) if options.stages else _of_experts(options, times)
        for name, cost in found.items():
            costs.setdefault(name, {})[times] = cost
    _print(costs, options.times)


def _of_stages(root: Path, times: float) -> dict[str, Cost]:
    """What each stage of the last night took."""
    files = sorted((root / f"{times:g}x" / "output" / "runs").glob("*.stages.parquet"))
    if not files:
        sys.exit(f"no night was run at {times:g}: python benchmarks/world.py --root {root} --times {times:g}")
    rows = pl.read_parquet(files[-1]).filter(pl.col("ran") > 0).rows(named=True)
    return {row["stage"]: (row["cpu_s"], row["peak_bytes"] / 2**20) for row in rows}


def _of_experts(options: argparse.Namespace, times: float) -> dict[str, Cost]:
    """What it takes to fit each expert, and `(nothing)`: a process that holds the community alone."""
    from models.settings.tastegraph import TasteGraphConfig
    from models.systems.tastegraph import TasteGraph

    source = community_below(options.root, times)
    found = {}
    for name in ["(nothing)", *(options.experts or TasteGraph(TasteGraphConfig()).unfitted())]:
        command = [sys.executable, __file__, "--root", str(source), "--fit", name]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(command, capture_output=True, text=True, env=one_thread, check=False)
        if answer.returncode:
            print(f"{name} at {times:g} ended with {answer.returncode}: {answer.stderr[-300:]}", file=sys.stderr)
            continue
        found[name] = tuple(json.loads(answer.stdout.splitlines()[-1]))
        print(f"{times:g}x {name}: {found[name][0]:.1f} CPU s, {found[name][1]:,.0f} MiB", file=sys.stderr, flush=True)
    return found


def _fit(name: str, source: Path) -> None:
    """Fit one expert, and print its CPU seconds and the process' peak MiB."""
    import torch

    from models.settings.tastegraph import TasteGraphConfig
    from models.systems.tastegraph import TasteGraph

    torch.set_num_threads(1)
    community = read(source)
    start = time.process_time()
    if name != "(nothing)":
        TasteGraph(TasteGraphConfig()).unfitted()[name].fit(community, 0)
    seconds = time.process_time() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def read(source: Path):  # models are imported late: this script's table needs none
    """The community of a source that `world.py` has made."""
    from models.community import Community

    def numbers(table: pl.DataFrame, column: str) -> np.ndarray:
        return table[column].str.extract(r"(\d+)").cast(pl.Int64).to_numpy()

    def matrix(name: str, row: str, column: str, values: str | None = None, *, rows: int) -> csr_array:
        table = pl.read_parquet(source / f"{name}.parquet")
        data = table[values].to_numpy() if values else np.ones(len(table))
        columns = {"image_id": num_images, "contact_id": num_users}.get(column, 0)
        columns = columns or {"tag": num_tags, "group_id": num_groups}[column]
        places = (numbers(table, row), numbers(table, column))
        return csr_array((data.astype(np.float32), places), shape=(rows, columns))

    images = pl.read_parquet(source / "images.parquet")
    num_images = len(images)
    num_users = round(num_images * USERS / IMAGES)
    num_groups, num_tags = (
        1 + max(int(numbers(pl.read_parquet(source / f"{name}.parquet"), column).max()) for name in names)
        for column, names in (("group_id", ["memberships"]), ("tag", ["user_tags", "image_tags"]))
    )
    favorites = pl.read_parquet(source / "favorites.parquet")
    places = (numbers(favorites, "user_id"), numbers(favorites, "image_id"))
    seconds = favorites["favorited_at"].dt.epoch("s").to_numpy().astype(np.float64)
    return Community(
        favorites_UI=matrix("favorites", "user_id", "image_id", rows=num_users),
        favorited_at_UI=csr_array((seconds, places), shape=(num_users, num_images)),
        user_tags_UT=matrix("user_tags", "user_id", "tag", "count", rows=num_users),
        image_tags_IT=matrix("image_tags", "image_id", "tag", rows=num_images),
        contacts_UU=matrix("contacts", "user_id", "contact_id", rows=num_users),
        memberships_UG=matrix("memberships", "user_id", "group_id", rows=num_users),
        owner_I=numbers(images, "owner_id"),
    )


def _print(costs: dict[str, dict[float, Cost]], sizes: list[float]) -> None:
    heads = "".join(f"{f'{times:g}x':>30}" for times in sizes)
    print(f"{'':26}{heads}  exponent")
    for name, of_size in sorted(costs.items(), key=lambda item: -item[1][max(item[1])][0]):
        parts = [
            f"{of_size[times][0]:9.1f} s{of_size[times][1]:8,.0f} MiB{_unit(of_size[times][0], times):7,.0f}"
            if times in of_size
            else f"{'':>30}"
            for times in sizes
        ]
        first, last = min(of_size), max(of_size)
        grows = first < last and of_size[first][0] > 0.1
        exponent = math.log(of_size[last][0] / of_size[first][0]) / math.log(last / first) if grows else float("nan")
        print(f"{name:26}{''.join(f'{part:>30}' for part in parts)}  {exponent:8.2f}")
    for name, of_size in costs.items():
        print(json.dumps({"name": name, "sizes": {f"{times:g}": cost for times, cost in of_size.items()}}))


def _unit(seconds: float, times: float) -> float:
    """Microseconds for each user or image."""
    return seconds / (times * (USERS + IMAGES)) * 1e6


if __name__ == "__main__":
    main()
