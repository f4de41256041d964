"""Pictures whose `path` is an address are fetched before any picture is read."""

import polars as pl

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.settings.downloads import FetchConfig
from storage.settings.images import ImageConfig, ImageLimits
from storage.sources import fetching
from tasks.data.ingest import Community
from tasks.data.pictures import Fetched
from tasks.data.places import place_pictures
from tasks.runtime import ledger
from tasks.runtime.caching import uncached_stage, unsearched
from tasks.runtime.progress import Progress


def fetch_pictures(community: Community, config: ImageConfig, fetch: FetchConfig, root: Root) -> Community:
    """The community with a file for each picture: an address in `path` becomes the path of what was fetched from it.

    Addresses that gave none are in quarantine. They end no run, however many they are: links rot.
    """
    addresses = _addresses(community.tables["images"], root) if config.fetch else []
    if not addresses:
        return community
    outcomes = fetch_addresses(unsearched(addresses), fetch, config.limits, root)
    return place_pictures(community, unsearched(outcomes), root)


@uncached_stage
def fetch_addresses(addresses: list[str], config: FetchConfig, limits: ImageLimits, root: Root) -> list[Fetched]:
    """Fetch the pictures of the addresses that have no file yet. Not cached: the files say what is there."""
    progress = Progress("fetch-addresses", 0, "pictures")
    outcomes = fetching.fetch(addresses, config, limits, root, progress.reach)
    ledger.count("pictures of addresses", sum(outcome.path is not None for outcome in outcomes))
    return [Fetched(outcome.address, outcome.path, outcome.reason) for outcome in outcomes]


def _addresses(images: Ref, root: Root) -> list[str]:
    return fetching.addresses_in(pl.DataFrame(parquet.read(images, root, ["path"])))
