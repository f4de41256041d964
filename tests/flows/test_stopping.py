"""A command on a real terminal, without a Prefect server of its user's: how it answers, stops and ends."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyte
import pytest

from tests.flows.processes import BIN, environment, processes_of

SIZE = 200, 100  # columns and rows: of a terminal on which all lines of a night are seen
BAR = "━"
STOPPED = "tastegraph: stopped; start it again the same way, and it resumes from here"


class Terminal:
    """A command that has a terminal for itself, what it printed there, and what the terminal shows of it."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process, self.keyboard, self.text = process, keyboard, ""
        self.screen = pyte.Screen(*SIZE)
        self._stream = pyte.ByteStream(self.screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read_until(self, part: str) -> None:
        while part not in self.text:
            assert self._read(), f"{part} was not printed, but\n{self.text}"

    def press_control_c(self) -> None:
        """Ends the command."""
        os.write(self.keyboard, b"\x03")
        self.read_to_the_end()

    def read_to_the_end(self) -> None:
        while self._read():
            pass
        self.process.wait(60)

    def _read(self) -> bytes:
        read = b""
        with suppress(OSError):  # the command has ended, and its terminal with it
            read = os.read(self.keyboard, 65536)
        self.text += read.decode(errors="replace")
        self._stream.feed(read)
        return read


@contextmanager
def on_a_terminal(*arguments: object, env: dict[str, str]) -> Iterator[Terminal]:
    keyboard, screen = pty.openpty()
    columns, rows = SIZE
    termios.tcsetwinsize(screen, (rows, columns))
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


def assert_stopped(terminal: Terminal, root: Path) -> None:
    """The terminal's last line says so, no bar and no hidden cursor is left, and no lease."""
    assert terminal.lines[-1].removeprefix("^C") == STOPPED
    assert not [line for line in terminal.lines if BAR in line or "Traceback" in line]
    assert not terminal.screen.cursor.hidden
    assert terminal.process.returncode == 130
    assert list((root / "leases").iterdir()) == []


def test_control_c_ends_a_night_with_one_line_and_the_next_one_leaves_no_process(source, settings_file, home, tmp_path):
    root, env = tmp_path / "root", environment(home)
    night = ["nightly", "--source", source, "--config", settings_file, "--root", root]
    with on_a_terminal(*night, env=env) as terminal:
        terminal.read_until("ingest")
        terminal.press_control_c()
    assert_stopped(terminal, root)

    with on_a_terminal(*night, env=env) as terminal:
        terminal.read_to_the_end()
    assert terminal.process.returncode == 0, terminal.text
    assert any("is current." in line for line in terminal.lines)
    assert "Traceback" not in terminal.text
    assert processes_of(home) == []


def test_control_c_takes_the_bars_of_the_stages_away(source, settings_file, home, tmp_path):
    root, endless = tmp_path / "root", ["--set", "training.epochs=1000000"]
    night = ["nightly", "--source", source, "--config", settings_file, "--root", root, *endless]
    with on_a_terminal(*night, env=environment(home)) as terminal:
        terminal.read_until(BAR)
        terminal.press_control_c()
    assert_stopped(terminal, root)


def test_control_c_before_anything_has_begun_ends_a_command_with_one_line(home, tmp_path):
    with on_a_terminal("nightly", "--root", tmp_path / "root", env=environment(home)) as terminal:
        terminal.read_until("starts on")
        terminal.press_control_c()
    assert terminal.process.returncode == 130
    assert "Traceback" not in terminal.text
    assert len(terminal.lines) == 2  # that it starts, and that it was stopped
