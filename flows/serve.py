"""`tastegraph serve`: the gallery of a root in the browser, or as a folder of files."""

import socket
from pathlib import Path

import uvicorn

from flows.printing.common import nothing_published
from flows.terminal import say
from storage.roots import Root
from tasks.gallery import folder
from tasks.gallery.runs import Run, Runs, UnableError, UnknownError
from tasks.gallery.server import application


def serve(root: str, run_id: str | None, source: str | None, host: str, port: int) -> None:
    """Serve until a signal ends the process. Raises ValueError where there is nothing to show or the port is taken."""
    runs, shown = _open(root, run_id, source)
    shown.warm()
    listener = _listen(host, port)
    address, taken, *_ = listener.getsockname()
    named = f"[{address}]" if ":" in address else address
    say(f"run {shown.run_id} of {runs.root.address}", "bold")
    say(f"  gallery   http://{named}:{taken}/")
    say(f"  JSON API  http://{named}:{taken}/api/openapi.json")
    config = uvicorn.Config(application(runs, [host]), log_level="error", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def export(root: str, run_id: str | None, source: str | None, out: Path, max_users: int) -> None:
    """Write the gallery of one run as a static folder. Raises ValueError as `serve`, and for a folder of others."""
    _, shown = _open(root, run_id, source)
    written = folder.write(shown, out, max_users)
    say(f"run {shown.run_id}: pages of {written.users:,} users and {written.images:,} images", "bold")
    say(f"  {written.pictures:,} pictures, {written.bytes / 2**20:.1f} MiB in all")
    say(f"  open {out / 'index.html'}")


def _open(root: str, run_id: str | None, source: str | None) -> tuple[Runs, Run]:
    runs = Runs(Root(root), run_id, source)
    try:
        return runs, runs.run()
    except UnknownError as error:
        raise ValueError(f"{error}; it has {', '.join(error.nearest) or 'none'}") from error
    except UnableError as error:
        raise nothing_published(root) from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}, port {port}: {error}; choose other ones") from error
    # asyncio does this for sockets of its own making; without it an answer in two parts takes 40 ms (Nagle).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
