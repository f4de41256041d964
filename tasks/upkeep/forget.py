"""Users and images forgotten: a tombstone for each, the current export without them, and every file that names them
deleted, so that the next night makes anew what it needs."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.systems import SYSTEMS
from storage import leases, snapshots, tombstones
from storage.id_scan import Found, IdScan
from storage.manifests import Manifest
from storage.roots import WORK_FOLDER, Entry, Root, scratch_folder
from storage.tombstones import KINDS, IdsByKind
from tasks.upkeep import redact

LEFT_ON_THE_MACHINE = ("fetched", "prefect", "studies")  # below the scratch folder, where the root is remote


@dataclass(frozen=True)
class Forgotten:
    """What was done to forget somebody."""

    users: int
    images: int
    run_id: str | None  # the run that is current now; None where nothing is published
    is_new: bool  # the current run named them, so it was published again without
    files: int  # deleted
    bytes: int


def forget(named: IdsByKind, root: Root, *, told: IdsByKind | None = None, even_if_unknown: bool = False) -> Forgotten:
    """Forget these users and images, and those that a source told of.

    Nothing is deleted under a flow: while one is at work on the root, and when an id is unknown here, nothing happens
    at all. Killed anywhere and called again, it goes on.

    Raises:
        BusyError: a flow is at work on the root.
        ValueError: an id of `named` that no file below the root names and no tombstone stands for.
    """
    gone = {kind: named.get(kind, frozenset()) | (told or {}).get(kind, frozenset()) for kind in KINDS}
    traces = IdScan(gone)
    with leases.exclusive(root, "forget") as holders:
        if holders:
            raise leases.BusyError(
                f"{root.address}: {holders[0]} is at work here and would bring back what is forgotten now; nothing was "
                f"done: run it again when that has ended"
            )
        traced = {entry.path: found for entry, found in _everything(root, traces) if found}
        if not even_if_unknown:
            _refuse_unknown(named, traced, root)
        tombstones.add(gone, root)
        run_id, is_new = _publish_without(traces, traced.keys(), root)
        deleted = list(_sweep(set(traced), root))
        for place in _beside(root):
            deleted += _sweep({entry.path for entry, found in _everything(place, traces) if found}, place)
    size = sum(entry.size for entry in deleted)
    return Forgotten(len(gone["user"]), len(gone["image"]), run_id, is_new, len(deleted), size)


def _refuse_unknown(named: IdsByKind, traced: dict[str, Found], root: Root) -> None:
    """Refuse ids that stand in no cell of a table or a shard: a word of the report may equal a mistyped id."""
    known = frozenset().union(*(found for path, found in traced.items() if path.endswith((".parquet", ".arrow"))))
    stones, asked = tombstones.read(root), sorted((kind, id_) for kind, ids in named.items() for id_ in ids)
    unknown = [f"{kind} {id_!r}" for kind, id_ in asked if (kind, id_) not in known and not stones.hold(kind, id_)]
    if unknown:
        raise ValueError(
            f"{root.address}: nothing here names {', '.join(unknown)}, so nothing was done; correct the id, or forget "
            f"with --even-if-unknown what a source may bring later"
        )


def _publish_without(traces: IdScan, traced: AbstractSet[str], root: Root) -> tuple[str | None, bool]:
    """The id of the run that is current then, and whether it is a new one: the last one named somebody."""
    pointer = snapshots.current(root)
    if pointer is None:
        return None, False
    manifest = snapshots.manifest(root, pointer.run_id)
    if traced.isdisjoint(_files_of(manifest)):
        return pointer.run_id, False
    return redact.republish(manifest, traces, root), True


def _everything(root: Root, traces: IdScan) -> Iterator[tuple[Entry, Found]]:
    """Every file below a root, and whom of those looked for it names."""
    for entry in list(root.entries()):
        if entry.path != tombstones.PATH and not entry.path.startswith(leases.FOLDER):
            with _at_hand(entry, root) as file:
                yield entry, traces.in_file(file, entry.path)


@contextmanager
def _at_hand(entry: Entry, root: Root) -> Iterator[Path]:
    """A local file with the bytes of a root's; of a remote one, no copy stays."""
    if not root.is_remote:
        yield root.local(entry.path)
        return
    with root.workspace() as folder:
        file = folder / "file"
        file.write_bytes(root.read(entry.path))
        yield file


def _files_of(manifest: Manifest) -> set[str]:
    """The files that a run consists of, and the tables that it was computed from."""
    own = {file.path for file in manifest.files} | {f"{snapshots.folder(manifest.run_id)}/manifest.json"}
    return own | {ref.path for ref in manifest.inputs.values()}


def _sweep(named: set[str], root: Root) -> Iterator[Entry]:
    """Delete files that name them, and with one of a whole its others; yields what was deleted."""
    wholes = {_whole(path) for path in named}
    # A run's manifest goes first: without it the rest of the folder is no run.
    for entry in sorted(root.entries(), key=lambda entry: not entry.path.endswith("/manifest.json")):
        if _whole(entry.path) in wholes or (named and _has_rows(entry.path)):
            root.delete(entry.path)
            yield entry
    for entry in list(root.debris()):
        root.delete(entry.path)
        yield entry
    for folder in sorted({PurePosixPath(path).parts[0] for path in (*named, WORK_FOLDER)}):
        root.prune(folder)


def _whole(path: str) -> str:
    """What a file is of use with only: the folder of a published run or a comparison, a database; else itself."""
    parts = PurePosixPath(path).parts
    if path.startswith(f"{snapshots.RUNS}/"):
        return "/".join(parts[:3])
    if parts[0] == "comparisons" and parts[2:3] != ("users",):  # users/ is beside the tables, which name nobody
        return "/".join(parts[:2])
    return path.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal")


def _has_rows(path: str) -> bool:
    """Whether it is a fitted system's state, which may hold a row of numbers for each user and image, without ids.

    The weights of CDL hold none: what they have learned is of clusters and pixels.
    """
    parts = PurePosixPath(path).parts
    return parts[0] == "checkpoints" and parts[1] in SYSTEMS and parts[1] != "cdl"


def _beside(root: Root) -> list[Root]:
    """What a run with a remote root leaves on this machine."""
    folders = [scratch_folder() / name for name in LEFT_ON_THE_MACHINE] if root.is_remote else []
    return [Root(str(folder)) for folder in folders if folder.is_dir()]
