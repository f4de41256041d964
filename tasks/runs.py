"""Run ids: one per night, and the same one again for a night that was killed and is started anew."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from storage import snapshots
from storage.roots import Root

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Run:
    """One night's name."""

    id: str
    is_named: bool  # the id was asked for, so the run is published under it even if another holds the same tables
    purpose: str  # a digest of the source, its content and the settings


def begin(run_id: str | None, purpose: str, root: Root) -> Run:
    """This run. Without an id given: that of an unfinished run of the same purpose, else one made of the time.

    Raises ValueError for an id under which nothing could be published.
    """
    is_named = run_id is not None
    if run_id is None:
        unfinished = [path for path, run in _runs(root) if not run["finished"] and run["purpose"] == purpose]
        if unfinished:
            run_id = unfinished[-1].rpartition("/")[2].removesuffix(".json")
            log.info("going on with run %s, which did not end", run_id)
            return Run(run_id, is_named, purpose)
        taken = {path.rpartition("/")[2].removesuffix(".json") for path, _ in _runs(root)}
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run_id = next(
            name for name in (stamp, *(f"{stamp}-{number}" for number in range(2, 1000))) if name not in taken
        )
    snapshots.folder(run_id)  # refuses an id now, and not when the night's work is done
    run = Run(run_id, is_named, purpose)
    _write(run, finished=False, root=root)
    return run


def finish(run: Run, root: Root) -> None:
    """Note that the run came to its end, published or not."""
    _write(run, finished=True, root=root)


def _write(run: Run, *, finished: bool, root: Root) -> None:
    root.write(f"runs/{run.id}.json", json.dumps({"purpose": run.purpose, "finished": finished}).encode())


def _runs(root: Root) -> list[tuple[str, dict[str, object]]]:
    paths = sorted(entry.path for entry in root.entries("runs"))
    return [(path, json.loads(root.read(path))) for path in paths]
