"""Crawl a living community."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.at_work import at_work, with_bars
from flows.commands.options import JsonOption, QuietOption, SetOption
from flows.printing.common import print_json
from flows.printing.upkeep import print_crawled

if TYPE_CHECKING:
    from storage.settings.flickr import FlickrConfig


def flickr(
    out_: Annotated[Path, typer.Option("--out", help="The source directory; the crawl's state lies below it.")],
    user: Annotated[list[str] | None, typer.Option(help="A seed, by id or user name; may be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of seeds, by id; may be repeated.")] = None,
    seed_file: Annotated[Path | None, typer.Option(help="Seeds, one a line; a group as group:ID.")] = None,
    max_users: Annotated[int, typer.Option(min=1, help="Users read in all.")] = 1000,
    depth: Annotated[int, typer.Option(min=0, help="Steps over contacts and groups; 0: the seeds alone.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a crawl that did not end.")] = False,
    config: Annotated[str | None, typer.Option(help="A YAML or TOML file of settings.")] = None,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Crawl Flickr from seeds; the key comes from FLICKR_API_KEY or the Prefect Secret flickr-api-key."""
    from flows.settings import load_as
    from storage.settings.flickr import FlickrConfig
    from storage.sources.flickr.crawl import FOLDER, locked

    def load() -> "FlickrConfig":
        return load_as(FlickrConfig, config, set_).config

    folder = out_.expanduser().resolve()
    home = folder / FOLDER / "prefect"
    with at_work("crawl", folder, home, locked(folder), load, again="with --resume") as settings:
        from flows.crawl import crawl as flow

        crawled = with_bars(
            flow,
            out=str(out_),
            users=user,
            groups=group,
            seed_file=str(seed_file) if seed_file else None,
            max_users=max_users,
            depth=depth,
            resume=resume,
            config=settings,
        )
        if as_json:
            print_json({key: getattr(crawled, key) for key in crawled.__dataclass_fields__})
        else:
            print_crawled(crawled)
