"""`tastegraph serve`: the gallery of a root in the browser."""

import socket

import uvicorn

from flows.output import nothing_published
from flows.terminal import say
from storage.roots import Root
from tasks.gallery.runs import Runs, UnableError, UnknownError
from tasks.gallery.server import application


def serve(root: str, run_id: str | None, source: str | None, host: str, port: int) -> None:
    """Serve until a signal ends the process. Raises ValueError where there is nothing to show or the port is taken."""
    runs = Runs(Root(root), run_id, source)
    try:
        shown = runs.run()
    except UnknownError as error:
        raise ValueError(f"{error}; it has {', '.join(error.nearest) or 'none'}") from error
    except UnableError as error:
        raise nothing_published(root) from error
    shown.warm()
    listener = _listen(host, port)
    address, taken, *_ = listener.getsockname()
    named = f"[{address}]" if ":" in address else address
    say(f"run {shown.run_id} of {runs.root.address}", "bold")
    say(f"  gallery   http://{named}:{taken}/")
    say(f"  JSON API  http://{named}:{taken}/api/openapi.json")
    config = uvicorn.Config(application(runs, [host]), log_level="error", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}, port {port}: {error}; choose other ones") from error
