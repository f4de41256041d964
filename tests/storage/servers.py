"""Real S3 servers on loopback, each on a free port: moto honours conditional puts, rclone does not."""

import logging
import os
import re
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from storage.roots import Root, s3_client

ACCESS_KEY, SECRET_KEY = "tastegraph", "not-a-secret"


@dataclass
class Server:
    """A running server; it makes buckets for tests."""

    endpoint: str

    def root(self, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> Root:
        """A root in a fresh bucket. Until the test ends, the environment (of subprocesses too) leads to the server."""
        use(self.endpoint, monkeypatch, scratch)
        bucket = f"test-{uuid.uuid4().hex}"
        s3_client.client().create_bucket(Bucket=bucket)
        return Root(f"s3://{bucket}/some/prefix")


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    """Make the environment lead to an endpoint, and nowhere else: the user's own AWS settings are out of sight."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TASTEGRAPH_SCRATCH": str(scratch),
    }.items():
        monkeypatch.setenv(name, value)
    s3_client.client.cache_clear()


@contextmanager
def moto_server() -> Iterator[Server]:
    app, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_by_one(environ: Any, start_response: Any) -> list[bytes]:
        with turn:  # moto looks at a condition and then writes; in between another thread may write too
            return list(app(environ, start_response))

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
    server = make_server("127.0.0.1", 0, one_by_one, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def rclone_server(folder: Path) -> Iterator[Server]:
    """Serves the folders of `folder` as buckets."""
    command = [Path(sysconfig.get_path("scripts"), "rclone"), "serve", "s3", folder, "--config", ""]
    command += ["--addr", "127.0.0.1:0", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    folder.mkdir()
    log = folder.with_suffix(".log")
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream) as process:
        try:
            while not (started := re.search(r"Starting s3 server on \[(http://[^/]+)/", log.read_text())):
                if process.poll() is not None:
                    raise RuntimeError(f"rclone did not start: {log.read_text()}")
                time.sleep(0.05)
            yield Server(started[1])
        finally:
            process.terminate()
