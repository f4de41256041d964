"""Around a command that runs a flow: its settings, its lease, Prefect, and what is shown meanwhile."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows import stopping
from flows.terminal import log_errors, wants_bars

if TYPE_CHECKING:
    from flows.plan import NightPlan
    from flows.settings import NightlyConfig


C = TypeVar("C")


@contextmanager
def at_work_on(root: str, kind: str, source: str, load: Callable[[], C]) -> Iterator[C]:
    """Inside a command that runs the flow `kind` on a source and a root: its settings."""
    from storage import leases
    from storage.roots import Root, scratch_folder

    def load_and_look() -> C:
        from flows.startup import check_root, check_source

        settings = load()
        check_source(source)
        check_root(output)
        return settings

    stopping.on_stop(lambda _number: leases.release())
    output = Root(root)
    home = scratch_folder() if output.is_remote else Path(output.address)
    with at_work(kind, root, home / "prefect", leases.shared(output, kind), load_and_look) as settings:
        yield settings


@contextmanager
def at_work(
    kind: str,
    where: object,
    home: Path,
    lease: AbstractContextManager[None],
    load: Callable[[], C],
    again: str = "the same way",
) -> Iterator[C]:
    """Inside a command that runs the flow `kind`: its settings.

    They are loaded, the lease is taken, then Prefect starts, and then the flow is imported.

    Args:
        where: what the flow works on, for the first line of its log.
        home: where Prefect's files lie, unless PREFECT_HOME says so.
        load: its settings; also refuses what else would end the flow in its first seconds.
        again: how the command is started again when it was stopped.
    """
    log_errors()
    stopping.say_when_stopped(f"stopped; start it again {again}, and it resumes from here")
    logging.getLogger("tastegraph").info("%-18s starts on %s", kind, where)
    settings = load()
    from flows.local_server import prefect_serves
    from flows.startup import check_home, prefect_error

    prepare_prefect(home)
    check_home(Path(os.environ["PREFECT_HOME"]))
    with lease:
        with prefect_serves():
            import_module(f"flows.{kind}")
        try:
            yield settings
        except Exception as error:
            if (line := prefect_error(error)) is None or wants_traceback():
                raise
            raise line from error


def plan_of(source: str, root: str, config: "NightlyConfig") -> "NightPlan":
    """What a night would do. Prefect is imported, and neither started nor given a place below the root."""
    from flows.startup import check_root, check_source
    from storage.roots import Root

    check_source(source)
    check_root(Root(root))
    logging.getLogger("tastegraph").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as home:
        prepare_prefect(Path(home))
        from flows.plan import plan_night

        return plan_night(source, root, config)


def with_bars(flow: Callable[..., C], **parameters: Any) -> C:
    """The flow's result; while it runs, a terminal shows the stages at work."""
    if not wants_bars():
        return flow(**parameters)
    from flows.progress_bars import stage_bars

    with stage_bars():
        return flow(**parameters)


def prepare_prefect(home: Path) -> None:
    """Prefect's settings for a run from the command line; variables that are already set stay."""
    if "PREFECT_HOME" not in os.environ:  # ours lies below a root, whose files are data: none may configure Prefect
        package = Path(str(find_spec("prefect").origin)).parent  # type: ignore[union-attr]  # installed
        os.environ.setdefault("PREFECT_LOGGING_SETTINGS_PATH", f"{package}/logging/logging.yml")
        os.environ.setdefault("PREFECT_PROFILES_PATH", f"{package}/settings/profiles.toml")
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow a shared machine down severalfold
        # Prefect shows a failure as two tracebacks of fifty lines; `main` says in one line what is wrong.
        "PREFECT_LOGGING_LEVEL": "WARNING" if wants_traceback() else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)


def wants_traceback() -> bool:
    return bool(os.environ.get("TASTEGRAPH_TRACEBACK"))
