"""What a command checks before it starts Prefect: source, root, room and rights below its home, an answering server."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from storage.roots import Root

ROOM = 64 * 2**20  # bytes: Prefect's new database takes 2 MB, its log of writes some more
PATIENCE_S = 10.0  # how long a server that does not answer is asked again


class StartupError(OSError):
    """A run cannot begin: the message says what is in its way, and what to do."""


def check_root(root: "Root") -> None:
    """Raises OSError where a local root is a file or may not be read; it may be missing."""
    if not root.is_remote:
        with suppress(FileNotFoundError), os.scandir(root.address):
            pass


def check_home(home: Path, room: int = ROOM) -> None:
    """Make the folder of Prefect's database. Raises StartupError where it cannot be written, or the disk is full."""
    try:
        home.mkdir(parents=True, exist_ok=True)  # Prefect's server makes no parents
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"1")
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise StartupError(
            f"{home}: {error.strerror}, so nothing was begun; give the user who runs this the right to write there, or "
            f"set PREFECT_HOME to another folder"
        ) from error
    if free < room:
        raise StartupError(
            f"{home}: {free / 2**20:,.0f} MiB are free on this disk and {room / 2**20:,.0f} are needed to begin; make "
            f"room (`tastegraph gc`), or set PREFECT_HOME to a folder on another disk"
        )


def check_source(source: str) -> None:
    """Raises SourceError where a source's folder or one of its required tables is missing."""
    from storage.roots import Root
    from storage.sources.directory import listing

    if source != "demo":
        listing(Root(source))


def check_server(url: str, patience_s: float = PATIENCE_S) -> None:
    """Raises StartupError where no Prefect server answers at PREFECT_API_URL."""
    end = time.monotonic() + patience_s
    while True:
        try:
            if httpx.get(f"{url.rstrip('/')}/health", timeout=patience_s).status_code < 500:
                return
            error = "it answers with an error of its own"
        except (httpx.HTTPError, httpx.InvalidURL) as failed:
            error = str(failed) or type(failed).__name__
        if time.monotonic() >= end:
            raise StartupError(
                f"PREFECT_API_URL={url}: no Prefect server answers there ({error}); start it, correct the address, or "
                f"unset the variable, and a server is started for the run alone"
            )
        time.sleep(0.5)


def prefect_error(error: Exception) -> StartupError | None:
    """An error of Prefect or of its server as one line; None for any other error."""
    from prefect.exceptions import PrefectException

    if not isinstance(error, PrefectException | httpx.HTTPError):
        return None
    what = (str(error) or type(error).__name__).splitlines()[0]
    return StartupError(
        f"Prefect's server at {os.environ['PREFECT_API_URL']} failed this run ({what}); see that it runs, has room and "
        f"is not locked, and start the command again: it resumes"
    )
