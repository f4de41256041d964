"""The demo community as it grows, night by night: images and users arrive, users return, some of both leave.

The whole community is written once (`community.py`) and revealed in parts, so two nights differ only by the rows that
arrived or left in between.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from storage.sources.directory import NAMING_USERS

READERS: dict[str, Callable[[BinaryIO], pl.DataFrame]] = {  # of open files, as they take a path for a pattern
    ".csv": pl.read_csv,
    ".jsonl": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}
LATE = 0.1  # share of a returning user's favorites that appear at the user's visit


@dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """How a community changes from night to night; shares are of the whole community."""

    nights: int = 14  # nights after the first
    new_images: float = 0.009  # arrive each night; their favorites follow in later nights
    left_images: float = 0.001  # leave each night
    new_users: float = 0.004  # arrive each night, with all their favorites
    returning_users: float = 0.005  # favorite a few more images; other users each night
    left_users: float = 0.001  # leave each night
    seed: int = 0  # of the nights at which users and images arrive, return and leave


class Growth:
    """The rows of a whole community that exist on each night; night 0 is the first."""

    def __init__(self, whole: Path, config: GrowthConfig):
        self.whole, self.config = whole, config
        self.tables = {file: _rows_of(file) for file in sorted(whole.iterdir()) if file.suffix in READERS}
        by_name = {file.stem: table for file, table in self.tables.items()}
        rng = np.random.default_rng(config.seed)
        self.images = self._stays(by_name["images"], config.new_images, config.left_images, rng, newest_last=True)
        self.users = self._stays(by_name["users"], config.new_users, config.left_users, rng, newest_last=False)
        self.returns = self._returns(by_name["favorites"], rng)

    def write(self, night: int, folder: Path) -> None:
        """Make `folder` the source directory of this night; existing pictures are not rewritten."""
        (folder / "images").mkdir(parents=True, exist_ok=True)
        images, users = (self._present(stays, night) for stays in (self.images, self.users))
        for file, table in self.tables.items():
            visible = self.returns.filter(pl.col("night") <= night) if file.stem == "favorites" else None
            id_columns = [name for name in NAMING_USERS.get(file.stem, ("user_id",)) if name in table.columns]
            shown = reduce(
                lambda rows, name: rows.join(users, left_on=name, right_on="user_id", how="semi"), id_columns, table
            )
            if "image_id" in table.columns:
                shown = shown.join(images, on="image_id", how="semi", maintain_order="left")
            if visible is not None:
                shown = shown.join(visible, on=["user_id", "image_id"], how="semi", maintain_order="left")
            _write(shown, folder / file.name)
        wanted = {f"{name}.jpg" for name in images["image_id"]}
        for removed in {path.name for path in (folder / "images").iterdir()} - wanted:
            (folder / "images" / removed).unlink()
        for name in wanted:
            if not (folder / "images" / name).exists():
                os.link(self.whole / "images" / name, folder / "images" / name)

    def _stays(
        self, table: pl.DataFrame, new: float, left: float, rng: np.random.Generator, *, newest_last: bool
    ) -> pl.DataFrame:
        """The first night of each id (`comes`), and the night after its last (`goes`)."""
        num, nights = len(table), self.config.nights
        comes, goes = np.zeros(num, int), np.full(num, nights + 1)
        order = np.arange(num) if newest_last else rng.permutation(num)
        per_night, leaving = round(new * num), round(left * num)
        for night in range(1, nights + 1):
            first = num - (nights - night + 1) * per_night
            comes[order[first : first + per_night]] = night
        for night in range(1, nights + 1):
            goes[rng.choice(np.flatnonzero((comes < night) & (goes > nights)), leaving, replace=False)] = night
        return pl.DataFrame({table.columns[0]: table[table.columns[0]], "comes": comes, "goes": goes})

    def _returns(self, favorites: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """The night of each favorite: the first, the visit of its user, or a later one for a new image."""
        config, users = self.config, self.users["user_id"]
        visits = np.zeros(len(users), int)
        chosen = rng.permutation(len(users))
        per_night = round(config.returning_users * len(users))
        for night in range(1, config.nights + 1):
            visits[chosen[(night - 1) * per_night : night * per_night]] = night
        rows = favorites.select("user_id", "image_id").join(
            self.users.with_columns(visit=visits).select("user_id", "visit"), on="user_id", maintain_order="left"
        )
        rows = rows.join(self.images.select("image_id", "comes"), on="image_id", maintain_order="left")
        comes, visit = rows["comes"].to_numpy(), rows["visit"].to_numpy()
        is_late = rng.random(len(rows)) < LATE
        # A new image is seen by users who visit that night or later; other users see it after the last night.
        reached = np.where(visit >= comes, visit, config.nights + 1)
        shown = np.where(comes > 0, reached, np.where(is_late, visit, 0))
        return rows.select("user_id", "image_id").with_columns(night=shown)

    @staticmethod
    def _present(stays: pl.DataFrame, night: int) -> pl.DataFrame:
        return stays.filter((pl.col("comes") <= night) & (pl.col("goes") > night)).select(stays.columns[0])


def _write(table: pl.DataFrame, file: Path) -> None:
    temporary = file.with_suffix(".partial")
    if file.suffix == ".csv":
        table.write_csv(temporary)
    elif file.suffix == ".jsonl":
        table.write_ndjson(temporary)
    else:
        table.write_parquet(temporary)
    temporary.replace(file)


def _rows_of(file: Path) -> pl.DataFrame:
    with file.open("rb") as stream:
        return READERS[file.suffix](stream)
