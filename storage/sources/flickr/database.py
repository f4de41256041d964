"""The crawl's database: its crawls, what was fetched and when, pages of unfinished lists, and all rows so far.

SQLite, in its own folder below the source directory. Every committed transaction survives SIGKILL.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from storage.sources.flickr import sqlite

Outcome = Literal["ok", "gone", "not public", "failed"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS crawls (
    number INTEGER PRIMARY KEY, begun_at REAL NOT NULL, ended_at REAL, asked TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS fetched (  -- the outcome and time of each list or single answer
    kind TEXT, id TEXT, fetched_at REAL NOT NULL, outcome TEXT NOT NULL, detail TEXT, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (  -- of lists that are not read completely yet
    kind TEXT, id TEXT, pass INTEGER, number INTEGER, total INTEGER, items TEXT NOT NULL, next TEXT,
    PRIMARY KEY (kind, id, pass, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frontier (  -- the users of the current crawl, in the order in which they were reached
    user_id TEXT PRIMARY KEY, depth INTEGER NOT NULL, position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (user_id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contacts (
    user_id TEXT, contact_id TEXT, PRIMARY KEY (user_id, contact_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS favorites (
    user_id TEXT, image_id TEXT, favorited_at INTEGER, PRIMARY KEY (user_id, image_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS favorites_of_image ON favorites (image_id);
CREATE TABLE IF NOT EXISTS user_tags (
    user_id TEXT, tag TEXT, count INTEGER NOT NULL, PRIMARY KEY (user_id, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (group_id TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memberships (user_id TEXT, group_id TEXT, PRIMARY KEY (user_id, group_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS group_users (group_id TEXT, user_id TEXT, PRIMARY KEY (group_id, user_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    image_id TEXT PRIMARY KEY, owner_id TEXT, title TEXT, uploaded_at INTEGER, tags TEXT, url TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS images_of_owner ON images (owner_id);
CREATE INDEX IF NOT EXISTS images_of_url ON images (url);
CREATE TABLE IF NOT EXISTS pictures (  -- by url: several photos may share one file
    url TEXT PRIMARY KEY, fetched_at REAL NOT NULL, outcome TEXT NOT NULL, reason TEXT, path TEXT, etag TEXT,
    last_modified TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tombstones (kind TEXT, id TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Crawl:
    """A crawl. Whatever was fetched more than the freshness window before `begun_at` is fetched again."""

    number: int
    begun_at: float
    ended_at: float | None
    request: dict[str, Any]  # a CrawlRequest as JSON; column `asked`


@dataclass(frozen=True)
class Page:
    """A page of a list: its rows, the total in its answer, and the arguments of the next page."""

    number: int
    total: int | None
    rows: list[list[Any]]
    next: dict[str, Any] | None


class Database:
    """One connection; every method that writes is one transaction, or part of the caller's."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite.connect(file, 60)
        self.connection.executescript(f"""
            PRAGMA synchronous = NORMAL;  -- a kill loses nothing, a power failure the last moments
            PRAGMA secure_delete = ON;    -- no byte of deleted rows stays in the file
            {SCHEMA}""")

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[Any] = ()) -> None:
        self.connection.execute(sql, values)

    def change_each(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def begin(self, request: dict[str, Any], now: float) -> Crawl:
        """A new crawl; its `request` is stored, for a later `resume` without seeds."""
        self.change("DELETE FROM pages")  # of an abandoned crawl
        self.change("INSERT INTO crawls (begun_at, asked) VALUES (?, ?)", (now, json.dumps(request)))
        crawl = self.last()
        assert crawl is not None
        return crawl

    def last(self) -> Crawl | None:
        """The latest crawl."""
        for number, begun_at, ended_at, request in self.query("SELECT * FROM crawls ORDER BY number DESC LIMIT 1"):
            return Crawl(number, begun_at, ended_at, json.loads(request))
        return None

    def end(self, crawl: Crawl, now: float) -> None:
        self.change("UPDATE crawls SET ended_at = ? WHERE number = ?", (now, crawl.number))

    def outcome(self, kind: str, id_: str, since: float) -> tuple[Outcome, str | None] | None:
        """The outcome of a list and its detail; None if it was not fetched since."""
        for fetched_at, outcome, detail in self.query(
            "SELECT fetched_at, outcome, detail FROM fetched WHERE kind = ? AND id = ?", (kind, id_)
        ):
            return (outcome, detail) if fetched_at >= since else None
        return None

    def note(self, kind: str, id_: str, now: float, outcome: Outcome, detail: str | None = None) -> None:
        """Store the outcome of a list; its pages are deleted unless it failed and is retried."""
        values = (kind, id_, now, outcome, detail)
        self.change("INSERT OR REPLACE INTO fetched VALUES (?, ?, ?, ?, ?)", values)
        if outcome != "failed":
            self.change("DELETE FROM pages WHERE kind = ? AND id = ?", (kind, id_))

    def retry_failed(self) -> None:
        """Forget the failed outcomes, so that these lists are fetched again."""
        self.change("DELETE FROM fetched WHERE outcome = 'failed'")

    def pages(self, kind: str, id_: str) -> list[list[Page]]:
        """The pages of an unfinished list, for each pass in order."""
        passes: list[list[Page]] = []
        for pass_, number, total, rows, next_ in self.query(
            "SELECT pass, number, total, items, next FROM pages WHERE kind = ? AND id = ? ORDER BY pass, number",
            (kind, id_),
        ):
            if pass_ == len(passes):
                passes.append([])
            passes[pass_].append(Page(number, total, json.loads(rows), json.loads(next_)))
        return passes

    def keep_page(self, kind: str, id_: str, pass_: int, page: Page) -> None:
        values = (kind, id_, pass_, page.number, page.total, json.dumps(page.rows), json.dumps(page.next))
        self.change("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def add_tombstone(self, kind: Literal["user", "image"], id_: str) -> None:
        """Add a tombstone: this id is gone upstream, so the pipeline must forget it."""
        self.change("INSERT OR IGNORE INTO tombstones VALUES (?, ?)", (kind, id_))

    def remove_tombstone(self, kind: Literal["user", "image"], id_: str) -> None:
        """Remove a tombstone: this id exists again."""
        self.change("DELETE FROM tombstones WHERE kind = ? AND id = ?", (kind, id_))
