"""The crawl of Flickr: from a live community to a source directory for the nightly run.

Each of the three stages resumes where it was interrupted: a database below `out` stores what was fetched and when.
"""

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.context import FlowRunContext

from flows.opening import settings_of_run, within_run
from flows.stopping import tell_prefect
from storage.settings.flickr import FlickrConfig
from storage.sources.flickr.crawl import begin, locked
from storage.sources.flickr.walk import CrawlRequest, seeds_in
from tasks.data.crawl import CrawlResult, api_key, fetch_pictures, read_lists, write_source
from tasks.runtime.digests import digest
from tasks.runtime.runs import ID_FORMAT


@flow(name="crawl-flickr", persist_result=False)
def crawl(
    out: str,
    users: list[str] | None = None,
    groups: list[str] | None = None,
    seed_file: str | None = None,
    max_users: int = 1000,
    depth: int = 2,
    resume: bool = False,
    config: FlickrConfig | None = None,
) -> CrawlResult:
    """Walk breadth first over contacts and groups from the seeds, fetch the pictures, write the source directory.

    The API key comes from FLICKR_API_KEY or the Prefect Secret `flickr-api-key`, and is no parameter.

    Args:
        out: the source directory, a local folder.
        users: seeds, by id or user name.
        groups: groups whose members are seeds, by id.
        seed_file: more seeds, one a line; a group as `group:ID`.
        max_users: how many users are read in all.
        depth: how many steps from the seeds; 0 is the seeds alone.
        resume: continue an unfinished crawl, if there is one; its seeds need not be given again.
    """
    context = FlowRunContext.get()
    assert context
    assert context.flow
    assert context.flow_run
    tell_prefect(context.flow_run.id)
    config, folder = settings_of_run(FlickrConfig, config), Path(out).expanduser().resolve()
    more_users, more_groups = seeds_in(Path(seed_file)) if seed_file else ([], [])
    users, groups = [*(users or []), *more_users], [*(groups or []), *more_groups]
    api_key()  # without one, no crawl starts
    run_id, places = datetime.now(UTC).strftime(ID_FORMAT), (config.api.endpoint, str(folder))
    with locked(folder), within_run(run_id, digest([context.flow.name, *places]), places, config):
        begin(folder, CrawlRequest(users=tuple(users), groups=tuple(groups), max_users=max_users, depth=depth), resume)
        listed = read_lists(str(folder), config)
        fetched = fetch_pictures(str(folder), config)
        return write_source(str(folder), [listed, fetched])
