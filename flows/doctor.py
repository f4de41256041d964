"""`tastegraph doctor`: whether this machine has what a night needs, and what to do where it has not."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

ROOM = 2 * 2**30  # bytes free on the root's disk, below which a night over some thousand pictures may not end
PROBE = ".tmp/doctor"  # a file that is written below the root, read and deleted

Verdict = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check found. A note limits something; with a fault no night ends well."""

    about: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(root: str) -> Iterator[Finding]:
    """One finding or more for each check, in the order in which a night needs them."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("pictures", _pictures),
        ("root", lambda: _root(root)),
        ("prefect", _prefect),
    )
    for about, check in checks:
        try:
            yield from check()
        except Exception as error:  # whatever is broken here is what was asked for
            yield Finding(about, "fault", f"{type(error).__name__}: {error}", "install tastegraph again, or mend this")


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("python", "ok", found)


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield Finding("gpu", "ok", names)
    else:
        advice = "only networks over pixels need one: install the CUDA build of torch where there is a GPU"
        yield Finding("gpu", "note", "none that torch can use: everything runs on the CPU", advice)
    try:
        yield Finding("implicit", "ok", version("implicit"))
    except PackageNotFoundError:
        yield Finding("implicit", "note", "not installed: the systems als and bpr are left out", "pip install implicit")


def _pictures() -> Iterator[Finding]:
    from PIL import features

    lacking = [name for name in ("jpg", "zlib", "webp") if not features.check(name)]
    found = f"Pillow {version('pillow')} reads JPEG, PNG, WebP" if not lacking else f"Pillow lacks {', '.join(lacking)}"
    yield Finding(
        "pictures", "fault" if lacking else "ok", found, "pip install --force-reinstall pillow" if lacking else ""
    )


def _root(address: str) -> Iterator[Finding]:
    from storage.roots import Root

    root = Root(address)
    if not root.is_remote:
        folder = Path(root.address)
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            yield Finding("root", "fault", f"{there} is no folder", "correct the path, or move the file away")
            return
        if not os.access(there, os.W_OK):
            yield Finding("root", "fault", f"{there} cannot be written", "give the user who runs this the right to")
            return
        free = shutil.disk_usage(there).free
        yield Finding(
            "root",
            "ok" if free >= ROOM else "note",
            f"{address}: {free / 2**30:,.1f} GiB free",
            "" if free >= ROOM else "make room (`tastegraph gc`), or choose a root on another disk",
        )
        return
    root.write(PROBE, b"probe")
    is_read = root.read(PROBE) == b"probe"
    root.delete(PROBE)
    if not is_read:
        advice = "see what stands between this machine and the store"
        yield Finding("root", "fault", f"{address}: what was written is not what is read", advice)
    elif not root.honours_conditions():
        advice = "see that never two nights publish at once, or choose a store with conditional puts"
        yield Finding("root", "note", f"{address}: can be written; the store ignores conditions of puts", advice)
    else:
        yield Finding("root", "ok", f"{address}: can be written, and conditions of puts hold")


def _prefect() -> Iterator[Finding]:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield Finding("prefect", "ok", f"{version('prefect')}; each run starts a server of its own")
        return
    from flows.startup import StartupError, check_server

    try:
        check_server(url, 2.0)
    except StartupError as error:
        yield Finding("prefect", "fault", str(error), "start it, or unset PREFECT_API_URL")
        return
    yield Finding("prefect", "ok", f"{version('prefect')}; the server at {url} answers")
