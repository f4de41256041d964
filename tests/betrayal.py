"""A community whose every table is full of what held-out favorites cause, and the same without any of it.

Each user puts a tag of their own, and some that others use too, on all that they favor and on some other images.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

NUM_USERS, NUM_IMAGES, SHARED_TAGS = 30, 100, 12
USERS = [f"user{row:02d}" for row in range(NUM_USERS)]
IMAGES = [f"image{row:03d}" for row in range(NUM_IMAGES)]
DAY_S = 86_400
BEGIN_S = 1_000_000_000
Pair = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """Who did what when; the tag tables of a source are sums of it."""

    favorites: dict[Pair, int]  # when
    assignments: dict[tuple[str, str, str], int | None]  # user, image, tag: when, where it is known
    uses: Counter[Pair]  # of tags by users, on images that the source lacks
    genres: list[Pair]  # tags of images that no user put there


def facts(*, more_uses: bool = True) -> Facts:
    """Two tastes; some users have few favorites, or none. `more_uses`: of tags on images that the source lacks."""
    rng = np.random.default_rng(0)
    half = NUM_IMAGES // 2
    tag_of = rng.integers(0, SHARED_TAGS, NUM_IMAGES)
    favorites: dict[Pair, int] = {}
    assignments: dict[tuple[str, str, str], int | None] = {}

    def when() -> int:
        return BEGIN_S + int(rng.integers(0, 1000)) * DAY_S

    for row, user in enumerate(USERS):
        num_favorites = {0: 0, 1: 1, 2: 3, 3: 4}.get(row, 14)
        liked = rng.permutation(half)[:num_favorites] + half * (row % 2)
        for image in liked.tolist():
            favorites[user, IMAGES[image]] = at = when()
            for tag in (f"of {user}", f"tag{tag_of[image]:02d}"):
                later = int(rng.integers(-3, 30)) * DAY_S
                assignments[user, IMAGES[image], tag] = None if rng.random() < 0.1 else at + later
        for image in rng.permutation(NUM_IMAGES)[:5].tolist():
            for tag in (f"of {user}", f"tag{tag_of[image]:02d}"):
                assignments.setdefault((user, IMAGES[image], tag), when())
    uses = Counter({(user, f"tag{row % SHARED_TAGS:02d}"): row % 3 for row, user in enumerate(USERS) if row % 3})
    uses = uses if more_uses else Counter()
    genres = [(image, f"genre{row % 4}") for row, image in enumerate(IMAGES)]
    return Facts(favorites, assignments, uses, genres)


def without(known: Facts, heldout: set[Pair], last: Callable[[str], float]) -> Facts:
    """The facts before the held-out favorites were known, nor anything that a user did after `last(user)`."""
    return replace(
        known,
        favorites={pair: at for pair, at in known.favorites.items() if pair not in heldout},
        assignments={
            (user, image, tag): at
            for (user, image, tag), at in known.assignments.items()
            if (user, image) not in heldout and not (at is not None and at > last(user))
        },
    )


def write_source(known: Facts, folder: Path, *, is_counted: bool = True, has_times: bool = True) -> Path:
    """A source directory in which every signal but pictures has rows.

    Args:
        is_counted: whether `user_tags` says how often.
        has_times: whether favorites have times.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)  # of what no favorite causes

    def write(name: str, columns: list[str], rows: list[tuple], *times: str) -> None:
        frame = pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)
        frame = frame.with_columns(
            pl.from_epoch(pl.col(name).cast(pl.Int64)).dt.replace_time_zone("UTC") for name in times
        )
        frame.write_parquet(folder / f"{name}.parquet")

    uses = known.uses + Counter((user, tag) for user, _, tag in known.assignments)
    tagged = sorted({(image, tag) for _, image, tag in known.assignments} | set(known.genres))
    others = [[other for other in USERS if other != user] for user in USERS]
    write("users", ["user_id"], [(user,) for user in USERS])
    write(
        "images",
        ["image_id", "owner_id", "title"],
        [
            (image, USERS[row * 7 % NUM_USERS], f"A view of {row % 9} ({1980 + row % 5})")
            for row, image in enumerate(IMAGES)
        ],
    )
    favorites = [(*pair, at if has_times else None) for pair, at in known.favorites.items()]
    write("favorites", ["user_id", "image_id", "favorited_at"], favorites, "favorited_at")
    write("image_tags", ["image_id", "tag"], tagged)
    counts = [(user, tag, count) for (user, tag), count in uses.items()]
    write("user_tags", ["user_id", "tag", "count"][: 2 + is_counted], [row[: 2 + is_counted] for row in counts])
    given = [(*key, at) for key, at in known.assignments.items()]
    write("tag_assignments", ["user_id", "image_id", "tag", "tagged_at"], given, "tagged_at")
    write(
        "contacts", ["user_id", "contact_id"], [(user, str(rng.choice(others[row]))) for row, user in enumerate(USERS)]
    )
    write("memberships", ["user_id", "group_id"], [(user, f"group{row % 5}") for row, user in enumerate(USERS)])
    features = rng.normal(size=(NUM_IMAGES, 8)).tolist()
    write("image_features", ["image_id", "feature"], list(zip(IMAGES, features, strict=True)))
    return folder
