"""`tastegraph serve` as a process, on a root on disk and in S3: it answers, writes nothing, and ends at once."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import serve
from flows.cli import app
from storage.roots import Root
from tests.storage.servers import moto_server
from tests.tasks.gallery import made_up


@contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and its address."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = next((line for line in process.stdout if "gallery" in line), "")
        assert line, process.stderr and process.stderr.read()
        yield process, line.split()[1]
    finally:
        process.kill()
        process.communicate()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


def test_the_command_serves_until_ctrl_c_which_ends_it_at_once(tmp_path: Path):
    made_up.publish(Root(str(tmp_path / "root")), tmp_path / "source")
    with served("--root", str(tmp_path / "root")) as (process, address):
        page, picture = get(address), get(f"{address}picture?id=image05")
        listed = json.loads(get(f"{address}api/users/user1/recommendations?k=3"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert b"<h1>" in page
    assert picture.startswith(b"\xff\xd8")
    assert len(listed["images"]) == 3
    assert process.returncode == 130


def test_root_and_source_in_s3_are_served_and_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with moto_server() as server:
        root, source = (server.root(monkeypatch, tmp_path / "scratch") for _ in ("root", "source"))
        made_up.publish(root, tmp_path / "source")
        for file in (tmp_path / "source").rglob("*.png"):
            source.write(file.relative_to(tmp_path / "source").as_posix(), file.read_bytes())
        before = [*root.entries(), *source.entries()]
        with served("--root", root.address, "--source", source.address) as (_, address):
            page, picture = get(f"{address}user?id=user1"), get(f"{address}picture?id=image05")

        assert b"Name of user1" in page
        assert picture.startswith(b"\xff\xd8")
        assert [*root.entries(), *source.entries()] == before


@pytest.mark.parametrize(
    ("options", "says"),
    [([], "nothing is published"), (["--run", "night-9"], "night-9"), (["--export", "out"], "nothing")],
)
def test_a_root_with_nothing_to_show_is_refused_in_one_line(tmp_path: Path, options: list[str], says: str):
    if "--run" in options:
        made_up.publish(Root(str(tmp_path / "root")), tmp_path / "source")
    answer = CliRunner().invoke(app, ["serve", "--root", str(tmp_path / "root"), *options])

    assert isinstance(answer.exception, ValueError)
    assert says in str(answer.exception)


def test_an_answer_in_two_parts_does_not_wait_for_an_acknowledgement_and_a_taken_port_is_named():
    with serve._listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(ValueError, match="choose other ones"):
            serve._listen("127.0.0.1", listener.getsockname()[1])
