"""The crawl of Flickr: a living community to a source directory, which the nightly run takes as it is.

Each of the three tasks goes on where it was broken off: what was fetched, and when, stands in a database below `out`.
"""

from pathlib import Path

from prefect import flow

from storage.sources.flickr.crawl import FlickrConfig, begin, locked
from storage.sources.flickr.walk import CrawlRequest, seeds_in
from tasks.data.crawl import Crawled, api_key, fetch_pictures, read_lists, write_source


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
) -> Crawled:
    """Walk breadth first over contacts and groups from the seeds, fetch the pictures, write the source directory.

    The API key comes from FLICKR_API_KEY or the Prefect Secret `flickr-api-key`, and is no parameter.

    Args:
        out: the source directory, a local folder.
        users: seeds, by id or user name.
        groups: groups whose members are seeds, by id.
        seed_file: more seeds, one a line; a group as `group:ID`.
        max_users: how many users are read in all.
        depth: how many steps from the seeds; 0 is the seeds alone.
        resume: go on with a crawl that did not end, if there is one; its seeds need not be given again.
    """
    config, folder = config or FlickrConfig(), Path(out).expanduser().resolve()
    more_users, more_groups = seeds_in(Path(seed_file)) if seed_file else ([], [])
    users, groups = [*(users or []), *more_users], [*(groups or []), *more_groups]
    api_key()  # without one, nothing is begun
    with locked(folder):
        begin(folder, CrawlRequest(users=tuple(users), groups=tuple(groups), max_users=max_users, depth=depth), resume)
        listed = read_lists(str(folder), config)
        fetched = fetch_pictures(str(folder), config)
        return write_source(str(folder), [listed, fetched])
