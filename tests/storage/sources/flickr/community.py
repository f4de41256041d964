"""A synthetic community on Flickr: equal numbers give equal communities, as large as a test needs."""

import io
import random
from dataclasses import dataclass, field

from PIL import Image

STYLES = {"red": "rose fire ruby", "blue": "sea sky ice", "green": "moss leaf fern", "gold": "sun corn honey"}
BEGINNING = 1_700_000_000  # everything happened after this second, and before any test
PICTURES_OF_A_STYLE = 5


@dataclass
class User:
    """A user's public lists, as Flickr orders them."""

    name: str
    style: str
    contacts: list[str] = field(default_factory=list)
    favorites: list[tuple[str, int]] = field(default_factory=list)  # photo and second, the latest first
    groups: list[str] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    hides_favorites: bool = False


@dataclass
class Photo:
    owner: str
    title: str
    uploaded_at: int
    tags: list[str]
    picture: str  # the path of its address
    is_listed_with_address: bool = True  # else flickr.photos.getSizes must be called


@dataclass
class Group:
    name: str
    members: list[str]
    pool: list[str]


@dataclass
class Community:
    users: dict[str, User]
    photos: dict[str, Photo]
    groups: dict[str, Group]

    @property
    def first(self) -> str:
        return next(iter(self.users))

    def delete_user(self, user_id: str) -> None:
        """The user leaves, and with them their photos; contact lists still name them for a while."""
        del self.users[user_id]
        for photo_id in [photo_id for photo_id, photo in self.photos.items() if photo.owner == user_id]:
            self.delete_photo(photo_id)

    def delete_photo(self, photo_id: str) -> None:
        del self.photos[photo_id]
        for user in self.users.values():
            user.favorites = [pair for pair in user.favorites if pair[0] != photo_id]


def make(num_users: int, num_photos: int, *, seed: int = 0, favorites_each: int = 25, addresses: int = 0) -> Community:
    """Users of four styles who mostly like, follow and join what is of their own.

    Args:
        addresses: so many pictures are shared by all photos; 0: each photo has an address of its own.
    """
    rng = random.Random(seed)
    styles = list(STYLES)
    user_ids = [f"{10_000 + row}@N{row % 10:02d}" for row in range(num_users)]
    photo_ids = [str(50_000_000 + row) for row in range(num_photos)]
    group_ids = [f"{90_000 + row}@N20" for row in range(max(4, num_users // 20))]
    users = {id_: User(f"user {row}", styles[row % 4]) for row, id_ in enumerate(user_ids)}
    photos, groups = {}, {}
    for row, id_ in enumerate(photo_ids):
        style = styles[row % 4]
        number = row % addresses if addresses else row
        photos[id_] = Photo(
            owner=user_ids[rng.randrange(num_users // 4) * 4 + row % 4],
            title=f"{style} no. {row}",
            uploaded_at=BEGINNING + row,
            tags=rng.sample(STYLES[style].split(), 2),
            picture=f"/65535/{number}_{styles[number % 4]}_n.jpg",
            is_listed_with_address=row % 500 != 7,
        )
    for row, user in enumerate(users.values()):
        own = row % 4
        others = {rng.randrange(num_users // 4) * 4 + own for _ in range(6)} | {rng.randrange(num_users)}
        user.contacts = sorted(user_ids[other] for other in others | {(row + 1) % num_users} if other != row)
        liked = {own + 4 * int(rng.random() ** 2 * (num_photos // 4)) for _ in range(rng.randrange(favorites_each))}
        liked |= set(range(row, num_photos, num_users)) | {rng.randrange(num_photos) for _ in range(2)}
        seconds = sorted((rng.randrange(10**7) + BEGINNING + num_photos for _ in liked), reverse=True)
        user.favorites = [(photo_ids[photo], second) for photo, second in zip(sorted(liked), seconds, strict=True)]
        user.groups = sorted({group_ids[own], group_ids[own + 4 * rng.randrange(len(group_ids) // 4)]})
        user.tags = {word: 1 + rng.randrange(30) for word in STYLES[user.style].split()}
        user.hides_favorites = row % 100 == 33
    for row, id_ in enumerate(group_ids):
        members = [user_id for user_id, user in users.items() if id_ in user.groups]
        pool = [photo_id for photo_id, photo in photos.items() if photo.owner in members][:300]
        groups[id_] = Group(f"{styles[row % 4]} club {row}", members, pool)
    return Community(users, photos, groups)


def jpeg(style: str, number: int) -> bytes:
    """A tiny picture of a style; there are few of each."""
    rng = random.Random(f"{style} {number % PICTURES_OF_A_STYLE}")
    base = {"red": (200, 40, 40), "blue": (40, 60, 200), "green": (50, 160, 60), "gold": (220, 190, 40)}[style]
    image = Image.new("RGB", (24, 24))
    image.putdata([tuple(min(255, part + rng.randrange(40)) for part in base) for _ in range(24 * 24)])
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()
