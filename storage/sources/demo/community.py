"""The built-in demo community: a generated source directory in which pictures, tags, contacts and groups show taste.

Users prefer one to three of sixteen visual styles (`styles.py`). Their favorites, tags, contacts and groups are sampled
from that taste, with long tails as in the CDL paper's Fig. 4 and some noise, so that a model can learn from tags what a
user wants to see, and popularity alone predicts little.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from storage.settings.demo import DemoConfig
from storage.sources.demo.pictures import picture
from storage.sources.demo.sampling import Choices, long_tail, stream
from storage.sources.demo.styles import ANIMALS, STYLES, vocabulary
from storage.tombstones import NOBODY, Tombstones

BLOCK = 8_192  # users or images sampled at once: memory depends on the block, not on the community
PICTURES_PER_REPORT = 100
START, END = (int(np.datetime64(day, "s").astype(np.int64)) for day in ("2024-01-01", "2025-01-01"))

Progress = Callable[[int, int], None]  # called with the pictures painted so far and their total


def write_demo(
    config: DemoConfig,
    folder: Path,
    progress: Progress = lambda _done, _total: None,
    forgotten: Tombstones = NOBODY,
) -> None:
    """Write the demo community as a source directory (source contract) that uses every allowed format.

    Forgotten users and images are sampled like all others, so that the others do not change, but not written.

    `images.parquet`, which every source needs, is written last, so an interrupted write is never taken for a complete
    community; writing again into the same folder completes it.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "images.parquet").unlink(missing_ok=True)
    community = _Community(config)
    for row in range(config.images):
        style = STYLES[community.image_style[row]]
        if not forgotten.hold("image", community.image_ids[row]):
            image = picture(style, config.picture_px, stream(config.seed, f"picture {row}"))
            image.save(folder / community.path(row), quality=90)
        if (row + 1) % PICTURES_PER_REPORT == 0 or row + 1 == config.images:
            progress(row + 1, config.images)
    for name, frames in (
        ("favorites.csv", community.favorites()),
        ("image_tags.jsonl", community.image_tags()),
        ("user_tags.parquet", community.user_tags()),
        ("contacts.csv", community.contacts()),
        ("groups.jsonl", community.groups()),
        ("memberships.parquet", community.memberships()),
        ("users.csv", community.users()),
        ("images.parquet", community.images()),
    ):
        _write_table(map(forgotten.without, frames), folder / name)


class _Community:
    """The tastes of a community, sampled once; every table's method yields it in blocks.

    S styles, U users, I images, G groups, N items of any of these; arrays are indexed by user, image or group row.
    """

    def __init__(self, config: DemoConfig) -> None:
        self.config = config
        rng = stream(config.seed, "taste")
        self.user_ids = pl.Series([f"u{row:06d}" for row in range(config.users)])
        self.image_ids = pl.Series([f"i{row:06d}" for row in range(config.images)])

        # Images, in upload order.
        self.image_style = rng.permutation(config.images) % len(STYLES)
        self.uploaded_at = np.sort(rng.integers(START, END, config.images))
        appeal = rng.lognormal(0.0, 0.8, config.images)
        appeal[config.images - int(config.images * config.unseen) :] = 0
        self.image_of_style = self._choices(np.eye(len(STYLES))[:, self.image_style] * appeal)

        # Users: one to three styles each, some styles more popular than others.
        fashion = rng.lognormal(0.0, 0.3, len(STYLES))
        order = np.argsort(np.log(fashion) + rng.gumbel(size=(config.users, len(STYLES))), axis=1)[:, ::-1]
        num_styles = rng.choice([1, 2, 3], config.users, p=[0.4, 0.4, 0.2])
        taste_US = np.zeros((config.users, len(STYLES)))
        strength = rng.gamma(3.0, size=(config.users, 3)) * (np.arange(3) < num_styles[:, None])
        np.put_along_axis(taste_US, order[:, :3], strength, axis=1)
        self.taste_US = taste_US / taste_US.sum(axis=1, keepdims=True)
        self.style_of_user = Choices(self.taste_US)
        self.activity = rng.normal(size=config.users)  # standard normal: favorites, tags and contacts depend on it
        self.user_of_style = self._choices(self.taste_US.T * np.exp(0.6 * self.activity))

        # Groups: one style each, with long-tailed sizes.
        num_groups = max(2, config.users // 20)
        self.group_style = rng.integers(0, len(STYLES), num_groups)
        size_of_group = (1.0 + rng.permutation(num_groups)) ** -0.8
        self.group_of_style = self._choices(np.eye(len(STYLES))[:, self.group_style] * size_of_group)

        self.tags, tag_weights = vocabulary()
        self.tag_of_style = Choices(tag_weights)

    def _choices(self, weights_SN: np.ndarray) -> Choices:
        """Choices by style: a share `off_taste` of the draws, and all of a style without items, are from all items."""
        totals = weights_SN.sum(axis=1, keepdims=True)
        overall = weights_SN.sum(axis=0) / weights_SN.sum()
        by_style = np.where(totals > 0, weights_SN, overall) / np.where(totals > 0, totals, 1)
        return Choices((1 - self.config.off_taste) * by_style + self.config.off_taste * overall)

    def path(self, row: int) -> str:
        return f"images/{self.image_ids[row]}.jpg"

    def favorites(self) -> Iterator[pl.DataFrame]:
        """Favorites of each user, never before an image's upload, most of them soon after it."""
        most = min(self.config.max_favorites, max(1, self.config.images // 3))
        for users in _blocks(self.config.users):
            rng = stream(self.config.seed, f"favorites {users[0]}")
            counts = long_tail(self.activity[users], self.config.median_favorites, 1.6, most)
            user, image = self._pairs(users, counts, self.image_of_style, rng)
            uploaded = self.uploaded_at[image]
            at = uploaded + ((END - uploaded) * rng.random(len(image)) ** 2).astype(np.int64)
            yield pl.DataFrame(
                {
                    "user_id": self.user_ids[user],
                    "image_id": self.image_ids[image],
                    "favorited_at": np.datetime_as_string(at.astype("datetime64[s]"), timezone="UTC").tolist(),
                }
            )

    def image_tags(self) -> Iterator[pl.DataFrame]:
        tags = pl.Series(self.tags)
        for images in _blocks(self.config.images):
            rng = stream(self.config.seed, f"image tags {images[0]}")
            counts = long_tail(rng.normal(size=len(images)), 6.0, 0.6, 40)
            counts[rng.random(len(images)) < self.config.untagged] = 0
            image = images.repeat(counts)
            pairs = np.unique(image * len(tags) + self.tag_of_style.draw(self.image_style[image], rng))
            yield pl.DataFrame({"image_id": self.image_ids[pairs // len(tags)], "tag": tags[pairs % len(tags)]})

    def user_tags(self) -> Iterator[pl.DataFrame]:
        """Tags of each user: active users tend to have more. A user with 200 uses has about 100 distinct tags."""
        tags = pl.Series(self.tags)
        for users in _blocks(self.config.users):
            rng = stream(self.config.seed, f"user tags {users[0]}")
            num_uses_normal = 0.85 * self.activity[users] + 0.53 * rng.normal(size=len(users))
            user = users.repeat(long_tail(num_uses_normal, self.config.median_tags, 1.8, 800))
            style = self.style_of_user.draw(user, rng)
            is_off_taste = rng.random(len(user)) < self.config.off_taste
            style[is_off_taste] = rng.integers(0, len(STYLES), is_off_taste.sum())
            pairs, counts = np.unique(user * len(tags) + self.tag_of_style.draw(style, rng), return_counts=True)
            yield pl.DataFrame(
                {"user_id": self.user_ids[pairs // len(tags)], "tag": tags[pairs % len(tags)], "count": counts}
            )

    def contacts(self) -> Iterator[pl.DataFrame]:
        """Contacts of each user, mostly users of similar taste; a fifth follow nobody, a third of contacts are mutual.

        In one block, since a user may follow back a user of another block: this takes 16 bytes of memory per contact.
        """
        rng, users = stream(self.config.seed, "contacts"), np.arange(self.config.users)
        counts = long_tail(rng.normal(size=len(users)) + 0.5 * self.activity, 4.0, 0.9, 150)
        counts[rng.random(len(users)) < 0.2] = 0
        user, contact = self._pairs(users, counts, self.user_of_style, rng)
        follows_back = (rng.random(len(user)) < 0.33) & (counts[contact] > 0)
        pairs = np.concatenate([user * len(users) + contact, (contact * len(users) + user)[follows_back]])
        user, contact = np.divmod(np.unique(pairs), len(users))
        is_other = user != contact
        yield pl.DataFrame({"user_id": self.user_ids[user[is_other]], "contact_id": self.user_ids[contact[is_other]]})

    def groups(self) -> Iterator[pl.DataFrame]:
        rng = stream(self.config.seed, "groups")
        kinds = rng.choice(["Society", "Club", "Lovers", "Daily", "Pool", "Collective"], len(self.group_style))
        names = [f"{title} {kind}" for title, kind in zip(_titles(self.group_style, rng), kinds, strict=True)]
        yield pl.DataFrame({"group_id": self._group_ids(), "name": names})

    def memberships(self) -> Iterator[pl.DataFrame]:
        """Groups of each user, mostly of similar taste; a third of the users are in none."""
        group_ids = self._group_ids()
        for users in _blocks(self.config.users):
            rng = stream(self.config.seed, f"memberships {users[0]}")
            counts = long_tail(rng.normal(size=len(users)), 3.0, 0.8, 30)
            counts[rng.random(len(users)) < 0.33] = 0
            user, group = self._pairs(users, counts, self.group_of_style, rng)
            yield pl.DataFrame({"user_id": self.user_ids[user], "group_id": group_ids[group]})

    def users(self) -> Iterator[pl.DataFrame]:
        rng = stream(self.config.seed, "users")
        shades = rng.choice([shade for style in STYLES for shade in style.shades], self.config.users)
        animals = rng.choice(ANIMALS.split(), self.config.users)
        names = [f"{shade} {animal}".title() for shade, animal in zip(shades, animals, strict=True)]
        yield pl.DataFrame({"user_id": self.user_ids, "name": names})

    def images(self) -> Iterator[pl.DataFrame]:
        rng = stream(self.config.seed, "images")
        owner = self.user_of_style.draw(self.image_style, rng)
        yield pl.DataFrame(
            {
                "image_id": self.image_ids,
                "path": [self.path(row) for row in range(self.config.images)],
                "owner_id": self.user_ids[owner],
                "title": _titles(self.image_style, rng),
                "uploaded_at": pl.from_epoch(pl.Series(self.uploaded_at)).dt.replace_time_zone("UTC"),
            }
        )

    def _group_ids(self) -> pl.Series:
        return pl.Series([f"g{row:05d}" for row in range(len(self.group_style))])

    def _pairs(
        self, users: np.ndarray, counts: np.ndarray, choices: Choices, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distinct (user, item) pairs, up to `counts` per user: a style by the user's taste, then an item by the style.

        Samples 1.5 times the counts: without spare draws, users with many items of one style would end well below
        their count, and with many more, popular styles would be exhausted to the last image.
        """
        user = users.repeat(counts + counts // 2)
        item = choices.draw(self.style_of_user.draw(user, rng), rng)
        first = np.sort(np.unique(user * choices.num_items + item, return_index=True)[1])
        user, item = user[first], item[first]
        kept = np.arange(len(user)) - np.searchsorted(user, user) < counts[user - users[0]]
        return user[kept], item[kept]


def _blocks(num_rows: int) -> Iterator[np.ndarray]:
    for start in range(0, num_rows, BLOCK):
        yield np.arange(start, min(start + BLOCK, num_rows))


def _titles(styles: np.ndarray, rng: np.random.Generator) -> list[str]:
    phrases = np.char.title([style.phrases for style in STYLES])
    titles: list[str] = phrases[styles, rng.integers(0, phrases.shape[1], len(styles))].tolist()
    return titles


def _write_table(frames: Iterator[pl.DataFrame], file: Path) -> None:
    """Write one file, block after block, in the format of its name's ending."""
    if file.suffix == ".parquet":
        first = next(frames).to_arrow()
        with pq.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            for frame in frames:
                writer.write_table(frame.to_arrow())
        return
    with file.open("wb") as stream:
        for number, frame in enumerate(frames):
            if file.suffix == ".csv":
                frame.write_csv(stream, include_header=number == 0)
            else:
                frame.write_ndjson(stream)
