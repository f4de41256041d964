"""Published files that are lost or damaged: found by their sha256, and put back where their bytes are at hand."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from storage import parquet, snapshots
from storage.documents import DocumentError
from storage.manifests import Manifest, PublishedFile
from storage.refs import Ref, copy
from storage.roots import DamagedError, Root
from storage.snapshots import Pointer
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.pages.contents import ContentsError, from_json
from tasks.pages.night import CONTENTS, files_of

BASELINES = {"popularity", "random"}  # measured beside every system

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Fault:
    """A file that is not what it should be."""

    path: str  # below the root
    problem: str
    outcome: str  # what was done about it, or what to do
    is_mended: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.outcome}"


def current_manifest(root: Root) -> Manifest | None:
    """The manifest of the current run, written again from the pointer where it was lost. None without a pointer.

    Raises DocumentError, DamagedError or FileNotFoundError where pointer or manifest are damaged and cannot be mended.
    """
    pointer = snapshots.current(root)
    if pointer is None:
        return None
    try:
        return snapshots.manifest(root, pointer.run_id)
    except (DocumentError, FileNotFoundError) as error:
        log.warning("the manifest of the current run is written again from the pointer: %s", error)
        return restore(pointer, root)


def restore(pointer: Pointer, root: Root) -> Manifest:
    """The manifest of the current run, written again from the pointer and the files that it names."""
    systems = {row["system"] for row in pointer.metrics or ()}
    learned = systems - BASELINES or systems
    paths = pointer.paths.get(RECOMMENDATIONS.name, [])
    lists = [Ref(RECOMMENDATIONS.name, path, pointer.checksums[path], 0, 0) for path in paths]
    models = {name for ref in lists for name in parquet.read(ref, root, ["model"])["model"].unique().to_pylist()}
    return snapshots.restore_manifest(root, system=min(learned, default=""), model=min(models, default=""))


def problem_of(file: PublishedFile, root: Root) -> str | None:
    """What is wrong with a published file; None where it is whole. All its bytes are read."""
    try:
        found = root.digest(file.path)
    except FileNotFoundError:
        return "lost"
    return None if found == file.sha256 else f"damaged: its sha256 is {found}, expected {file.sha256}"


def mend(manifest: Manifest, root: Root, exports: Iterable[Ref] = ()) -> list[Fault]:
    """Look at every file of a published run, and put back what is lost or damaged; gives all faults, mended or not.

    Args:
        exports: files of this night, among them copies of published ones.
    Raises:
        DamagedError: one of `exports` that would be put back is damaged itself.
    """
    given, faults = list(exports), []
    for file in manifest.files:
        if problem := problem_of(file, root):
            is_mended = _put_back(file, given, manifest, root)
            outcome = "put back" if is_mended else "no copy is left; the next night on the same data publishes again"
            faults.append(Fault(file.path, problem, outcome, is_mended))
            log.warning("%s", replace(faults[-1], path=root.url(file.path)))
    return faults


def _put_back(file: PublishedFile, given: list[Ref], manifest: Manifest, root: Root) -> bool:
    for ref in _copies(file, given):
        if ref.is_whole(root):
            copy(ref, file.path, root)
            return True
        if ref in given and root.exists(ref.path):
            raise DamagedError(root.address, ref.path, ref.sha256, root.digest(ref.path))
    for path, content in _pages(file, manifest, root):
        if path == file.path and snapshots.page_file(path, content).sha256 == file.sha256:
            root.write(path, content)
            return True
    return False


def _copies(file: PublishedFile, given: list[Ref]) -> Iterator[Ref]:
    """Where the bytes of a published table may lie as well: in this night's output, or below `tables/`."""
    yield from (ref for ref in given if ref.sha256 == file.sha256)
    if file.table:
        path = f"tables/{file.table}/{file.sha256[:24]}.parquet"
        yield Ref(file.table, path, file.sha256, file.rows, file.bytes)


def _pages(file: PublishedFile, manifest: Manifest, root: Root) -> Iterator[tuple[str, bytes]]:
    """The pages of the report, rendered again from its data."""
    if file.table:
        return
    place = f"{snapshots.folder(manifest.run_id)}/report"
    try:
        pages = files_of(from_json(root.read(f"{place}/{CONTENTS}")))
    except (FileNotFoundError, ContentsError):
        return
    yield from ((f"{place}/{name}", content) for name, content in pages.items())
