"""Prefect's server for one run: started beside it where PREFECT_API_URL names none, and ended with it."""

import atexit
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flows.startup import StartupError, check_server

START_S = 180.0  # a slow disk may take long over a new database, which takes seconds on others
END_S = 1.0  # then the server is killed; its database takes no harm
MAX_RESTARTS = 5  # a server that ends again and again has a cause that another start does not mend
LOG = "server.log"  # below PREFECT_HOME
MENTIONS_SERVER = re.compile(rb"(?i)prefect_api_url|\bapi\b")  # where a file may name a server
PYTHON = (sys.executable, "-P")  # imports no module of the folder where the command was given
MAX_LOG = 2**20  # bytes, after which the log begins anew

log = logging.getLogger("tastegraph")


@contextmanager
def prefect_serves() -> Iterator[None]:
    """On its end Prefect's server answers: that of PREFECT_API_URL, or one of this run's own. Raises StartupError.

    A server of its own starts while the block runs. The block may import Prefect: the environment has the address.
    """
    if url := _server_in_settings():
        check_server(url)
        yield
        return
    server = LocalServer(Path(os.environ["PREFECT_HOME"]))
    os.environ["PREFECT_API_URL"] = server.url
    yield
    server.wait()


def _server_in_settings() -> str:
    """The server that the environment or one of Prefect's own files of settings names, if any."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or Path(os.environ["PREFECT_HOME"], "profiles.toml")
    for file in map(Path, (profiles, "prefect.toml", "pyproject.toml", ".env")):
        if file.is_file() and MENTIONS_SERVER.search(file.read_bytes()):
            # Prefect reads its settings once, when it is imported, and this process may yet have to change them.
            code = "from prefect.settings import PREFECT_API_URL as url; print(url.value() or '')"
            ended = subprocess.run([*PYTHON, "-c", code], check=False, capture_output=True, text=True)
            if ended.returncode:
                said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
                raise StartupError(f"{file}: Prefect cannot read its settings: {said}; correct the file")
            return ended.stdout.strip()
    return ""


class LocalServer:
    """A running server. Where its process ends before the run, another one takes its place and its connections."""

    def __init__(self, home: Path) -> None:
        self._home, self._log = home, home / LOG
        # The socket is ours: it keeps its port, and connections wait in it, while there is no server.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._error = ""
        self._process = self._spawn()
        threading.Thread(target=self._watch, name="Prefect's server", daemon=True).start()
        atexit.register(self.stop)  # before Prefect is imported, hence called after it has sent its last events

    def wait(self) -> None:
        """Return when the server answers. Raises StartupError where it cannot."""
        if not self._ready.wait(START_S):
            raise StartupError(f"Prefect's server did not start within {START_S:.0f} s; {self._log} may say why")
        if self._error:
            raise StartupError(self._error)

    def stop(self) -> None:
        """End the server."""
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._socket.close()

    def _spawn(self) -> subprocess.Popen[str]:
        number = self._socket.fileno()
        command = [*PYTHON, "-m", "flows.prefect_server", f"--socket={number}", f"--parent={os.getpid()}"]
        ours = {
            "PREFECT_HOME": str(self._home),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
        }
        env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | ours
        with _log(self._log) as stderr:
            return subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
                pass_fds=(number,),
            )  # fmt: skip

    def _watch(self) -> None:
        """Hear what the server says; start it again where it ends too early."""
        for restarts in range(MAX_RESTARTS + 1):
            self._listen(self._process)
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if self._error or not self._ready.is_set():  # another start would not help
                self._error = self._error or f"Prefect's server {_ended(code)}; {self._log} may say why"
                self._ready.set()
                break
            again = restarts < MAX_RESTARTS
            log.warning("Prefect's server %s: %s", _ended(code), "it is started again" if again else f"see {self._log}")
            if again:
                self._process = self._spawn()
        self._socket.close()  # requests fail at once instead of waiting

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                message = json.loads(line)
                if said := message.get("said"):
                    log.warning("%s", said)
                self._error = message.get("error", "")
                if self._error or message.get("ready"):
                    self._ready.set()


def _log(file: Path) -> IO[bytes]:
    return file.open("wb" if file.exists() and file.stat().st_size > MAX_LOG else "ab")


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
