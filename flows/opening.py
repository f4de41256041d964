"""The begin and the end of a flow over a source: records and a lease below the root, a run id, the source's content."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from flows.settings import SharedConfig, over_environment, settings_of_results
from flows.stopping import tell_prefect
from flows.telemetry.watching import watched
from storage import leases, snapshots
from storage.manifests import Manifest
from storage.roots import DamagedError, Root, StoreError
from tasks.data.demo import open_source
from tasks.data.ingest import content_of
from tasks.runtime import ledger, runs
from tasks.runtime.digests import digest
from tasks.runtime.ledger import Ledger
from tasks.runtime.record_store import records_below
from tasks.runtime.records import WRITTEN_BY_STAGES
from tasks.runtime.runners import running_on
from tasks.runtime.runs import Run
from tasks.runtime.whereabouts import RUN

T = TypeVar("T")
C = TypeVar("C")  # a flow's settings

log = logging.getLogger("tastegraph")


@dataclass
class OpenRun:
    """A run that has begun on a source."""

    run: Run
    source: Root
    content: str  # a digest of the source's tables and of the root's tombstones
    root: Root
    ledger: Ledger
    published: str | None = None  # the folder below the root that holds its output, once it is finished

    def rebuilding(self, body: Callable[[], T]) -> T:
        """The body's result. Where it meets a damaged file that a stage wrote, the file is deleted and it begins again.

        The record that names the file does not count any more, so the stage that wrote it runs again; all others are
        reused. Raises DamagedError for a file that no stage wrote, or that is damaged again.
        """
        deleted = set[str]()
        while True:
            try:
                return body()
            except DamagedError as error:
                is_ours = error.address == self.root.address and error.path.startswith(WRITTEN_BY_STAGES)
                if not is_ours or error.path in deleted:
                    raise
                log.warning(
                    "%s: damaged, as its sha256 is %s and not %s: it is deleted and computed again",
                    self.root.url(error.path),
                    error.found,
                    error.expected,
                )
                deleted.add(error.path)
                self.root.delete(error.path)

    def manifest(self) -> Manifest | None:
        """What the run has published, or found published before; None for what is no night."""
        nights = snapshots.runs(self.root, skip_damaged=True)
        return next((night for night in nights if snapshots.folder(night.run_id) == self.published), None)

    def finish(self, published: str | None = None) -> None:
        """Note that the run has ended, which records it used, and the folder below the root that it published."""
        self.published = published
        try:
            runs.finish(self.run, self.root, published, self.ledger.records)
        except StoreError as error:  # what is published stays so: the next run goes on with this one and ends at once
            log.warning("run %s has ended, and could not note it: %s", self.run.id, error)


def settings_of_run(of: type[C], config: C | None) -> C:
    """Inside a flow run: its settings, as given; of a deployment, its parameter `config` over the environment.

    A command has put the environment under `--set` already.
    """
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        return over_environment(of, context.flow_run.parameters.get("config") or {})
    return config or of()


@contextmanager
def within_run(
    run_id: str,
    purpose: str,
    places: tuple[str, str],
    config: Any,
    published: Callable[[], Manifest | None] = lambda: None,
) -> Iterator[None]:
    """Inside a flow run, around its work: the log, Prefect's pages and the tools of flows/telemetry have its id.

    Args:
        places: the addresses of source and root.
        published: what the run has published, asked for at its end.
    """
    context = FlowRunContext.get()
    assert context
    assert context.flow
    assert context.flow_run
    kept = ledger.of_run(str(context.flow_run.id))
    before = RUN.set(run_id)
    try:
        _name_after(run_id, context.flow_run)
        with watched(context.flow.name, run_id, purpose, places, config, kept, published):
            yield
    finally:
        RUN.reset(before)


def _name_after(run_id: str, flow_run: FlowRun) -> None:
    """Let the flow run carry the run's id in its name, by which Prefect's pages list it."""
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=f"{flow_run.name.partition(' ')[0]} {run_id}")
    except (PrefectException, HTTPError) as error:  # the name is for people; the run goes on without
        log.warning("run %s is called %s in Prefect, as renaming it failed: %s", run_id, flow_run.name, error)


@contextmanager
def _alone(flow: str, look: Callable[[], tuple[str, str]], root: Root) -> Iterator[tuple[str, str]]:
    """The source's content and the run's purpose, which no other process is at; waits while one is.

    Args:
        look: gives both; the source may change while this waits.
    """
    while True:
        content, purpose = look()
        with leases.claimed(root, runs.claim_path(purpose), flow, snapshots.raise_fence) as has_waited:
            if not has_waited or look() == (content, purpose):
                yield content, purpose
                return


@contextmanager
def open_run(
    source: str, root: str, config: SharedConfig, *parameters: Any, run_id: str | None = None
) -> Iterator[OpenRun]:
    """Inside a flow run: begin a run on the source, or resume an unfinished one of the same purpose.

    Args:
        parameters: the flow's other parameters; a run's purpose is source, content, settings and these.
        run_id: names the run; by default the name of the unfinished run, else the time.
    """
    context, output = FlowRunContext.get(), Root(root)
    assert context
    assert context.flow
    assert context.flow_run
    tell_prefect(context.flow_run.id)
    flow, given = context.flow.name, [list(parameters), settings_of_results(config)]
    with ExitStack() as stack:
        stack.enter_context(records_below(output))
        stack.enter_context(running_on(config.runner))
        source_root = open_source(source, config.demo, output)

        def look() -> tuple[str, str]:
            content = content_of(source_root, output)
            return content, digest([flow, source, content, *given])

        content, purpose = stack.enter_context(_alone(flow, look, output))
        run = runs.begin(run_id, purpose, output, flow)
        kept = ledger.of_run(str(context.flow_run.id))
        opened = OpenRun(run, source_root, content, output, kept)
        places = (source_root.address, output.address)
        try:
            with within_run(run.id, purpose, places, config, opened.manifest):
                yield opened
        finally:
            try:
                runs.write_stages(run, kept.lines.values(), output)
            except OSError as error:
                log.warning("what the stages of run %s took could not be noted: %s", run.id, error)
