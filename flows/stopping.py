"""A command that is asked to stop ends within seconds: one line, its leases given back, its server ended.

A signal reaches Python's own handlers only between two steps of the main thread, and Prefect waits for its stages, so
a thread of its own hears the signals. The command then ends as by SIGKILL, which every stage survives.
"""

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn
from uuid import UUID

from flows.terminal import error_text

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCREEN_S = 0.5
CLEANUP_S = 3.0  # for leases and for the state in Prefect; a store or a server that does not answer gets no more

_cleanups: list[Callable[[int], object]] = []  # called with the signal's number, in the order of their entry
_screens: list[Callable[[], object]] = []  # called before the last line
_stopped = threading.Event()
_message = ["stopped"]  # the line with which the process ends


def end_on_signals() -> None:
    """From now on a signal ends the process with exit code 128 + its number."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _ignore)
    threading.Thread(target=_hear, args=(reader,), name="signals", daemon=True).start()


def unwind_on_signals(message: str) -> None:
    """From now on a signal says so and raises SystemExit, so that a command removes what it has begun to write."""

    def stop(number: int, _frame: Any) -> NoReturn:
        _say(message)
        sys.exit(128 + number)

    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def say_when_stopped(message: str) -> None:
    """The line with which the process ends."""
    _message[0] = message


def on_stop(cleanup: Callable[[int], object]) -> None:
    """Call this with the signal's number before the process ends."""
    _cleanups.append(cleanup)


def tell_prefect(flow_run_id: UUID) -> None:
    """Where the command is stopped, this run's state in Prefect will say so."""

    def crashed(number: int) -> None:
        from prefect.client.orchestration import get_client
        from prefect.states import Crashed

        message = f"Stopped by {signal.Signals(number).name}; started again, it resumes."
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)

    on_stop(crashed)


def on_last_line(clear: Callable[[], object]) -> None:
    """Call this before the line with which the process ends, so that nothing is drawn over it."""
    _screens.append(clear)


@contextmanager
def exiting_fast() -> Iterator[None]:
    """Around all that a process does: it ends when everybody has cleaned up, not when every library is unloaded."""
    code = [1]  # of an exception

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code[0])

    atexit.register(leave)  # the first to be registered is the last to be called
    try:
        yield
        code[0] = 0
    except SystemExit as ended:
        code[0] = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def wait_if_stopped() -> None:
    """Where a signal came: let the thread end the process, whatever the main thread makes of the signal."""
    if _stopped.is_set():
        threading.Event().wait()


def _ignore(_number: int, _frame: Any) -> None:
    """A handler, as Python writes the number of a signal to the pipe only where there is one."""


def _hear(reader: int) -> NoReturn:
    number = 0
    while number not in SIGNALS:  # others, such as SIGALRM, are written there too
        number = os.read(reader, 1)[0]
    _stopped.set()
    logging.disable(logging.CRITICAL)  # the line below is the last one
    _within(SCREEN_S, _call_all, _screens)
    _say(_message[0])
    _within(CLEANUP_S, _call_all, _cleanups, number)
    os._exit(128 + number)


def _within(seconds: float, function: Callable[..., None], *arguments: object) -> None:
    """Call it, and go on after so many seconds though it has not ended."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    thread.join(seconds)


def _call_all(functions: list[Callable[..., object]], *arguments: object) -> None:
    for function in functions:
        with suppress(Exception):  # the process ends anyway: none of them is needed for what is on disk
            function(*arguments)


def _say(message: str) -> None:
    with suppress(OSError):
        os.write(2, f"{error_text(message)}\n".encode())  # print may be in the middle of a line
