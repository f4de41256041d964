"""The demo community: a valid source whose favorites, tags, contacts and pictures show taste, equal for equal seeds."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from storage.settings.demo import DemoConfig
from storage.sources.demo.community import write_demo
from storage.sources.demo.styles import STYLES, vocabulary

SMALL = DemoConfig(users=200, images=240, picture_px=32)
READERS = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo(SMALL, folder)
    return folder


@pytest.fixture(scope="module")
def tables(folder) -> dict[str, pl.DataFrame]:
    return {file.stem: READERS[file.suffix](file) for file in sorted(folder.iterdir()) if file.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def styles_by_tags(tables) -> pl.DataFrame:
    """The style of each image with a shade among its tags, which only one style has."""
    shades = [(shade, number) for number, style in enumerate(STYLES) for shade in style.shades]
    of_shade = pl.DataFrame(shades, schema=["tag", "style"], orient="row")
    return tables["image_tags"].join(of_shade, on="tag").group_by("image_id").agg(pl.col("style").mode().min())


def test_equal_seeds_give_equal_bytes_and_another_seed_gives_others(folder, tmp_path):
    write_demo(SMALL, tmp_path / "again")
    write_demo(replace(SMALL, seed=1), tmp_path / "other")
    first, again, other = (content(place) for place in (folder, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert [name for name in first if first[name] == other[name]] == []


def test_a_community_is_as_large_as_its_settings_say(tmp_path):
    reports = []
    config = DemoConfig(users=7, images=130, picture_px=16, max_favorites=3)
    write_demo(config, tmp_path, lambda done, total: reports.append((done, total)))
    assert reports == [(100, 130), (130, 130)]
    assert len(list((tmp_path / "images").iterdir())) == len(pl.read_parquet(tmp_path / "images.parquet")) == 130
    assert len(pl.read_csv(tmp_path / "users.csv")) == 7
    assert pl.read_csv(tmp_path / "favorites.csv").group_by("user_id").len()["len"].max() <= 3


def test_the_smallest_community_is_a_source(tmp_path):
    write_demo(DemoConfig(users=2, images=1, picture_px=8, off_taste=0), tmp_path)
    assert pl.read_parquet(tmp_path / "images.parquet")["path"].to_list() == ["images/i000000.jpg"]


def test_users_sampled_in_several_blocks_are_one_community(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.sources.demo.community.BLOCK", 64)
    write_demo(SMALL, tmp_path)
    favorites = pl.read_csv(tmp_path / "favorites.csv")
    assert favorites["user_id"].is_sorted()
    assert favorites["user_id"].max() > "u000190"
    assert not favorites.select("user_id", "image_id").is_duplicated().any()


def test_every_table_is_one_file_and_all_three_formats_are_in_use(folder):
    files = [file for file in folder.iterdir() if file.is_file()]
    names = {"images", "favorites", "image_tags", "user_tags", "contacts", "groups", "memberships", "users"}
    assert sorted(file.stem for file in files) == sorted(names)
    assert {file.suffix for file in files} == set(READERS)
    with (folder / "image_tags.jsonl").open() as lines:
        assert all(json.loads(line).keys() == {"image_id", "tag"} for line in lines)


def test_rows_are_unique_and_name_existing_ids(tables):
    keys = {
        "images": ["image_id"],
        "favorites": ["user_id", "image_id"],
        "image_tags": ["image_id", "tag"],
        "user_tags": ["user_id", "tag"],
        "contacts": ["user_id", "contact_id"],
        "groups": ["group_id"],
        "memberships": ["user_id", "group_id"],
        "users": ["user_id"],
    }
    known = {name: set(tables[f"{name}s"][f"{name}_id"]) for name in ("user", "image", "group")}
    references = {"user_id": "user", "contact_id": "user", "owner_id": "user", "image_id": "image", "group_id": "group"}
    for name, key in keys.items():
        assert not tables[name].select(key).is_duplicated().any(), name
        for column in set(tables[name].columns) & set(references):
            assert set(tables[name][column]) <= known[references[column]], (name, column)
    assert tables["contacts"].filter(pl.col("user_id") == pl.col("contact_id")).is_empty()
    assert tables["user_tags"]["count"].min() >= 1


def test_every_image_row_has_its_picture(folder, tables):
    for path in tables["images"]["path"]:
        with Image.open(folder / path) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))


def test_no_image_is_a_favorite_before_its_upload(tables):
    times = tables["favorites"].with_columns(
        pl.col("favorited_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    )
    times = times.join(tables["images"], on="image_id")
    assert (times["favorited_at"] >= times["uploaded_at"]).all()
    assert set(times["favorited_at"].dt.year()) == {2024}


def test_favorites_and_tags_have_long_tails_and_some_users_and_images_have_none(tables):
    for name in ("favorites", "user_tags"):
        counts = tables[name].group_by("user_id").len()["len"]
        assert counts.mean() > 1.3 * counts.median() > 0, name
    popularity = tables["favorites"].group_by("image_id").len()["len"]
    assert popularity.max() > 3 * popularity.median()
    for name, owner, number in (
        ("favorites", "image_id", SMALL.images),
        ("image_tags", "image_id", SMALL.images),
        ("contacts", "user_id", SMALL.users),
        ("memberships", "user_id", SMALL.users),
    ):
        assert 0 < tables[name][owner].n_unique() < number, (name, owner)


def test_two_favorites_of_one_user_share_their_style_far_more_often_than_two_random_ones(tables):
    styled = tables["favorites"].join(styles_by_tags(tables), on="image_id")
    pairs = styled.join(styled, on="user_id").filter(pl.col("image_id") < pl.col("image_id_right"))
    own = (pairs["style"] == pairs["style_right"]).mean()
    anybody = (styled["style"].value_counts()["count"] / len(styled)).pow(2).sum()
    assert own > 4 * anybody


def test_users_use_the_tags_of_their_favorites_and_follow_users_with_these_tags(tables):
    users = {user: row for row, user in enumerate(tables["users"]["user_id"])}
    tags = {tag: column for column, tag in enumerate(vocabulary()[0])}
    words = np.zeros((2, len(users), len(tags)))  # used by the user; carried by the user's favorites
    carried = tables["favorites"].join(tables["image_tags"], on="image_id")
    for number, rows in enumerate((tables["user_tags"], carried)):
        np.add.at(words[number], ([users[user] for user in rows["user_id"]], [tags[tag] for tag in rows["tag"]]), 1)
    used, seen = words / np.maximum(np.linalg.norm(words, axis=2, keepdims=True), 1)
    likeness = used @ seen.T
    assert np.diag(likeness).mean() > 1.5 * likeness.mean()
    follower, followed = ([users[user] for user in tables["contacts"][side]] for side in ("user_id", "contact_id"))
    assert (used @ used.T)[follower, followed].mean() > 1.5 * (used @ used.T).mean()


@pytest.mark.parametrize(("name", "value"), [("users", 1), ("images", 0), ("off_taste", 1.0), ("median_tags", 0.0)])
def test_an_impossible_setting_is_refused_by_name_and_value(name, value):
    assert name in {field.name for field in fields(DemoConfig)}
    with pytest.raises(ValueError, match=f"demo.{name} = {value}"):
        DemoConfig(**{name: value})
