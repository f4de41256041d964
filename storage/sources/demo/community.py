"""The built-in demo community: a generated source directory in which pictures, tags, contacts and groups carry taste.

Users prefer one to three of sixteen visual styles (`demo_styles.py`). What a user favorites, which words they use, whom
they follow and what they join are all drawn from that taste, with long tails as in the CDL paper's Fig. 4 and some
noise, so that a model can learn from tags what a user wants to see, and popularity alone cannot tell.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from scipy.special import ndtr, ndtri

from storage.sources.demo.pictures import picture
from storage.sources.demo.styles import ANIMALS, STYLES, vocabulary
from storage.tombstones import NOBODY, Tombstones

BLOCK = 8_192  # users or images drawn at once: memory follows the block, not the community
PICTURES_PER_REPORT = 100
START, END = (int(np.datetime64(day, "s").astype(np.int64)) for day in ("2024-01-01", "2025-01-01"))

Progress = Callable[[int, int], None]  # called with the pictures drawn so far and their total


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How large the demo community is, and how plainly its members show their taste."""

    users: int = 1500  # people in the community, some of them without favorites, contacts or groups
    images: int = 3000  # pictures drawn; memory and time grow with it in proportion
    picture_px: int = 96  # side of a picture in pixels
    seed: int = 0  # equal settings and seed give equal bytes
    median_favorites: float = 11.5  # about the favorites of the median user; the mean is twice that
    max_favorites: int = 220  # nobody has more favorites than this
    median_tags: float = 28.0  # about the words of the median user, counted with repetition
    off_taste: float = 0.12  # share of favorites, words, contacts and groups drawn without regard to taste
    untagged: float = 0.04  # share of images that carry no tag
    unseen: float = 0.03  # share of images, the newest, that nobody has favorited yet

    def __post_init__(self) -> None:
        for name, least in (("users", 2), ("images", 1), ("picture_px", 8), ("seed", 0), ("max_favorites", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"demo.{name} = {value}: it must be at least {least}")
        for name in ("off_taste", "untagged", "unseen"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"demo.{name} = {value}: it is a share, from 0 to below 1")
        for name in ("median_favorites", "median_tags"):
            if (value := getattr(self, name)) <= 0:
                raise ValueError(f"demo.{name} = {value}: it must be above 0")


def write_demo(
    config: DemoConfig,
    folder: Path,
    progress: Progress = lambda _done, _total: None,
    forgotten: Tombstones = NOBODY,
) -> None:
    """Write the demo community as a source directory (source contract), each allowed format in use.

    Whoever was forgotten is drawn with all others, so that these stay who they are, and left out of what is written.

    `images.parquet`, the one table a source cannot lack, is written last, so an interrupted write is never taken for
    a whole community; writing again into the same folder completes it.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "images.parquet").unlink(missing_ok=True)
    community = _Community(config)
    for row in range(config.images):
        style = STYLES[community.image_style[row]]
        if not forgotten.hold("image", community.image_ids[row]):
            drawn = picture(style, config.picture_px, _rng(config, f"picture {row}"))
            drawn.save(folder / community.path(row), quality=90)
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


class Choices:
    """A distribution over N items for each of R rows; a draw is one binary search, so millions of draws are cheap."""

    def __init__(self, weights_RN: np.ndarray) -> None:
        self.num_items = weights_RN.shape[1]
        cumulative = weights_RN.cumsum(axis=1)
        self._cumulative = (cumulative / cumulative[:, -1:] + np.arange(len(weights_RN))[:, None]).ravel()

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 item for each row number in `rows`, drawn with replacement."""
        found = np.searchsorted(self._cumulative, rows + rng.random(len(rows)), side="right") - rows * self.num_items
        return np.asarray(np.minimum(found, self.num_items - 1))  # rounding may lift a draw past its row's end


class _Community:
    """Who likes what, drawn once; every method yields one table in blocks. S styles, U users, I images, G groups."""

    def __init__(self, config: DemoConfig) -> None:
        self.config = config
        rng = _rng(config, "taste")
        self.user_ids = pl.Series([f"u{row:06d}" for row in range(config.users)])
        self.image_ids = pl.Series([f"i{row:06d}" for row in range(config.images)])

        # Images, in the order of their upload.
        self.image_style = rng.permutation(config.images) % len(STYLES)
        self.uploaded_at = np.sort(rng.integers(START, END, config.images))
        appeal = rng.lognormal(0.0, 0.8, config.images)
        appeal[config.images - int(config.images * config.unseen) :] = 0
        self.image_of_style = self._choices(np.eye(len(STYLES))[:, self.image_style] * appeal)

        # Users: one to three styles each, some styles commoner than others.
        fashion = rng.lognormal(0.0, 0.3, len(STYLES))
        order = np.argsort(np.log(fashion) + rng.gumbel(size=(config.users, len(STYLES))), axis=1)[:, ::-1]
        num_styles = rng.choice([1, 2, 3], config.users, p=[0.4, 0.4, 0.2])
        taste_US = np.zeros((config.users, len(STYLES)))
        strength = rng.gamma(3.0, size=(config.users, 3)) * (np.arange(3) < num_styles[:, None])
        np.put_along_axis(taste_US, order[:, :3], strength, axis=1)
        self.taste_US = taste_US / taste_US.sum(axis=1, keepdims=True)
        self.style_of_user = Choices(self.taste_US)
        self.activity = rng.normal(size=config.users)  # standard normal: favorites, words and contacts follow it
        self.user_of_style = self._choices(self.taste_US.T * np.exp(0.6 * self.activity))

        # Groups, each on one style, their sizes long-tailed.
        num_groups = max(2, config.users // 20)
        self.group_style = rng.integers(0, len(STYLES), num_groups)
        draw_of_group = (1.0 + rng.permutation(num_groups)) ** -0.8
        self.group_of_style = self._choices(np.eye(len(STYLES))[:, self.group_style] * draw_of_group)

        self.tags, tag_weights = vocabulary()
        self.tag_of_style = Choices(tag_weights)

    def _choices(self, weights_SN: np.ndarray) -> Choices:
        """By style, with `off_taste` of the draws, and all those of a style without items, from everything there is."""
        totals = weights_SN.sum(axis=1, keepdims=True)
        anything = weights_SN.sum(axis=0) / weights_SN.sum()
        tasteful = np.where(totals > 0, weights_SN, anything) / np.where(totals > 0, totals, 1)
        return Choices((1 - self.config.off_taste) * tasteful + self.config.off_taste * anything)

    def path(self, row: int) -> str:
        return f"images/{self.image_ids[row]}.jpg"

    def favorites(self) -> Iterator[pl.DataFrame]:
        """A user's favorites, never one before its upload, most of them soon after."""
        most = min(self.config.max_favorites, max(1, self.config.images // 3))
        for users in _blocks(self.config.users):
            rng = _rng(self.config, f"favorites {users[0]}")
            counts = _long_tail(self.activity[users], self.config.median_favorites, 1.6, most)
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
            rng = _rng(self.config, f"image tags {images[0]}")
            counts = _long_tail(rng.normal(size=len(images)), 6.0, 0.6, 40)
            counts[rng.random(len(images)) < self.config.untagged] = 0
            image = images.repeat(counts)
            pairs = np.unique(image * len(tags) + self.tag_of_style.draw(self.image_style[image], rng))
            yield pl.DataFrame({"image_id": self.image_ids[pairs // len(tags)], "tag": tags[pairs % len(tags)]})

    def user_tags(self) -> Iterator[pl.DataFrame]:
        """Active users use more words, loosely. A user of 200 words has some 100 different ones."""
        tags = pl.Series(self.tags)
        for users in _blocks(self.config.users):
            rng = _rng(self.config, f"user tags {users[0]}")
            talkative = 0.85 * self.activity[users] + 0.53 * rng.normal(size=len(users))
            user = users.repeat(_long_tail(talkative, self.config.median_tags, 1.8, 800))
            style = self.style_of_user.draw(user, rng)
            strays = rng.random(len(user)) < self.config.off_taste
            style[strays] = rng.integers(0, len(STYLES), strays.sum())
            pairs, counts = np.unique(user * len(tags) + self.tag_of_style.draw(style, rng), return_counts=True)
            yield pl.DataFrame(
                {"user_id": self.user_ids[pairs // len(tags)], "tag": tags[pairs % len(tags)], "count": counts}
            )

    def contacts(self) -> Iterator[pl.DataFrame]:
        """Whom each user follows, mostly people of like taste; a fifth follow nobody, a third of the rest follow back.

        Not in blocks, since a user may follow back somebody of another block: 16 bytes a contact are held.
        """
        rng, users = _rng(self.config, "contacts"), np.arange(self.config.users)
        counts = _long_tail(rng.normal(size=len(users)) + 0.5 * self.activity, 4.0, 0.9, 150)
        counts[rng.random(len(users)) < 0.2] = 0
        user, contact = self._pairs(users, counts, self.user_of_style, rng)
        follows_back = (rng.random(len(user)) < 0.33) & (counts[contact] > 0)
        pairs = np.concatenate([user * len(users) + contact, (contact * len(users) + user)[follows_back]])
        user, contact = np.divmod(np.unique(pairs), len(users))
        is_other = user != contact
        yield pl.DataFrame({"user_id": self.user_ids[user[is_other]], "contact_id": self.user_ids[contact[is_other]]})

    def groups(self) -> Iterator[pl.DataFrame]:
        rng = _rng(self.config, "groups")
        kinds = rng.choice(["Society", "Club", "Lovers", "Daily", "Pool", "Collective"], len(self.group_style))
        names = [f"{title} {kind}" for title, kind in zip(_titles(self.group_style, rng), kinds, strict=True)]
        yield pl.DataFrame({"group_id": self._group_ids(), "name": names})

    def memberships(self) -> Iterator[pl.DataFrame]:
        """The groups each user joined, mostly of like taste; a third of the users joined none."""
        group_ids = self._group_ids()
        for users in _blocks(self.config.users):
            rng = _rng(self.config, f"memberships {users[0]}")
            counts = _long_tail(rng.normal(size=len(users)), 3.0, 0.8, 30)
            counts[rng.random(len(users)) < 0.33] = 0
            user, group = self._pairs(users, counts, self.group_of_style, rng)
            yield pl.DataFrame({"user_id": self.user_ids[user], "group_id": group_ids[group]})

    def users(self) -> Iterator[pl.DataFrame]:
        rng = _rng(self.config, "users")
        shades = rng.choice([shade for style in STYLES for shade in style.shades], self.config.users)
        animals = rng.choice(ANIMALS.split(), self.config.users)
        names = [f"{shade} {animal}".title() for shade, animal in zip(shades, animals, strict=True)]
        yield pl.DataFrame({"user_id": self.user_ids, "name": names})

    def images(self) -> Iterator[pl.DataFrame]:
        rng = _rng(self.config, "images")
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
        """Distinct (user, item) pairs, up to `counts` a user, items chosen by a style that is chosen by taste.

        Half as many draws again as are wanted: without the spare ones, users who want much of one style would end
        well below their count, and with many more the favorite styles would be exhausted to the last image.
        """
        user = users.repeat(counts + counts // 2)
        item = choices.draw(self.style_of_user.draw(user, rng), rng)
        first = np.sort(np.unique(user * choices.num_items + item, return_index=True)[1])
        user, item = user[first], item[first]
        kept = np.arange(len(user)) - np.searchsorted(user, user) < counts[user - users[0]]
        return user[kept], item[kept]


def _rng(config: DemoConfig, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose, so that one table's length never moves another's draws."""
    return np.random.default_rng([config.seed, zlib.crc32(purpose.encode())])


def _blocks(num_rows: int) -> Iterator[np.ndarray]:
    for start in range(0, num_rows, BLOCK):
        yield np.arange(start, min(start + BLOCK, num_rows))


def _long_tail(normal: np.ndarray, median: float, spread: float, most: int) -> np.ndarray:
    """int64 counts from 0 to `most`: standard normals to a log-normal, the tail beyond `most` folded back below it."""
    limit = np.log((most + 1) / median) / spread
    counts = median * np.exp(spread * ndtri(ndtr(normal) * ndtr(limit)))
    return np.asarray(np.minimum(counts.astype(np.int64), most))


def _titles(styles: np.ndarray, rng: np.random.Generator) -> list[str]:
    phrases = np.char.title([style.phrases for style in STYLES])
    titles: list[str] = phrases[styles, rng.integers(0, phrases.shape[1], len(styles))].tolist()
    return titles


def _write_table(frames: Iterator[pl.DataFrame], file: Path) -> None:
    """One file in the format that its name says, block after block."""
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
