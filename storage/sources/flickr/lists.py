"""Flickr's lists, read page by page into the crawl's database, so that a kill loses at most one page.

A list may change while it is read. Favorites are read by date: every favorite that existed from the start of the crawl
to the end of the reading is listed exactly once. Other lists have only page numbers: a pass over all pages is accepted
if its pages agree on the total and no item is repeated; otherwise the list is read again, and if no pass is ever
accepted, the union of all passes is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.settings.flickr import ListConfig
from storage.sources.downloads.retries import PassingError
from storage.sources.flickr import answers, rows
from storage.sources.flickr.client import Client, GoneError, NotPublicError
from storage.sources.flickr.database import Crawl, Database, Outcome, Page

NEVER_FRESH = {"whereabouts"}  # asked because something has changed
LOGIN_NEEDED = "*"  # stands for all groups, whose members are shown only with a login


@dataclass(frozen=True)
class Listing:
    """How a list is requested, where its items are in the answer, and which rows they become."""

    method: str
    subject: str  # the argument that names the list's user or group
    path: tuple[str, ...]
    row: Callable[[dict[str, Any]], Sequence[Any] | None]
    of: Callable[..., Sequence[Any]]  # the row from its JSON form
    keep: Callable[[Database, str, Sequence[Any]], None]
    most_pages: int = 1  # 1: it has no pages
    by_date: bool = False
    arguments: dict[str, str | int] = field(default_factory=dict)


def listings(config: ListConfig, sizes: Sequence[str]) -> dict[str, Listing]:
    """Every list that the crawl reads, by its kind in the database."""
    extras = ",".join(["date_upload", "owner_name", "tags", "media", *(f"url_{size}" for size in sizes)])
    return {
        "contacts": Listing(
            "flickr.contacts.getPublicList",
            "user_id",
            ("contacts", "contact"),
            answers.contact,
            answers.Person,
            rows.keep_contacts,
            config.most_pages,
        ),
        "favorites": Listing(
            "flickr.favorites.getPublicList",
            "user_id",
            ("photos", "photo"),
            lambda item: answers.favorite(item, sizes),
            answers.Favorite,
            rows.keep_favorites,
            config.most_pages,
            by_date=True,
            arguments={"extras": extras},
        ),
        "groups": Listing(
            "flickr.people.getPublicGroups",
            "user_id",
            ("groups", "group"),
            answers.group,
            answers.Group,
            rows.keep_memberships,
        ),
        "tags": Listing(
            "flickr.tags.getListUserPopular",
            "user_id",
            ("who", "tags", "tag"),
            answers.tag,
            answers.Tag,
            rows.keep_tags,
            arguments={"count": config.user_tags},
        ),
        "members": Listing(
            "flickr.groups.members.getList",
            "group_id",
            ("members", "member"),
            answers.member,
            answers.Person,
            rows.keep_group_users,
            config.most_group_pages,
        ),
        "pool": Listing(
            "flickr.groups.pools.getPhotos",
            "group_id",
            ("photos", "photo"),
            answers.pool_photo,
            answers.PoolPhoto,
            rows.keep_pool,
            config.most_group_pages,
            arguments={"extras": "owner_name"},
        ),
    }


OF_A_USER = ("contacts", "favorites", "groups", "tags")


class Reader:
    """Reads the lists that are not fresh, and stores each list's outcome beside its rows."""

    def __init__(
        self,
        client: Client,
        database: Database,
        crawl: Crawl,
        config: ListConfig,
        sizes: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.client, self.database, self.crawl, self.config, self.clock = client, database, crawl, config, clock
        self.listings = listings(config, sizes)
        self.since = crawl.begun_at - config.freshness_s

    def read_user(self, user_id: str) -> bool:
        """Whether the user exists; if so, all their lists are read."""
        if any(self.read(kind, user_id) == "gone" for kind in OF_A_USER):
            self.database.add_tombstone("user", user_id)
            return False
        self.database.remove_tombstone("user", user_id)
        return True

    def read_group(self, group_id: str) -> None:
        """Read the group's members or, if only members may see those, the owners of photos in its pool."""
        if self.database.outcome("members", LOGIN_NEEDED, self.since) or self.read("members", group_id) == "not public":
            self.read("pool", group_id)

    def read(self, kind: str, id_: str) -> Outcome:
        """The outcome of a list, read now or within the freshness window."""
        if fresh := self.database.outcome(kind, id_, self.since):
            return fresh[0]
        listing = self.listings[kind]
        try:
            found = self._rows(listing, kind, id_)
        except GoneError as error:
            return self._note(kind, id_, "gone", str(error))
        except PassingError as error:  # earlier rows of the list stay
            return self._note(kind, id_, "failed", str(error))
        except NotPublicError as error:
            if kind == "members" and error.needs_login:
                self._note(kind, LOGIN_NEEDED, "not public", str(error))
            with self.database.transaction():
                listing.keep(self.database, id_, [])
                return self._note(kind, id_, "not public", str(error))
        with self.database.transaction():
            listing.keep(self.database, id_, found)
            return self._note(kind, id_, "ok")

    def ask(
        self, kind: str, id_: str, method: str, keep: Callable[[dict[str, Any]], str | None], **arguments: str
    ) -> tuple[Outcome, str | None]:
        """The outcome and detail of a single request, sent now or within the freshness window.

        `keep` stores the answer and returns the detail, in one transaction with the outcome.
        """
        if fresh := self.database.outcome(kind, id_, self.crawl.begun_at if kind in NEVER_FRESH else self.since):
            return fresh
        try:
            answer = self.client.call(method, **arguments)
        except GoneError as error:
            return self._note(kind, id_, "gone", str(error)), None
        except NotPublicError as error:
            return self._note(kind, id_, "not public", str(error)), None
        except PassingError as error:
            return self._note(kind, id_, "failed", str(error)), None
        with self.database.transaction():
            detail = keep(answer)
            return self._note(kind, id_, "ok", detail), detail

    def _note(self, kind: str, id_: str, outcome: Outcome, detail: str | None = None) -> Outcome:
        self.database.note(kind, id_, self.clock(), outcome, detail)
        return outcome

    def _rows(self, listing: Listing, kind: str, id_: str) -> list[Sequence[Any]]:
        """The list's rows, each once. Pages are stored as they arrive; an interrupted pass is resumed."""
        passes = self.database.pages(kind, id_) or [[]]
        while True:
            pages = passes[-1]
            if not pages or pages[-1].next:
                page = self._page(listing, id_, pages)
                self.database.keep_page(kind, id_, len(passes) - 1, page)
                pages.append(page)
            elif listing.by_date or agrees(pages):
                return list(_each_once(listing, [pages]))
            elif len(passes) < self.config.passes:
                passes.append([])
            else:
                return list(_each_once(listing, passes))

    def _page(self, listing: Listing, id_: str, before: Sequence[Page]) -> Page:
        """The next page of the list."""
        at = before[-1].next if before else self._beginning(listing)
        assert at is not None
        answer = self.client.call(listing.method, **{listing.subject: id_}, **listing.arguments, **at)
        found = [row for item in answers.items(answer, listing.path) if (row := listing.row(item))]
        header = answer.get(listing.path[0], {})
        number = len(before) + 1
        is_last = number == listing.most_pages or at.get("page", 1) >= (answers.number(header.get("pages")) or 1)
        following = None if is_last else _following(listing, at, found)
        return Page(number, answers.number(header.get("total")), [list(row) for row in found], following)

    def _beginning(self, listing: Listing) -> dict[str, int]:
        if listing.most_pages == 1 and not listing.by_date:
            return {}
        # Favorites after the crawl's start wait for the next crawl, so that all users' favorites are of one moment.
        by_date = {"max_fave_date": int(self.crawl.begun_at)} if listing.by_date else {}
        return {"page": 1, "per_page": self.config.per_page, **by_date}


def agrees(pages: Sequence[Page]) -> bool:
    """Whether the pages are consistent: one total on all of them, and no item twice."""
    ids = [row[0] for page in pages for row in page.rows]
    return len({page.total for page in pages}) == 1 and len(set(ids)) == len(ids)


def _following(listing: Listing, at: dict[str, int], found: Sequence[Any]) -> dict[str, int]:
    """The arguments of the next page; by date, it starts with the oldest row of this page, which is repeated."""
    dates = [row.favorited_at for row in found if row.favorited_at is not None] if listing.by_date else []
    # A second later than the oldest: Flickr does not say whether the limit is inclusive.
    if dates and min(dates) + 1 < at["max_fave_date"]:
        return {**at, "page": 1, "max_fave_date": min(dates) + 1}
    return {**at, "page": at["page"] + 1}


def _each_once(listing: Listing, passes: Sequence[Sequence[Page]]) -> Iterator[Sequence[Any]]:
    seen = set()
    for row in (row for pages in passes for page in pages for row in page.rows):
        if row[0] not in seen:
            seen.add(row[0])
            yield listing.of(*row)
