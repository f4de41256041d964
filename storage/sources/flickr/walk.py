"""Breadth first from the seeds: users, then those they follow, then those who share their groups.

The frontier is made anew from what the database holds whenever a crawl begins or goes on, which costs no request where
that is fresh. So its order depends on the community alone, and not on where a crawl was broken off.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.sources.flickr import answers, rows
from storage.sources.flickr.answers import Person
from storage.sources.flickr.client import FlickrError
from storage.sources.flickr.database import Database
from storage.sources.flickr.lists import Reader

Progress = Callable[[int, int], None]  # called with the users read so far, and how many there may be

NSID = re.compile(r"\d+@N\d+")  # Flickr's ids of users and groups


@dataclass(frozen=True, kw_only=True)
class CrawlRequest:
    """Whom a crawl begins with, and how far it goes."""

    users: tuple[str, ...] = ()  # ids, or user names
    groups: tuple[str, ...] = ()  # ids; their members are seeds
    max_users: int = 1000  # users read in all
    depth: int = 2  # steps from the seeds; 0 is the seeds alone

    def __post_init__(self) -> None:
        if self.max_users < 1 or self.depth < 0:
            raise ValueError(
                f"max users {self.max_users}, depth {self.depth}: at least 1 user, and a depth of 0 or more"
            )


def seeds_in(file: Path) -> tuple[list[str], list[str]]:
    """The users and groups of a file of seeds: one a line, a group as `group:ID`; `#` begins a remark."""
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    groups = [line.removeprefix("group:").strip() for line in lines if line.startswith("group:")]
    return [line for line in lines if line and not line.startswith("group:")], groups


class Walk:
    """One way through the community."""

    def __init__(self, database: Database, reader: Reader, asked: CrawlRequest, on_user: Progress) -> None:
        self.database, self.reader, self.asked, self.on_user = database, reader, asked, on_user
        self.reached = 0

    def go(self) -> None:
        """Read every user that is reached, and leave the frontier in the database. Raises FlickrError without any."""
        self.database.change("DELETE FROM frontier")
        self._enter(filter(None, map(self._resolve, self.asked.users)), 0)
        self._enter_groups(self.asked.groups, 0)
        if not self.reached:
            seeds = ", ".join((*self.asked.users, *self.asked.groups))
            raise FlickrError(f"no user is found from the seeds {seeds}; correct them")
        for depth in range(1, self.asked.depth + 1):
            self._enter(rows.led_to_by_contacts(self.database, depth - 1), depth)
            self._enter_groups(rows.joined_groups(self.database, depth - 1, self.reader.config.groups), depth)

    @property
    def is_full(self) -> bool:
        return self.reached >= self.asked.max_users

    def _enter(self, candidates: Iterable[str], depth: int) -> None:
        """Read these users in order, as long as there is room; who is gone takes none."""
        for user_id in candidates:
            if self.is_full:
                return
            if self.database.query("SELECT 1 FROM frontier WHERE user_id = ?", (user_id,)):
                continue  # a seed that was given twice, by id and by name
            if self.reader.read_user(user_id):
                self.database.change("INSERT INTO frontier VALUES (?, ?, ?)", (user_id, depth, self.reached))
                self.reached += 1
                self.on_user(self.reached, self.asked.max_users)

    def _enter_groups(self, groups: Iterable[str], depth: int) -> None:
        """The users of groups, which are read only where there is room for somebody."""
        groups = list(groups)
        if self.is_full or not groups:
            return
        for group_id in groups:
            self.reader.read_group(group_id)
        self._enter(rows.led_to_by_groups(self.database, groups), depth)

    def _resolve(self, seed: str) -> str | None:
        """The id of a seed, with its name entered; None where there is no such user any more."""
        if NSID.fullmatch(seed):
            outcome, _ = self.reader.ask("seed", seed, "flickr.people.getInfo", self._keep_name, user_id=seed)
            if outcome == "gone":
                self.database.bury("user", seed)
            return None if outcome == "gone" else seed
        outcome, id_ = self.reader.ask("seed", seed, "flickr.people.findByUsername", self._keep_name, username=seed)
        if outcome == "failed":
            raise FlickrError(f"seed {seed!r}: cannot be looked up now; start again later with --resume")
        return id_ if outcome == "ok" else None

    def _keep_name(self, answer: dict[str, Any]) -> str | None:
        """Enter the name that either method tells, and return the id."""
        told = answer.get("person") or answer.get("user") or {}
        if nsid := answers.text(told.get("nsid")):
            rows.keep_names(self.database, [Person(nsid, answers.text(told.get("username")))])
        return nsid
