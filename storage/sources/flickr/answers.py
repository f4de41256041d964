"""Flickr's answers as rows. The JSON mirrors the documented XML: attributes are strings or numbers, text is
`_content`, repeated elements are a list, and empty elements may be missing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from storage.settings.flickr import SIZE_LABELS


class Person(NamedTuple):
    """A user in an answer: a contact, a member of a group, the owner of a photo."""

    user_id: str
    name: str | None


class PoolPhoto(NamedTuple):
    """A photo in a group's pool, and its owner."""

    image_id: str
    owner: Person


class Favorite(NamedTuple):
    """A photo among a user's favorites, with its fields in that list."""

    image_id: str
    favorited_at: int | None  # epoch seconds
    owner_id: str | None
    owner_name: str | None
    title: str | None
    uploaded_at: int | None
    tags: str | None  # separated by spaces; None if the answer has no such field
    url: str | None  # of the first requested size that the photo has


class Group(NamedTuple):
    """A group that a user is a member of."""

    group_id: str
    name: str | None


class Tag(NamedTuple):
    """A tag that a user uses."""

    tag: str
    uses: int


def items(answer: Any, path: Sequence[str]) -> list[dict[str, Any]]:
    """The repeated elements at a path of names; empty if the path does not exist."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    found = answer if isinstance(answer, list) else [answer]
    return [item for item in found if isinstance(item, dict)]


def number(value: Any) -> int | None:
    """An integer from a number or a text; None otherwise."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def text(value: Any) -> str | None:
    """Text, plain or as the content of an element; None if blank."""
    found = value.get("_content") if isinstance(value, dict) else value
    return str(found) if found is not None and str(found).strip() else None


def contact(item: dict[str, Any]) -> Person | None:
    """A contact, unless the user ignores them."""
    return None if str(item.get("ignored", "0")) == "1" else member(item)


def member(item: dict[str, Any]) -> Person | None:
    nsid = text(item.get("nsid"))
    return Person(nsid, text(item.get("username"))) if nsid else None


def pool_photo(item: dict[str, Any]) -> PoolPhoto | None:
    image_id, owner = text(item.get("id")), text(item.get("owner"))
    return PoolPhoto(image_id, Person(owner, text(item.get("ownername")))) if image_id and owner else None


def favorite(item: dict[str, Any], sizes: Sequence[str]) -> Favorite | None:
    """A public photo; None for videos, and for what is not public."""
    image_id = text(item.get("id"))
    if not image_id or item.get("media", "photo") != "photo" or str(item.get("ispublic", "1")) != "1":
        return None
    return Favorite(
        image_id,
        number(item.get("date_faved")),
        text(item.get("owner")),
        text(item.get("ownername")),
        text(item.get("title")),
        number(item.get("dateupload")),
        str(item["tags"]) if "tags" in item else None,
        next((text(item[f"url_{size}"]) for size in sizes if text(item.get(f"url_{size}"))), None),
    )


def group(item: dict[str, Any]) -> Group | None:
    nsid = text(item.get("nsid"))
    return Group(nsid, text(item.get("name"))) if nsid else None


def tag(item: dict[str, Any]) -> Tag | None:
    word, count = text(item), number(item.get("count"))
    return Tag(word, max(1, count or 1)) if word else None


def photo_tags(answer: dict[str, Any]) -> str:
    """The tags in an answer of flickr.tags.getListPhoto, in the form of the extra `tags`."""
    return " ".join(sorted(word for item in items(answer, ("photo", "tags", "tag")) if (word := text(item))))


def size_address(answer: dict[str, Any], sizes: Sequence[str]) -> str | None:
    """The url of the first requested size in an answer of flickr.photos.getSizes; None if the photo has none."""
    found = dict(_addresses(answer))
    return next((found[SIZE_LABELS[size]] for size in sizes if SIZE_LABELS[size] in found), None)


def _addresses(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for item in items(answer, ("sizes", "size")):
        label, source = text(item.get("label")), text(item.get("source"))
        if label and source and item.get("media", "photo") == "photo":
            yield label, source
