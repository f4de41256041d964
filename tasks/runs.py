"""Run ids: one per night, and the same one again for a night that was killed and is started anew."""

import json
import logging
from datetime import UTC, datetime

from storage.roots import Root

log = logging.getLogger("tastegraph")


def begin(run_id: str | None, purpose: str, root: Root) -> str:
    """The id of this run. Without one given: that of an unfinished run of the same purpose, else one made of the time.

    `purpose` is a digest of the source and the settings.
    """
    if run_id is None:
        unfinished = [path for path, run in _runs(root) if not run["finished"] and run["purpose"] == purpose]
        if unfinished:
            run_id = unfinished[-1].rpartition("/")[2].removesuffix(".json")
            log.info("going on with run %s, which did not end", run_id)
            return run_id
        taken = {path.rpartition("/")[2].removesuffix(".json") for path, _ in _runs(root)}
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run_id = next(
            name for name in (stamp, *(f"{stamp}-{number}" for number in range(2, 1000))) if name not in taken
        )
    _write(run_id, purpose, finished=False, root=root)
    return run_id


def finish(run_id: str, purpose: str, root: Root) -> None:
    """Note that the run came to its end, published or not."""
    _write(run_id, purpose, finished=True, root=root)


def _write(run_id: str, purpose: str, *, finished: bool, root: Root) -> None:
    root.write(f"runs/{run_id}.json", json.dumps({"purpose": purpose, "finished": finished}).encode())


def _runs(root: Root) -> list[tuple[str, dict[str, object]]]:
    paths = sorted(entry.path for entry in root.entries("runs"))
    return [(path, json.loads(root.read(path))) for path in paths]
