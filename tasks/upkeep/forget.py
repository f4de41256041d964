"""Forget users and images: write a tombstone for each, publish the current run without them, delete every file that
names them. The next night computes again what it needs."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from storage import checkpoints, leases, snapshots, tombstones
from storage.checkpoints import FITTED_STATE
from storage.id_scan import Found, IdScan
from storage.images import FETCHED_FOLDER
from storage.manifests import Manifest
from storage.roots import WORK_FOLDER, Entry, Root, scratch_folder
from storage.tombstones import KINDS, IdsByKind
from tasks.night import mending
from tasks.upkeep import fetched, redact

LEFT_ON_THE_MACHINE = ("fetched", "prefect", "studies")  # below the scratch folder, where the root is remote


@dataclass(frozen=True)
class Forgotten:
    """How a forgetting ended."""

    users: int
    images: int
    run_id: str | None  # the run that is current now; None where nothing is published
    is_new: bool  # the current run named them, so it was published again without them
    files: int  # deleted
    bytes: int
    unreached: list[str]  # files outside the root, beyond links, that name them: they were not deleted


def forget(
    named: IdsByKind, root: Root, *, from_source: IdsByKind | None = None, even_if_unknown: bool = False
) -> Forgotten:
    """Forget these users and images, and those in a source's table of tombstones.

    Killed anywhere and called again, it goes on.

    Args:
        named: ids that a person asks to forget; each must be known below the root, unless `even_if_unknown`.
        from_source: ids that may be unknown.
    Raises, before anything is written or deleted:
        BusyError: a flow is at work on the root.
        ValueError: an id of `named` that no file below the root names and no tombstone stands for.
    """
    gone = {kind: named.get(kind, frozenset()) | (from_source or {}).get(kind, frozenset()) for kind in KINDS}
    scan = IdScan(gone)
    with leases.exclusive(root, "forget", snapshots.raise_fence) as holders:
        if holders:
            raise leases.BusyError(
                f"{root.address}: {holders[0]} is at work here and would bring back what is forgotten now; nothing was "
                f"done: run it again when that has ended"
            )
        naming = {entry.path: found for entry, found in _scanned(root, scan) if found}
        if not even_if_unknown:
            _refuse_unknown(named, naming, root)
        tombstones.add(gone, root)
        snapshots.withhold(root, lambda text: bool(scan.in_text(text)))
        run_id, is_new = _publish_without(scan, naming.keys(), root)
        outside = [entry for entry in root.entries() if root.leads_out(entry.path)]
        left = [entry for entry in outside if entry.path in naming or (naming and _has_rows(entry, root))]
        unreached = {str(Path(root.url(entry.path)).resolve()) for entry in left}
        deleted = [*_sweep(set(naming), root), *_sweep_pictures(root)]
        for place in _beside(root):
            deleted += _sweep({entry.path for entry, found in _scanned(place, scan) if found}, place)
    size = sum(entry.size for entry in deleted)
    return Forgotten(len(gone["user"]), len(gone["image"]), run_id, is_new, len(deleted), size, sorted(unreached))


def _refuse_unknown(named: IdsByKind, naming: dict[str, Found], root: Root) -> None:
    """Refuse ids that are in no cell of a table or a shard: a word of the report may equal a mistyped id."""
    in_cells = frozenset().union(*(found for path, found in naming.items() if path.endswith((".parquet", ".arrow"))))
    stones, wanted = tombstones.read(root), sorted((kind, id_) for kind, ids in named.items() for id_ in ids)
    unknown = [f"{kind} {id_!r}" for kind, id_ in wanted if (kind, id_) not in in_cells and not stones.hold(kind, id_)]
    if unknown:
        raise ValueError(
            f"{root.address}: nothing here names {', '.join(unknown)}, so nothing was done; correct the id, or forget "
            f"with --even-if-unknown what a source may bring later"
        )


def _publish_without(scan: IdScan, naming: AbstractSet[str], root: Root) -> tuple[str | None, bool]:
    """The id of the run that is current afterwards, and whether it is a new one: the last one named a forgotten id."""
    manifest = mending.current_manifest(root)
    if manifest is None:
        return None, False
    if naming.isdisjoint(_files_of(manifest)):
        return manifest.run_id, False
    return redact.republish(manifest, scan, root), True


def _scanned(root: Root, scan: IdScan) -> Iterator[tuple[Entry, Found]]:
    """Every file below a root, and the ids that it names."""
    for entry in list(root.entries()):
        if entry.path != tombstones.PATH and not entry.path.startswith(leases.FOLDER):
            with _local_copy(entry, root) as file:
                yield entry, scan.in_file(file, entry.path)


@contextmanager
def _local_copy(entry: Entry, root: Root) -> Iterator[Path]:
    """A local file with the bytes of a root's file; the copy of a remote one is deleted afterwards."""
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
    """Delete the files that name a forgotten id, each with the unit that it belongs to; yields what was deleted."""
    units = {_unit(path) for path in named}
    # A run's manifest goes first: without it the rest of the folder is no run.
    for entry in sorted(root.entries(), key=lambda entry: not entry.path.endswith("/manifest.json")):
        if not root.link_above(entry.path) and (_unit(entry.path) in units or (named and _has_rows(entry, root))):
            root.delete(entry.path)
            yield entry
    for entry in list(root.debris()):
        root.delete(entry.path)
        yield entry
    for folder in sorted({PurePosixPath(path).parts[0] for path in (*named, WORK_FOLDER)}):
        root.prune(folder)


def _sweep_pictures(root: Root) -> Iterator[Entry]:
    """Delete the fetched pictures that no table names now: those of the forgotten among them."""
    named = fetched.named_in([entry.path for entry in root.entries(fetched.TABLES.rstrip("/"))], root)
    for entry in list(root.entries(FETCHED_FOLDER)):
        if entry.path not in named and not root.link_above(entry.path):
            root.delete(entry.path)
            yield entry


def _unit(path: str) -> str:
    """What is deleted as one: the folder of a published run or a comparison, a database's files; else the file."""
    parts = PurePosixPath(path).parts
    if path.startswith(f"{snapshots.RUNS}/"):
        return "/".join(parts[:3])
    if parts[0] == "comparisons" and parts[2:3] != ("users",):  # users/ is beside the tables, which have no ids
        return "/".join(parts[:2])
    return path.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal")


def _has_rows(entry: Entry, root: Root) -> bool:
    """Whether it is a fitted system's state, which may have a row of numbers for each user and image, without ids.

    The weights of CDL have none: they are of clusters and pixels. A damaged checkpoint may be anything, so it counts.
    """
    if not entry.path.startswith("checkpoints/"):
        return False
    with _local_copy(entry, root) as file:
        try:
            return FITTED_STATE in checkpoints.keys_of(file)
        except ValueError:
            return True


def _beside(root: Root) -> list[Root]:
    """What a run with a remote root leaves on this machine."""
    folders = [scratch_folder() / name for name in LEFT_ON_THE_MACHINE] if root.is_remote else []
    return [Root(str(folder)) for folder in folders if folder.is_dir()]
