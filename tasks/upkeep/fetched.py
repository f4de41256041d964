"""Fetched pictures: which of them a root's tables name."""

from collections.abc import Iterable

import polars as pl

from storage.images import FETCHED
from storage.roots import Root
from storage.tables.community import IMAGES

TABLES = f"tables/{IMAGES.name}/"


def named_in(paths: Iterable[str], root: Root) -> set[str]:
    """The files below the root that those of these paths name which are tables of images."""
    found = set[str]()
    for path in paths:
        if path.startswith(TABLES):
            places = pl.scan_parquet(root.local(path), glob=False).select("path").collect()["path"].drop_nulls()
            found |= set(places.filter(places.str.starts_with(FETCHED)).str.strip_prefix(FETCHED))
    return found
