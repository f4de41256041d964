"""Cost and quality of incremental nights, which keep the published model or warm-start from it, as the demo grows.

    python benchmarks/incremental.py --system cdl --users 1500 --images 3000 --nights 14 --folder DIR

A line for each night: images and users processed, processor seconds of embedding and recommending, both as shares of a
full night, and the headline metrics. On the nights of --full a model is also learned from scratch, and measured on the
favorites that the night itself conceals: with its interval, that is the quality of nightly retraining. If one model is
kept throughout, every night's exported bytes are compared with those of a run that has that model and computes all else
from scratch; --seconds-only leaves that out.

Processor seconds, not wall time: the stages of a night run one after the other, and on a shared machine only wall time
is longer.
"""

import argparse
import json
import logging
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reach import Claim, Measured, report

from flows.commands.at_work import prepare_prefect
from models.evaluation.headlines import HEADLINES

if TYPE_CHECKING:
    from flows.settings import NightlyConfig
    from storage.manifests import Manifest

STAGES = ("embed-images", "apply-learned", "fold-in", "embed-users", "recommend", "find-similar")


class Clock(logging.Handler):
    """Seconds of each stage, of the processor and by the clock: from the end of the one before it to its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()
        self.before = (time.process_time(), time.perf_counter())

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "%-18s %s" and isinstance(record.args, tuple):  # the ledger's line of a stage that ended
            now = (time.process_time(), time.perf_counter())
            for seconds, end, start in zip((self.seconds, self.wall), now, self.before, strict=True):
                seconds[str(record.args[0])] += end - start
            self.before = now


def main() -> None:
    """Print the table of nights."""
    options = _options()
    prepare_prefect(options.folder)
    from storage.settings.demo import DemoConfig
    from storage.sources.demo.community import write_demo
    from storage.sources.demo.growth import Growth, GrowthConfig

    full_source, live, kept, first = (options.folder / name for name in ("whole", "live", "kept", "first"))
    if not (full_source / "images.parquet").exists():
        write_demo(DemoConfig(users=options.users, images=options.images), full_source)
    growth = Growth(full_source, GrowthConfig(nights=options.nights))
    print(
        "night how   images: embedded compared  users: embedded listed  cpu s  of full   bytes  figures "
        "[full retraining]"
    )
    whole, kept_nights = Measured([], []), Measured([], [])
    has_one_model = not (options.seconds_only or options.warm_every or options.full_every)
    for night in range(options.nights + 1):
        growth.write(night, live)
        run = _run(live, kept, options, start=options.start)
        how = run["manifest"].incremental["how"]
        if how == "full":
            whole = Measured([run["wall"]], [run["seconds"]])
        elif how == "keep":
            kept_nights.seconds.append(run["wall"])
            kept_nights.cpu_seconds.append(run["seconds"])
        retrained = _retrained(live, kept, run["manifest"], options) if night in options.full else None
        recomputed = None
        if night == 0:
            shutil.copytree(kept, first, ignore=shutil.ignore_patterns("cache"))
        elif how == "keep" and has_one_model:
            recomputed = _run(live, first, options, start="keep", take_over=False)
        _print(night, run, whole.cpu_seconds[0], retrained, recomputed, options.system)
    print("seconds of the last night", run["stages"])
    if nights := len(kept_nights.seconds):
        claim = Claim(f"a kept night, {options.users:,} users, {options.images:,} images", "a full night's", 0.1)
        report(claim, kept_nights, Measured(whole.seconds * nights, whole.cpu_seconds * nights))


def _run(source: Path, root: Path, options: argparse.Namespace, **incremental: Any) -> dict[str, Any]:
    """One night: its manifest, its exported bytes, and the processor seconds of embedding and recommending."""
    from flows.nightly import nightly
    from storage import snapshots
    from storage.roots import Root

    clock, log = Clock(), logging.getLogger("tastegraph")
    log.setLevel(logging.INFO)
    log.addHandler(clock)
    published = nightly(str(source), str(root), _settings(options, **incremental))
    log.removeHandler(clock)
    manifest = snapshots.manifest(Root(str(root)), published.run_id)
    exported = {file.path.split("/", 3)[3]: file.sha256 for file in manifest.table_files()}
    by_stage = {stage: round(clock.seconds[stage], 2) for stage in STAGES if stage in clock.seconds}
    wall = sum(clock.wall[stage] for stage in by_stage)
    seconds = sum(by_stage.values())
    return {"manifest": manifest, "exported": exported, "stages": by_stage, "seconds": seconds, "wall": wall}


def _retrained(source: Path, folder: Path, manifest: "Manifest", options: argparse.Namespace) -> list[dict[str, Any]]:
    """The metrics of a model learned from scratch on a night's training favorites, on those that the night conceals."""
    from prefect import flow

    from flows.learn import learn
    from storage import parquet
    from storage.roots import Root
    from tasks.data.pictures import Pictures
    from tasks.evaluation.evaluate import evaluate
    from tasks.night.records import NewModel
    from tasks.night.start import states_of
    from tasks.runtime.record_store import records_below
    from tasks.runtime.runners import THREADS

    root, states = Root(str(folder)), states_of(manifest)
    assert not isinstance(states, str), states
    night = states[1]

    @flow(name="retrained", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]
    def retrained() -> list[dict[str, Any]]:
        with records_below(root):
            pictures = Pictures(Root(str(source)), night.shards)
            learned = learn(night.table, night.split.training, pictures, NewModel(), _settings(options), root)
            return parquet.read(evaluate(night.split, night.table["favorites"], learned.model, root), root).to_pylist()

    return retrained()


def _settings(options: argparse.Namespace, **incremental: Any) -> "NightlyConfig":
    from flows.settings import validate

    own = {"full_every": options.full_every, "warm_every": options.warm_every, "quality_drift": 1.0, **incremental}
    model = {"system": options.system, **options.settings.get("model", {})}
    return validate({**options.settings, "model": model, "incremental": own, "gate": {"metric_fall": [None, None]}})


def _print(
    night: int,
    run: dict[str, Any],
    whole_s: float,
    retrained: list[dict[str, Any]] | None,
    recomputed: dict[str, Any] | None,
    system: str,
) -> None:
    incremental, rows = run["manifest"].incremental, run["manifest"].rows
    work, images, users = incremental["work"], rows["image_embeddings"], rows["user_embeddings"]
    counts = [
        f"{work.get(name, 0):5} {work.get(name, 0) / total:6.1%}"
        for name, total in (
            ("images embedded", images),
            ("images compared", images),
            ("users embedded", users),
            ("users recommended", users),
        )
    ]
    figures = [
        _figure(run["manifest"].metrics, key, system) + (_with_interval(retrained, key, system) if retrained else "")
        for key in HEADLINES
    ]
    share = run["seconds"] / whole_s
    same = "-" if recomputed is None else "same" if recomputed["exported"] == run["exported"] else "OTHER"
    seconds = f"{run['seconds']:6.2f} {share:6.1%}"
    print(f"{night:5} {incremental['how']:5} {' '.join(counts)} {seconds}  {same:5}  {'  '.join(figures)}", flush=True)


def _row(metrics: list[dict[str, Any]], key: tuple[str, str], system: str) -> dict[str, Any] | None:
    rows = [
        row for row in metrics if (row["protocol"], row["metric"], row["system"], row["slice"]) == (*key, system, "all")
    ]
    return max(rows, key=lambda row: row["k"], default=None)


def _figure(metrics: list[dict[str, Any]], key: tuple[str, str], system: str) -> str:
    row = _row(metrics, key, system)
    return f"{row['value']:.3f}" if row else "-"


def _with_interval(metrics: list[dict[str, Any]], key: tuple[str, str], system: str) -> str:
    row = _row(metrics, key, system)
    return f" {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if row else " [-]"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="cdl")
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--nights", type=int, default=14)
    parser.add_argument(
        "--full", type=int, nargs="*", default=[7, 14], help="nights on which a model is learned from scratch too"
    )
    parser.add_argument("--start", choices=("keep", "warm"), default="keep", help="of every night but the first")
    parser.add_argument(
        "--warm-every", type=int, default=0, help="with keep: a warm night every so many (default none)"
    )
    parser.add_argument("--full-every", type=int, default=0, help="a full night every so many (default none)")
    parser.add_argument("--seconds-only", action="store_true", help="compare no bytes")
    parser.add_argument("--settings", type=json.loads, default={}, help="other settings, by section, as JSON")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for the community and the roots")
    return parser.parse_args()


if __name__ == "__main__":
    main()
