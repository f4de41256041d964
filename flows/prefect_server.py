"""Prefect's server for one run, in a process of its own: `python -m flows.prefect_server`, started by `local_server`.

It serves on a socket that its parent has bound, tells its parent in lines of JSON on stdout when it is ready or why it
cannot be, and ends when its parent does, however that ends.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

PARENT_S = 0.25  # how often the server looks whether its parent lives
SHUTDOWN_S = 0.6  # until a terminated server exits; what its clients sent is in the database by then


def tell(**message: object) -> None:
    with suppress(OSError):  # the parent is gone; the server ends by itself
        os.write(1, f"{json.dumps(message)}\n".encode())


class Server(uvicorn.Server):
    """A server that tells when it serves, lets the next one start, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config, lock: ExitStack) -> None:
        super().__init__(config)
        self.lock = lock

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.lock.close()
        if self.started:
            tell(ready=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def end_with(parent: int) -> None:
    """End this process when it has another parent than this one."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_S)
        os._exit(1)

    threading.Thread(target=look, name="parent", daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="The number of an open file: a bound socket.")
    parser.add_argument("--parent", type=int, required=True, help="The process with which the server ends.")
    arguments = parser.parse_args()
    end_with(arguments.parent)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to the run too, which ends the server
        signal.signal(number, signal.SIG_IGN)
    # Only now, as it takes seconds in which the parent may end.
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

    from flows.prefect_database import DatabaseError, alone, prepare_database

    lock = ExitStack()
    try:
        lock.enter_context(alone(PREFECT_HOME.value()))
        for line in prepare_database(PREFECT_API_DATABASE_CONNECTION_URL.value()):
            tell(said=line)
    except (DatabaseError, OSError) as error:
        tell(error=str(error))
        sys.exit(1)

    config = uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error", lifespan="on")
    config.timeout_graceful_shutdown = 1
    server = Server(config, lock)

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True
        timer = threading.Timer(SHUTDOWN_S, os._exit, (0,))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, stop)
    server.run(sockets=[socket.socket(fileno=arguments.socket)])


if __name__ == "__main__":
    main()
