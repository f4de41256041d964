"""sha256 of every exported Parquet file on fixed inputs and seeds, to show that a refactoring changes no result.

    python benchmarks/export_digests.py --folder DIR --out before.json
    python benchmarks/export_digests.py --folder DIR --out after.json --against before.json [--checkout DIR]

Runs `tastegraph nightly` of a checkout (by default this one) on the demo, on part of a source with pictures and on
parts of two without (from TASTEGRAPH_DATA), with the default system, both CDLs, one system of each other family, and a
night that keeps its model while users and images come in. All on one thread: with two, torch adds up gradients in an
order that differs from run to run, and scores differ in their seventh digit. Compare on one machine only. Exits with 1
where a digest differs.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SMALL = {
    "demo.users": "250", "demo.images": "400", "demo.picture_px": "32",
    "images.size_px": "32", "images.shard_images": "128",
    "word2vec.dimensions": "16", "clusters.num_clusters": "64",
    "training.epochs": "2", "recommend.block_users": "100",
}  # fmt: skip
FAMILIES = ("als", "borda_social_lmnn", "cdl_hinge", "collaborative_dl", "dvbpr", "ease", "itemknn", "lightgcn",
            "pinsage", "tag_profile", "twonets", "vbpr", "wide_deep")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A night, or two on one root: the second keeps the first one's model, while the source has grown."""

    name: str
    source: str  # demo, or the name of a part written by `write_part`
    system: str
    nights: tuple[str, ...] = ("full",)


CASES = [
    Case("demo-tastegraph", "demo", "tastegraph"),
    Case("demo-cdl", "demo", "cdl"),
    Case("posters-tastegraph-kept", "movielens-posters", "tastegraph", ("full", "keep")),
    Case("posters-cdl-kept", "movielens-posters", "cdl", ("full", "keep")),
    Case("camra-tastegraph", "camra-groups", "tastegraph"),
    Case("lastfm-tastegraph", "lastfm-friends", "tastegraph"),
    *(Case(f"demo-{name}", "demo", name) for name in FAMILIES),
]


def main() -> None:
    """Run the cases, write their digests, and compare them with earlier ones."""
    options = _options()
    chosen = [case for case in CASES if not options.cases or case.name in options.cases.split(",")]
    found: dict[str, dict[str, str]] = {}
    for case in chosen:
        found[case.name] = dict(run_case(case, options.folder, options.checkout.resolve()))
        print(f"{case.name}: {len(found[case.name])} files", flush=True)
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if options.against:
        before = json.loads(options.against.read_text())
        differing = [name for name, digests in found.items() if digests != before.get(name)]
        for name in differing:
            files = found[name].keys() | before.get(name, {}).keys()
            wrong = sorted(file for file in files if found[name].get(file) != before.get(name, {}).get(file))
            print(f"{name} differs: {', '.join(wrong)}")
        print(f"{len(found) - len(differing)} of {len(found)} cases are equal, file by file")
        sys.exit(1 if differing else 0)


def run_case(case: Case, folder: Path, checkout: Path) -> Iterator[tuple[str, str]]:
    """The path of each exported file, and its sha256."""
    root, live = folder / "roots" / case.name, folder / "live" / case.name
    for old in (root, live):
        shutil.rmtree(old, ignore_errors=True)
    settings = {**SMALL, "model.system": case.system, "incremental.warm_every": "0"}
    for night, start in enumerate(case.nights):
        source = "demo"
        if case.source != "demo":
            write_part(case.source, live, share=1 if night == len(case.nights) - 1 else 0.9)
            source = str(live)
        changes = [f"--set={key}={value}" for key, value in {**settings, "incremental.start": start}.items()]
        command = ["-c", "from flows.cli import main; main()", "nightly", "--source", source, "--root", str(root)]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        env = {**os.environ, **one_thread, "PYTHONPATH": str(checkout), "PREFECT_HOME": str(folder / "prefect")}
        command += ["--run-id", f"night-{night}", *changes]
        ended = subprocess.run(
            [sys.executable, *command], cwd=checkout, env=env, capture_output=True, text=True, check=False
        )
        if ended.returncode not in (0, 3):  # 3: so small a model may stay below chance, and the gate stops it
            sys.exit(f"{case.name}, night {night}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")
    for file in sorted((root / "exports/runs").rglob("*.parquet")):
        yield file.relative_to(root / "exports/runs").as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()


def write_part(name: str, out: Path, share: float, users: int = 200, images: int = 400) -> None:
    """The first users and images of a real source, by id; with `share` below 1 the last of them are yet to come."""
    origin = Path(os.environ["TASTEGRAPH_DATA"]) / name
    favorites = pl.read_parquet(origin / "favorites.parquet")
    popular = favorites.group_by("image_id").len().sort(["len", "image_id"], descending=[True, False])
    kept = {
        "image_id": sorted(popular["image_id"].head(images).to_list())[: int(images * share)],
        "user_id": sorted(favorites["user_id"].unique().to_list())[: int(users * share)],
    }
    kept["contact_id"] = kept["user_id"]
    out.mkdir(parents=True, exist_ok=True)
    tables = ("images", "favorites", "image_tags", "user_tags", "contacts", "groups", "memberships")
    for table in tables:
        if (origin / f"{table}.parquet").exists():
            rows = pl.read_parquet(origin / f"{table}.parquet")
            for column in kept.keys() & set(rows.columns):
                rows = rows.filter(pl.col(column).is_in(kept[column]))
            rows.write_parquet(out / f"{table}.parquet")
            for path in rows["path"].drop_nulls() if "path" in rows.columns else ():
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(origin / path, out / path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where sources and roots are written")
    parser.add_argument("--out", type=Path, required=True, help="the digests, as JSON")
    parser.add_argument("--against", type=Path, help="earlier digests to compare with")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parent.parent, help="whose code is run")
    parser.add_argument("--cases", default="", help="names with commas between them; all by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
