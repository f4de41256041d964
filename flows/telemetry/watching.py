"""A run and its stages, told to every exporter whose environment variables are set; none of them stops or delays a run.

An exporter works in a thread of its own. Where its library is missing or its server does not answer, one line of the
log says so, and the run goes on without it.
"""

import contextvars
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol

from flows import stopping
from flows.setting_sources import masked
from models.settings.names import flatten
from storage.manifests import Manifest
from storage.refs import Ref
from tasks.runtime.ledger import Call, Ledger, Line
from tasks.runtime.usage import Usage

PATIENCE_S = 10.0  # how long an exporter may take at the end of a run
MAX_ERROR = 2000  # characters
# The module of each exporter, its extra, and the variables of which one turns it on. Each is empty or absent: off.
EXPORTERS = {
    "otel": ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "openlineage": ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE"),
}

THREADS = ("telemetry", "Otel")  # how the names of the exporters' threads begin

log = logging.getLogger("tastegraph")


@dataclass(frozen=True, kw_only=True)
class RunBegan:
    """A run as it begins. Addresses and settings are without secrets."""

    flow: str
    run_id: str
    fingerprint: str  # of source, content and settings: equal ones give equal tables
    source: str
    root: str
    settings: Mapping[str, Any]  # by `section.key`
    at: float  # seconds since 1970, as all times here


@dataclass(frozen=True, kw_only=True)
class StageBegan:
    """A call of a stage as it begins."""

    stage: str
    number: int  # of this call among those of the run
    at: float
    inputs: tuple[str, ...] = ()  # names of the tables and files that it was given


@dataclass(frozen=True, kw_only=True)
class StageEnded:
    """The same at its end."""

    began: StageBegan
    at: float
    ran: int  # task runs
    reused: int
    rows: int  # of the files that its result names
    bytes: int
    cpu_s: float
    peak_bytes: int
    outputs: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """A run at its end."""

    at: float
    error: str | None = None
    manifest: Manifest | None = None  # of a night: what it published, or had published before
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage


class Observer(Protocol):
    """One exporter's view of one run."""

    def stage_began(self, stage: StageBegan) -> None: ...
    def stage_ended(self, stage: StageEnded) -> None: ...
    def run_ended(self, run: RunEnded) -> None: ...


@contextmanager
def watched(
    flow: str,
    run_id: str,
    fingerprint: str,
    places: tuple[str, str],
    config: Any,
    ledger: Ledger,
    published: Callable[[], Manifest | None],
) -> Iterator[None]:
    """Around a run: its exporters hear of it and of each call of a stage.

    Args:
        places: the addresses of source and root.
        published: what the run has published, asked for at its end.
    """
    names = [name for name, variables in EXPORTERS.items() if any(os.environ.get(one) for one in variables)]
    if not names:
        yield
        return
    settings = {name: masked(value, name) for name, value in sorted(flatten(config).items())}
    source, root = (masked(place, "") for place in places)
    at = time.time() - ledger.age_s
    run = RunBegan(
        flow=flow, run_id=run_id, fingerprint=fingerprint, source=source, root=root, settings=settings, at=at
    )
    logging.getLogger("urllib3.connectionpool").addFilter(_is_not_of_an_exporter)
    relay = _Relay([_Background(name, run) for name in names], ledger, at)
    ended = threading.Lock()

    def end(error: str | None) -> None:
        if ended.acquire(blocking=False):
            seconds = {line.stage: line.usage.elapsed_s for line in list(ledger.lines.values())}
            manifest = None if error else published()
            relay.run_ended(RunEnded(at=time.time(), error=error, manifest=manifest, seconds=seconds))

    stopping.on_stop(lambda number: end(f"stopped by {signal.Signals(number).name}"))
    ledger.listener = relay
    try:
        yield
    except BaseException as error:
        end(_text(error))
        raise
    else:
        end(None)
    finally:
        ledger.listener = None


def _is_not_of_an_exporter(record: logging.LogRecord) -> bool:
    """Whether a line that says that a connection is tried again is of somebody else: one line is enough for ours."""
    return not (record.threadName or "").startswith(THREADS)


class _Relay:
    """Hears the ledger, and tells every exporter."""

    def __init__(self, exporters: list["_Background"], ledger: Ledger, began_at: float) -> None:
        self._exporters, self._began_at, self._count = exporters, began_at, 0
        self._open: dict[str, StageBegan] = {}
        for line in ledger.lines.values():  # stages that ran before the run had its id: the demo's
            for call in line.calls:
                self.stage_began(line.stage, None, began_at + call.started_s)
                self.stage_ended(line, Line(line.stage), call, line.usage, None)

    def stage_began(self, stage: str, given: Any, at: float | None = None) -> None:
        self._count += 1
        inputs = tuple(sorted({ref.name or ref.path for ref in _refs_in(given)}))
        began = StageBegan(stage=stage, number=self._count, at=time.time() if at is None else at, inputs=inputs)
        self._open[stage] = began
        self._tell("stage_began", began)

    def stage_ended(self, line: Line, before: Line, call: Call, usage: Usage, error: BaseException | None) -> None:
        began = self._open.pop(line.stage, None)
        if began is None:  # called twice at once
            return
        ended = StageEnded(
            began=began,
            at=began.at + call.elapsed_s,
            ran=line.ran - before.ran,
            reused=line.reused - before.reused,
            rows=line.rows - before.rows,
            bytes=line.bytes - before.bytes,
            cpu_s=usage.cpu_s,
            peak_bytes=usage.peak_bytes,
            outputs=tuple(sorted(line.outputs)),
            error=None if error is None else _text(error),
        )
        self._tell("stage_ended", ended)

    def run_ended(self, run: RunEnded) -> None:
        """Tell it, and wait for all exporters together."""
        self._tell("run_ended", run)
        end = time.monotonic() + PATIENCE_S
        for exporter in self._exporters:
            exporter.finish(max(0.0, end - time.monotonic()))

    def _tell(self, what: str, event: Any) -> None:
        for exporter in self._exporters:
            exporter.events.put((what, event))


class _Background:
    """An exporter in a thread of its own."""

    def __init__(self, name: str, run: RunBegan) -> None:
        self._name, self._told = name, False
        self._variable = next(variable for variable in EXPORTERS[name] if os.environ.get(variable))
        self.events: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work, run), name=f"{THREADS[0]} {name}", daemon=True
        )
        self._thread.start()

    def finish(self, patience_s: float) -> None:
        """Wait until all is sent, but no longer than this."""
        self.events.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._warn(f"nothing answered within {PATIENCE_S:.0f} s")

    def _work(self, run: RunBegan) -> None:
        try:
            observer: Observer = import_module(f"flows.telemetry.{self._name}").observe(run)
            while event := self.events.get():
                getattr(observer, event[0])(event[1])
        except ImportError as error:
            self._warn(f"{error}; install tastegraph[{self._name}], or unset the variable")
        except Exception as error:  # whatever a library or its server makes of it, the run goes on
            self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, why: str) -> None:
        if not self._told:
            self._told = True
            shown = masked(" ".join(why.split()), "")[:MAX_ERROR]
            log.warning("%s is set, but this run is not exported whole: %s", self._variable, shown)


def _text(error: BaseException) -> str:
    return str(masked(f"{type(error).__name__}: {error}", ""))[:MAX_ERROR]


def _refs_in(value: Any) -> Iterator[Ref]:
    """The references in a stage's arguments."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        yield from _refs_in(list(value.values()))
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _refs_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _refs_in([getattr(value, item.name) for item in fields(value)])
