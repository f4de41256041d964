"""Tombstones of a root, and those that a source lists."""

import json
from pathlib import Path

import polars as pl
import pytest

from storage import tombstones
from storage.roots import Root
from storage.settings.demo import DemoConfig
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.sources.demo.community import write_demo
from storage.sources.directory import Community
from storage.sources.table_files import SourceError
from storage.tombstones import Tombstones

ANNA = {"user": frozenset({"anna-7f3a91"})}
TABLES = {
    "images": "image_id,path,url,owner_id,title\n"
    "i1,p/i1.jpg,https://host/anna-7f3a91/i1,anna-7f3a91,of anna-7f3a91\n"
    "i2,p/i2.jpg,https://host/ben/i2,ben,two\n"
    "i3,i3-41cc20.jpg,https://host/ben/i3,ben,three\n",
    "favorites": "user_id,image_id\nanna-7f3a91,i2\nben,i1\nben,i3\n",
    "contacts": "user_id,contact_id\nben,anna-7f3a91\nanna-7f3a91,ben\nben,cleo\n",
    "user_tags": "user_id,tag\nanna-7f3a91,sea\nben,sky\n",
    "users": "user_id,name\nanna-7f3a91,Anna\nben,Ben\ncleo,Cleo\n",
}


def write(folder: Path, **changes: str) -> Root:
    for name, text in {**TABLES, **changes}.items():
        (folder / f"{name}.csv").write_text(text)
    return Root(str(folder))


def text_of(community: Community) -> str:
    """The whole output of an ingest as text."""
    rows = [table.to_dicts() for table in (*community.tables.values(), community.quarantine)]
    return json.dumps([rows, community.report], default=str)


def test_a_tombstone_stands_for_its_kind_and_holds_no_byte_of_the_id(tmp_path):
    root = Root(str(tmp_path))
    tombstones.add(ANNA, root)
    tombstones.add({"image": frozenset({"i9-ab12cd"})}, root)
    stored = tombstones.read(root)

    assert stored.hold("user", "anna-7f3a91")
    assert stored.hold("image", "i9-ab12cd")
    assert not stored.hold("image", "anna-7f3a91")
    assert not stored.hold("user", "anna-7f3a9")
    assert b"anna" not in root.read(tombstones.PATH)


def test_two_roots_write_different_tombstones_for_one_id():
    assert Tombstones().with_(ANNA).digests.isdisjoint(Tombstones().with_(ANNA).digests)


def test_rows_of_a_forgotten_user_are_left_out_counted_and_not_quarantined(tmp_path):
    community = directory.ingest(write(tmp_path), IngestConfig(), Tombstones().with_(ANNA))
    counted = {name: table["forgotten"] for name, table in community.report["tables"].items() if table["forgotten"]}

    assert "anna-7f3a91" not in text_of(community)
    assert counted == {"users": 1, "favorites": 1, "user_tags": 1, "contacts": 2}
    assert community.quarantine.is_empty()
    assert community.tables["contacts"].rows() == [("ben", "cleo")]
    assert all(table["duplicates"] == 0 for table in community.report["tables"].values())


def test_a_forgotten_owner_s_picture_stays_without_the_owner_and_texts_that_spell_the_id(tmp_path):
    community = directory.ingest(write(tmp_path), IngestConfig(), Tombstones().with_(ANNA))
    first, second = community.tables["images"].rows(named=True)[:2]

    assert (first["image_id"], first["path"]) == ("i1", "p/i1.jpg")
    assert (first["owner_id"], first["url"], first["title"]) == (None, None, None)
    assert (second["owner_id"], second["title"]) == ("ben", "two")
    assert community.report["tables"]["images"]["cleared"] == 1


def test_a_forgotten_image_is_in_no_table_and_its_file_is_no_unknown_one(tmp_path):
    source = write(tmp_path)
    (tmp_path / "i3-41cc20.jpg").write_bytes(b"jpeg")
    community = directory.ingest(source, IngestConfig(), Tombstones().with_({"image": frozenset({"i3"})}))

    assert "i3" not in text_of(community)
    assert community.tables["favorites"].height == 2
    assert community.report["unknown_files"] == []


def test_a_file_of_tombstones_without_the_sizes_of_ids_finds_as_much(tmp_path):
    root = Root(str(tmp_path))
    tombstones.add(ANNA, root)
    file = json.loads(root.read(tombstones.PATH))
    assert file.pop("sizes") == [11]
    root.write(tombstones.PATH, json.dumps(file).encode())
    tombstones.add({"user": frozenset({"marie-louise"})}, root)
    stones = tombstones.read(root)

    assert stones.name_in("a view by anna-7f3a91")
    assert stones.name_in("a view by marie-louise")
    assert not stones.name_in("a view by anna-7f3a92")


def test_a_source_s_own_tombstones_count_and_do_not_become_a_table(tmp_path):
    source = write(tmp_path, tombstones="kind,id\nuser,anna-7f3a91\nimage,i3\n")
    community = directory.ingest(source, IngestConfig())

    assert "anna-7f3a91" not in text_of(community)
    assert community.tables["images"]["image_id"].to_list() == ["i1", "i2"]
    assert "tombstones" not in community.tables
    assert community.report["tables"]["tombstones"]["read"] == 2
    assert directory.tombstones_of(source) == {"user": {"anna-7f3a91"}, "image": {"i3"}}


def test_a_source_s_tombstones_are_part_of_its_digest(tmp_path):
    before = directory.tables_digest(write(tmp_path))

    assert directory.tables_digest(write(tmp_path, tombstones="kind,id\nuser,anna-7f3a91\n")) != before


def test_a_tombstone_of_an_unknown_kind_is_quarantined_by_its_kind(tmp_path):
    source = write(tmp_path, tombstones="kind,id\ngroup,g1\nuser,\nuser,anna-7f3a91\n")
    quarantine = directory.ingest(source, IngestConfig()).quarantine

    assert quarantine.select("row", "reason", "value").rows() == [(0, "unknown kind", "group"), (1, "missing id", None)]


def test_a_broken_line_is_counted_and_not_shown_where_anybody_was_forgotten(tmp_path):
    source = write(tmp_path, favorites=TABLES["favorites"] + "anna-7f3a91,i1,i2,i3\n")
    shown = directory.ingest(source, IngestConfig())
    hidden = directory.ingest(source, IngestConfig(), Tombstones().with_(ANNA))

    assert shown.quarantine["value"].to_list() == ["anna-7f3a91,i1,i2,i3"]
    assert hidden.quarantine["value"].to_list() == [None]


def test_numeric_ids_are_forgotten_as_their_text(tmp_path):
    source = write(tmp_path)
    for name in ("users", "contacts", "user_tags"):
        (tmp_path / f"{name}.csv").unlink()
    pl.DataFrame({"user_id": [7, 70], "image_id": ["i1", "i2"]}).write_parquet(tmp_path / "favorites.parquet")
    (tmp_path / "favorites.csv").unlink()
    community = directory.ingest(source, IngestConfig(), Tombstones().with_({"user": frozenset({"7"})}))

    assert community.tables["users"]["user_id"].to_list() == ["70"]


def test_reading_tombstones_of_a_source_without_them_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no table tombstones"):
        directory.tombstones_of(write(tmp_path))


def test_the_demo_is_written_without_the_forgotten_and_the_others_stay_who_they_are(tmp_path):
    config = DemoConfig(users=12, images=20, picture_px=8)
    gone = Tombstones().with_({"user": frozenset({"u000004"}), "image": frozenset({"i000010"})})
    folders = [tmp_path / "whole", tmp_path / "redacted"]
    for folder, forgotten in zip(folders, (Tombstones(), gone), strict=True):
        write_demo(config, folder, forgotten=forgotten)
    whole, struck = (directory.ingest(Root(str(folder)), IngestConfig(), gone) for folder in folders)

    assert all(table.equals(struck.tables[name]) for name, table in whole.tables.items())
    assert not (folders[1] / "images" / "i000010.jpg").exists()
    assert b"u000004" not in b"".join(file.read_bytes() for file in folders[1].iterdir() if file.is_file())
