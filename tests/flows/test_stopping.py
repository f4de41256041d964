"""A command on a real terminal, without a Prefect server of its user's: how soon it answers, stops and ends."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.flows.processes import BIN, environment, processes_of


class Terminal:
    """A command that has a terminal for itself, and what it printed there."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process, self.keyboard = process, keyboard
        self.text, self.began, self.last = "", time.monotonic(), 0.0

    def read_until(self, part: str) -> None:
        while part not in self.text:
            assert self._read(), f"{part} was not printed, but\n{self.text}"

    def press_control_c(self) -> float:
        """Returns the seconds until the command has ended; `text` is what it printed since."""
        self.text, began = "", time.monotonic()
        os.write(self.keyboard, b"\x03")
        self.read_to_the_end()
        return time.monotonic() - began

    def read_to_the_end(self) -> float:
        """Returns the seconds from the last letter to the end of the process."""
        while self._read():
            pass
        self.process.wait(60)
        return time.monotonic() - self.last

    def _read(self) -> str:
        read = ""
        with suppress(OSError):  # the command has ended, and its terminal with it
            read = os.read(self.keyboard, 65536).decode()
        if read:
            self.last = time.monotonic()
        self.text += read
        return read


@contextmanager
def on_a_terminal(*arguments: object, env: dict[str, str]) -> Iterator[Terminal]:
    keyboard, screen = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / "tastegraph"), *map(str, arguments)],
        env=env,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # one system call, no other way
    )
    os.close(screen)
    try:
        yield Terminal(process, keyboard)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(keyboard)


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "prefect"


def test_control_c_ends_a_night_with_one_line_and_the_next_one_leaves_no_process(source, settings_file, home, tmp_path):
    root, env = tmp_path / "root", environment(home)
    night = ["nightly", "--source", source, "--config", settings_file, "--root", root]
    with on_a_terminal(*night, env=env) as terminal:
        terminal.read_until("starts on")
        answered = terminal.last - terminal.began
        terminal.read_until("ingest")
        took = terminal.press_control_c()
    said = terminal.text.removeprefix("^C").splitlines()

    assert answered < 5  # a third of a second where nothing else is running
    assert said == ["tastegraph: stopped; start it again the same way, and it resumes from here"]
    assert terminal.process.returncode == 130
    assert took < 5
    assert list((root / "leases").iterdir()) == []

    with on_a_terminal(*night, env=env) as terminal:
        prompt = terminal.read_to_the_end()
    assert terminal.process.returncode == 0, terminal.text
    assert "is current." in terminal.text
    assert "Traceback" not in terminal.text
    assert prompt < 4  # half of it where nothing else is running
    assert processes_of(home) == []


def test_control_c_before_anything_has_begun_ends_a_command_at_once(home, tmp_path):
    with on_a_terminal("nightly", "--root", tmp_path / "root", env=environment(home)) as terminal:
        terminal.read_until("starts on")
        assert terminal.press_control_c() < 5
    assert terminal.process.returncode == 130
    assert "Traceback" not in terminal.text
    assert terminal.text.count("\n") == 1
