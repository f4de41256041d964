"""Held-out favorites that one signal betrays are found no more often than by chance.

Each user has favorites to learn from, and four images that are held out with all their favorites. In one way at a time
these images alone are marked as the user's: by a tag, title, feature or owner that no image to learn from has, by a
tag that the user takes up only later, or by a contact or a fellow of a group who has them as favorites, held out too.
What marks an image is no secret, but whose it is only held-out favorites say. Each test first lets some of that
through, and sees the system find the rest.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows import settings
from flows.compare import final_tables, prepare, prepare_images
from models.settings.splits import SplitConfig
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.tables.community import FAVORITES
from storage.tables.splits import CONCEALED
from tasks.data.ingest import ingest
from tasks.data.pairs import take_pairs
from tasks.evaluation.measure import score_system
from tasks.evaluation.records import EvaluationSplit
from tasks.evaluation.splits import draw_split
from tests import world
from tests.flows.without_prefect import run_stages_here
from tests.tasks.evaluation.comparison import SMALL

NUM_USERS, LEARNED, HELDOUT = 24, 8, 4  # images of each user
SPARE = NUM_USERS  # images without favorites
USERS = [f"user{row:02d}" for row in range(NUM_USERS)]
FRIENDS = [f"friend{row:02d}" for row in range(NUM_USERS)]  # each has the held-out favorites of a user and no others
IS_FRIEND = pl.col("user_id").is_in(FRIENDS)
K = 20
CHANCE = K / (HELDOUT * NUM_USERS)  # of a held-out image among the first twenty of those without favorites
LIMIT = CHANCE + 4 * (CHANCE * (1 - CHANCE) / (HELDOUT * NUM_USERS)) ** 0.5  # four standard errors above
SECOND, LATER = 1_000_000_000, 1_100_000_000
CONFIG = settings.validate_comparison({**world.SETTINGS, "clusters": {"num_clusters": 6}})
SMALL_ENSEMBLE = {"tower_steps": 20, "factor_dimensions": 16, "coded_dimensions": 16}
Rows = list[tuple[Any, ...]]


@dataclass
class Planted:
    """The rows of a source, to which one way of betrayal is added."""

    way: str
    tables: dict[str, Rows] = field(default_factory=dict)
    test: Rows = field(default_factory=list)

    def add(self, name: str, *rows: tuple[Any, ...]) -> None:
        self.tables.setdefault(name, []).extend(rows)


def planted(way: str) -> Planted:
    """The community with one way of betrayal; without any where `way` names none."""
    rng = np.random.default_rng(3)
    names = [f"image{row:03d}" for row in rng.permutation(NUM_USERS * (LEARNED + HELDOUT) + SPARE)]
    source = Planted(way)
    for row, user in enumerate(USERS):
        own = names[row * (LEARNED + HELDOUT) : (row + 1) * (LEARNED + HELDOUT)]
        spare = names[-1 - row]
        for image in own[:LEARNED]:
            source.add("favorites", (user, image, SECOND), (USERS[row - 1], image, SECOND))
        for image in own[LEARNED:]:
            source.test += [(user, image), (FRIENDS[row], image)]
            source.add("favorites", (user, image, LATER), (FRIENDS[row], image, LATER))
        for image in [*own, spare]:
            is_marked = image not in own[:LEARNED]
            mark = np.eye(NUM_USERS)[row] if is_marked and way == "feature" else rng.normal(0, 0.1, NUM_USERS)
            source.add("image_features", (image, mark.tolist()))
            title = f"of {user}" if is_marked and way == "title" else None
            source.add("images", (image, user if is_marked and way == "owner" else None, title))
            if is_marked and way == "tag":
                source.add("tag_assignments", (user, image, f"by {user}", SECOND))
            if is_marked and way == "time":  # somebody else's tag, which the user takes up later, on another image
                source.add("tag_assignments", (FRIENDS[row - 5], image, f"by {user}", SECOND))
        if way == "time":
            source.add("tag_assignments", (user, names[-row], f"by {user}", LATER))
        if way in ("contact", "group"):  # the friend shares what is learned from as well
            source.add("favorites", *((FRIENDS[row], image, SECOND) for image in own[:LEARNED]))
            source.add("contacts", *[(user, FRIENDS[row])] * (way == "contact"))
        if way == "group":
            source.add("groups", (f"of {user}",))
            source.add("memberships", *((member, f"of {user}") for member in (user, FRIENDS[row])))
    given = source.tables.get("tag_assignments", [])
    source.add("image_tags", *sorted({(image, tag) for _, image, tag, _ in given}))
    source.add("user_tags", *sorted({(user, tag) for user, _, tag, _ in given}))
    source.add("users", *((user,) for user in (*USERS, *FRIENDS)))
    return source


COLUMNS = {
    "users": ["user_id"],
    "images": ["image_id", "owner_id", "title"],
    "favorites": ["user_id", "image_id", "favorited_at"],
    "image_features": ["image_id", "feature"],
    "image_tags": ["image_id", "tag"],
    "user_tags": ["user_id", "tag"],
    "contacts": ["user_id", "contact_id"],
    "groups": ["group_id"],
    "memberships": ["user_id", "group_id"],
    "tag_assignments": ["user_id", "image_id", "tag", "tagged_at"],
}


@dataclass(frozen=True)
class Trial:
    """An ingested source and its split: by the file of held-out favorites, or by time."""

    table: dict[str, Ref]
    split: EvaluationSplit
    known: dict[str, Ref]
    root: Root

    def recall(self, system: str, known: dict[str, Ref], training: Ref, heldout: Ref) -> float:
        """The share of held-out favorites among the first twenty of the images that are as cold as they are."""
        images = prepare_images(self.root, known, [system], CONFIG, self.root)
        tables = prepare(images, known, training, [system], CONFIG, self.root)
        own = SMALL_ENSEMBLE if system == "tastegraph" else {}
        split = EvaluationSplit(**{**vars(self.split), "training": training, "heldout": heldout})
        scored = score_system.fn(system, "1", own, 0, tables, split, self.root)
        rows = parquet.read(scored.figures, self.root).to_pylist()
        recall = {row["slice"]: row["value"] for row in rows if (row["metric"], row["k"]) == ("recall", K)}
        return float(recall.get("cold", recall["all"]))

    @property
    def heldout(self) -> Ref:
        """The users' held-out favorites, without those of their friends."""
        rows = pl.DataFrame(parquet.read(self.split.heldout, self.root)).filter(~IS_FRIEND)
        return parquet.write(CONCEALED, rows, self.root)

    def honest(self, system: str) -> float:
        return self.recall(system, self.known, self.split.training, self.heldout)

    def leaking_tags(self, system: str) -> float:
        """With tags as they were ingested."""
        return self.recall(system, self.table, self.split.training, self.heldout)

    def leaking_favorites(self, system: str) -> float:
        """With two of the four of each user let through; on the other two."""
        is_first = pl.int_range(pl.len()).over("user_id") < HELDOUT // 2
        return self._leaking(system, ~IS_FRIEND & is_first)

    def leaking_friends(self, system: str) -> float:
        """With the favorites of the friends let through."""
        return self._leaking(system, IS_FRIEND)

    def _leaking(self, system: str, is_through: pl.Expr) -> float:
        """With these held-out favorites let through; on the users' others."""
        heldout = pl.DataFrame(parquet.read(self.split.heldout, self.root)).sort("user_id", "image_id")
        through, rest = heldout.filter(is_through), heldout.filter(~is_through & ~IS_FRIEND)
        through = through.with_columns(favorited_at=pl.lit(None, pl.Datetime("ms", "UTC")))
        training = pl.concat([pl.DataFrame(parquet.read(self.split.training, self.root)), through])
        return self.recall(
            system,
            self.known,
            parquet.write(FAVORITES, training, self.root),
            parquet.write(CONCEALED, rest, self.root),
        )


@pytest.fixture
def trial(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    run_stages_here(monkeypatch)
    source, root = planted(way), Root(str(tmp_path / "root"))
    for name, rows in source.tables.items():
        frame = pl.DataFrame(rows, COLUMNS[name], orient="row", infer_schema_length=None)
        frame.write_parquet(tmp_path / f"{name}.parquet")
    pl.DataFrame(source.test, ["user_id", "image_id"], orient="row").write_csv(tmp_path / "test.csv")
    table = ingest.fn(Root(str(tmp_path)), "1", IngestConfig(), False, root).tables
    is_by_time, test = way == "time", take_pairs(str(tmp_path / "test.csv"), root)
    # The friends have four favorites, all late: too few to be tested by their own times.
    splits = SplitConfig(time_of="community", latest_share=0.4)
    split = draw_split.fn(
        table, "time" if is_by_time else "full", None if is_by_time else test, None, splits, SMALL, root
    )
    return Trial(table, split.final, final_tables(table, split, root), root)


@pytest.mark.parametrize("system", ["tag_profile"])
@pytest.mark.parametrize("way", ["tag", "time"])
def test_tags_betray_nothing(trial: Trial, system: str) -> None:
    assert trial.leaking_tags(system) > 0.8
    assert trial.honest(system) < LIMIT


@pytest.mark.parametrize(
    ("way", "system"),
    [
        ("feature", "visrank"),
        ("feature", "tastegraph"),
        ("title", "tastegraph"),
        ("owner", "tastegraph"),
        ("title", "collaborative_dl"),
    ],
)
def test_what_is_learned_from_links_no_user_with_what_marks_held_out_images(trial: Trial, system: str) -> None:
    assert trial.leaking_favorites(system) > 0.8
    assert trial.honest(system) < LIMIT


@pytest.mark.parametrize("system", ["tastegraph"])
@pytest.mark.parametrize("way", ["contact", "group"])
def test_held_out_favorites_of_contacts_and_fellows_reach_no_system(trial: Trial, system: str) -> None:
    assert trial.leaking_friends(system) > 0.8
    assert trial.honest(system) < LIMIT
