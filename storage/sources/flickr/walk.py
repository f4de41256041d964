"""Walk the community breadth first from the seeds: users, their contacts, then the users of their groups.

The frontier is rebuilt from the database whenever a crawl starts or resumes, which costs no request for fresh lists. So
its order depends on the community alone, and not on where a crawl was interrupted.
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

Progress = Callable[[int, int], None]  # called with the users read so far, and their maximum

NSID = re.compile(r"\d+@N\d+")  # Flickr's ids of users and groups


@dataclass(frozen=True, kw_only=True)
class CrawlRequest:
    """The seeds of a crawl, and how far it goes."""

    users: tuple[str, ...] = ()  # ids or user names
    groups: tuple[str, ...] = ()  # ids; their members are seeds
    max_users: int = 1000  # users read in all
    depth: int = 2  # steps from the seeds; 0 is the seeds alone

    def __post_init__(self) -> None:
        if self.max_users < 1 or self.depth < 0:
            raise ValueError(
                f"max users {self.max_users}, depth {self.depth}: at least 1 user, and a depth of 0 or more"
            )


def seeds_in(file: Path) -> tuple[list[str], list[str]]:
    """The users and groups in a file of seeds: one per line, a group as `group:ID`; `#` starts a comment."""
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    groups = [line.removeprefix("group:").strip() for line in lines if line.startswith("group:")]
    return [line for line in lines if line and not line.startswith("group:")], groups


class Walk:
    """One walk through the community."""

    def __init__(self, database: Database, reader: Reader, request: CrawlRequest, on_user: Progress) -> None:
        self.database, self.reader, self.request, self.on_user = database, reader, request, on_user
        self.reached = 0

    def go(self) -> None:
        """Read every reachable user, and store the frontier in the database. Raises FlickrError if no user is found."""
        self.database.change("DELETE FROM frontier")
        self._enter(filter(None, map(self._resolve, self.request.users)), 0)
        self._enter_groups(self.request.groups, 0)
        if not self.reached:
            seeds = ", ".join((*self.request.users, *self.request.groups))
            raise FlickrError(f"no user is found from the seeds {seeds}; correct them")
        for depth in range(1, self.request.depth + 1):
            self._enter(rows.found_by_contacts(self.database, depth - 1), depth)
            self._enter_groups(rows.joined_groups(self.database, depth - 1, self.reader.config.groups), depth)

    @property
    def is_full(self) -> bool:
        return self.reached >= self.request.max_users

    def _enter(self, candidates: Iterable[str], depth: int) -> None:
        """Read these users in order until the crawl is full; users who are gone do not count."""
        for user_id in candidates:
            if self.is_full:
                return
            if self.database.query("SELECT 1 FROM frontier WHERE user_id = ?", (user_id,)):
                continue  # a seed given twice, by id and by name
            if self.reader.read_user(user_id):
                self.database.change("INSERT INTO frontier VALUES (?, ?, ?)", (user_id, depth, self.reached))
                self.reached += 1
                self.on_user(self.reached, self.request.max_users)

    def _enter_groups(self, groups: Iterable[str], depth: int) -> None:
        """Read the users of groups, unless the crawl is full."""
        groups = list(groups)
        if self.is_full or not groups:
            return
        for group_id in groups:
            self.reader.read_group(group_id)
        self._enter(rows.found_by_groups(self.database, groups), depth)

    def _resolve(self, seed: str) -> str | None:
        """The id of a seed, whose name is stored; None if the user does not exist any more."""
        if NSID.fullmatch(seed):
            outcome, _ = self.reader.ask("seed", seed, "flickr.people.getInfo", self._keep_name, user_id=seed)
            if outcome == "gone":
                self.database.add_tombstone("user", seed)
            return None if outcome == "gone" else seed
        outcome, id_ = self.reader.ask("seed", seed, "flickr.people.findByUsername", self._keep_name, username=seed)
        if outcome == "failed":
            raise FlickrError(f"seed {seed!r}: cannot be looked up now; start again later with --resume")
        return id_ if outcome == "ok" else None

    def _keep_name(self, answer: dict[str, Any]) -> str | None:
        """Store the name in either method's answer, and return the id."""
        person = answer.get("person") or answer.get("user") or {}
        if nsid := answers.text(person.get("nsid")):
            rows.keep_names(self.database, [Person(nsid, answers.text(person.get("username")))])
        return nsid
