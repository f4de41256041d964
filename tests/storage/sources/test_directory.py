import gzip
import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import parquet
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources.directory import Community, ingest, table_files, tables_digest
from storage.sources.table_files import SourceError
from storage.tables.community import COMMUNITY, QUARANTINE

LENIENT = IngestConfig(max_quarantined_share=1.0)
IMAGES_CSV = "image_id\ni1\ni2\ni3\n"
FAVORITES_CSV = "user_id,image_id\nu1,i1\nu2,i2\n"


def community(folder: Path, config: IngestConfig = LENIENT, **files: str | pl.DataFrame) -> Community:
    """Ingest a source of three images and two favorites, and of the given tables: CSV text, or a frame as Parquet."""
    for name, content in {"images": IMAGES_CSV, "favorites": FAVORITES_CSV, **files}.items():
        if isinstance(content, pl.DataFrame):
            content.write_parquet(folder / f"{name}.parquet")
        else:
            (folder / f"{name}.csv").write_text(content)
    return ingest(Root(str(folder)), config)


def rows(found: Community, table: str) -> list[tuple[object, ...]]:
    return found.tables[table].rows()


def quarantine(found: Community) -> list[tuple[object, ...]]:
    """Without the rows' texts."""
    return found.quarantine.drop("text").rows()


def test_images_and_favorites_are_enough(tmp_path: Path) -> None:
    found = community(tmp_path)
    assert set(found.tables) == {table.name for table in COMMUNITY} - {"image_features"}
    assert rows(found, "favorites") == [("u1", "i1", None), ("u2", "i2", None)]
    assert rows(found, "users") == [("u1", None), ("u2", None)]
    assert rows(found, "contacts") == []
    assert found.report["derived"] == ["users"]
    assert not found.report["has_user_tags"]


def test_every_table_has_the_columns_of_its_schema(tmp_path: Path) -> None:
    found = community(tmp_path, image_features=pl.DataFrame({"image_id": ["i1"], "feature": [[1.0, 2.0]]}))
    for table in COMMUNITY:
        parquet.conform(table, found.tables[table.name])
    parquet.conform(QUARANTINE, found.quarantine)


def test_a_row_without_an_id_goes_to_quarantine(tmp_path: Path) -> None:
    found = community(tmp_path, favorites="user_id,image_id\n,i1\nu1,  \nu1,i1\n")
    assert quarantine(found) == [("favorites", 0, "missing id", None), ("favorites", 1, "missing id", None)]
    assert found.report["tables"]["favorites"]["quarantined"] == {"missing id": 2}


def test_numeric_ids_are_read_as_their_decimal_text(tmp_path: Path) -> None:
    images = pl.DataFrame({"image_id": [1, 2, 30]}, {"image_id": pl.UInt16})
    favorites = pl.DataFrame({"user_id": [7.0, 8.0, float("nan")], "image_id": [1, 30, 2]})
    found = community(tmp_path, images=images, favorites=favorites)
    assert rows(found, "favorites") == [("7", "1", None), ("8", "30", None)]
    assert quarantine(found) == [("favorites", 2, "missing id", None)]


def test_csv_ids_keep_their_leading_zeros(tmp_path: Path) -> None:
    found = community(tmp_path, images="image_id\n007\n", favorites="user_id,image_id\n00,007\n0,7\n")
    assert rows(found, "favorites") == [("00", "007", None)]


def test_json_numbers_and_text_may_stand_in_one_column(tmp_path: Path) -> None:
    (tmp_path / "contacts.jsonl").write_text(
        '{"user_id": 12, "contact_id": "12.0"}\n{"user_id": "a", "contact_id": 9007199254740993}\n'
        '{"user_id": 13.0, "contact_id": true}\n{"user_id": ["a"], "contact_id": "b"}\n'
    )
    found = community(tmp_path)
    assert rows(found, "contacts") == [("12", "12.0"), ("13", "true"), ("a", "9007199254740993")]
    assert found.report["tables"]["contacts"]["quarantined"] == {"unreadable row": 1}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2020-05-06T07:08:09Z", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2020-05-06 07:08:09.999", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2020-05-06T07:08+02:00", datetime(2020, 5, 6, 5, 8, tzinfo=UTC)),
        ("2020-05-06T07:08:09-0130", datetime(2020, 5, 6, 8, 38, 9, tzinfo=UTC)),
        ("2020-05-06T07:08:09+05", datetime(2020, 5, 6, 2, 8, 9, tzinfo=UTC)),
        ("2020-05-06", datetime(2020, 5, 6, tzinfo=UTC)),
        ("86400", datetime(1970, 1, 2, tzinfo=UTC)),
        ("1.5886e9", datetime(2020, 5, 4, 13, 46, 40, tzinfo=UTC)),
        ("2020-05-06 07:08:09 UTC", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("20200506", datetime(2020, 5, 6, tzinfo=UTC)),
        ("20200506.0", datetime(2020, 5, 6, tzinfo=UTC)),
        ("2.0200506E7", datetime(2020, 5, 6, tzinfo=UTC)),
        ("20200506T070809Z", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("20200506T0708+0200", datetime(2020, 5, 6, 5, 8, tzinfo=UTC)),
        ("-0.5", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (" ", None),
    ],
)
def test_a_time_is_iso_8601_or_epoch_seconds(tmp_path: Path, text: str, time: datetime | None) -> None:
    found = community(tmp_path, favorites=f"user_id,image_id,favorited_at\nu,i1,{text}\n")
    assert rows(found, "favorites") == [("u", "i1", time)]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2020-13-01",
        "2020-05-06T25:00",
        "1588600000000",
        "inf",
        "0000-01-01",
        "2020",
        "2020.5",
        "202005",
        "20200230",
        "20201340",
        "20200506.5",
        "202005060708",
        "20200506070809",
    ],
)
def test_an_unreadable_time_goes_to_quarantine(tmp_path: Path, text: str) -> None:
    found = community(tmp_path, favorites=f"user_id,image_id,favorited_at\nu,i1,{text}\nu,i2,\n")
    assert quarantine(found) == [("favorites", 0, "unreadable time", text)]


def test_what_databases_write_for_a_missing_value_is_one_where_no_id_or_tag_may_be_called_so(tmp_path: Path) -> None:
    found = community(
        tmp_path,
        images="image_id,url,title\ni1,NULL,\\N\ni2,\\N,NULL\n",
        favorites="user_id,image_id,favorited_at\nNULL,i1,NaT\nnan,i2,NULL\n\\N,i1,\nu,i1,\\N\n",
        user_tags="user_id,tag,count\nu,null,NaN\nu,\\N,2\n",
    )
    assert rows(found, "favorites") == [("NULL", "i1", None), ("nan", "i2", None), ("u", "i1", None)]
    assert found.tables["images"].select("url", "title").rows() == [(None, None), (None, "NULL")]
    assert rows(found, "user_tags") == [("u", "null", 1)]
    assert quarantine(found) == [("favorites", 2, "missing id", None), ("user_tags", 1, "missing tag", None)]


def test_parquet_times_of_any_type_are_the_same_second(tmp_path: Path) -> None:
    second = datetime(2020, 5, 6, tzinfo=UTC)
    epoch = int(second.timestamp())
    columns = [
        pl.Series([date(2020, 5, 6)]),
        pl.Series([second.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([second]).dt.convert_time_zone("Asia/Tokyo"),
        pl.Series([epoch], dtype=pl.Int32),
        pl.Series([epoch + 0.9]),
    ]
    for column in columns:
        favorites = pl.DataFrame({"user_id": ["u"], "image_id": ["i1"], "favorited_at": column})
        assert rows(community(tmp_path, favorites=favorites), "favorites") == [("u", "i1", second)]
        (tmp_path / "favorites.parquet").unlink()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([5, 6], pa.duration("us")),
        pa.array([5, 6], pa.time64("us")),
        pa.array([2**62, 6], pa.timestamp("ms")),
        pa.array([-(2**62), 6], pa.timestamp("us", "UTC")),
        pa.array([2020, 6], pa.int32()),
        pa.array([True, False]),
    ],
)
def test_a_parquet_time_that_is_none_goes_to_quarantine(tmp_path: Path, column: pa.Array) -> None:
    favorites = {"user_id": ["u", "u"], "image_id": ["i1", "i2"], "favorited_at": column}
    pq.write_table(pa.table(favorites), tmp_path / "favorites.parquet")
    (tmp_path / "images.csv").write_text(IMAGES_CSV)
    (tmp_path / "favorites.csv").unlink(missing_ok=True)
    try:
        found = ingest(Root(str(tmp_path)), LENIENT)
    except SourceError as error:  # both rows
        assert "favorites: 2 of 2 rows unreadable time" in str(error)  # noqa: PT017
    else:
        assert [(row, reason) for _, row, reason, _ in quarantine(found)] == [(0, "unreadable time")]


@pytest.mark.parametrize(("type_", "first"), [(pl.Float64, 2**53), (pl.Float32, 2**24)])
def test_a_floating_point_id_that_may_stand_for_several_goes_to_quarantine(tmp_path, type_, first) -> None:
    images = pl.DataFrame({"image_id": pl.Series([float(first), float(first - 1), 1.5, float("inf")], dtype=type_)})
    favorites = f"user_id,image_id\nu1,{first - 1}\nu1,1.5\n"
    found = community(tmp_path, images=images, favorites=favorites)
    assert found.tables["images"]["image_id"].to_list() == ["1.5", str(first - 1)]
    assert [(row, reason) for _, row, reason, _ in quarantine(found)] == [
        (0, "inexact number"),
        (3, "inexact number"),
    ]


def test_decimal_ids_are_one_id_for_each_value(tmp_path: Path) -> None:
    images = pl.DataFrame({"image_id": pl.Series(["1.50", "2.00", "9007199254740993.00"]).cast(pl.Decimal(30, 2))})
    found = community(tmp_path, images=images, favorites="user_id,image_id\nu,1.5\nu,2\nu,9007199254740993\n")
    assert quarantine(found) == []


def test_a_dangling_reference_goes_to_quarantine(tmp_path: Path) -> None:
    found = community(
        tmp_path,
        users="user_id\nu1\nu2\n",
        groups="group_id\ng1\n",
        favorites="user_id,image_id\nu1,i1\nu1,i9\nu9,i1\n",
        image_tags="image_id,tag\ni9,sea\n",
        user_tags="user_id,tag\nu9,sea\n",
        contacts="user_id,contact_id\nu1,u9\nu9,u1\n",
        memberships="user_id,group_id\nu1,g9\nu9,g1\nu2,g1\n",
    )
    assert {reason for _, _, reason, _ in quarantine(found)} == {"dangling reference"}
    assert [(table, row, value) for table, row, _, value in quarantine(found)] == [
        ("contacts", 0, "u9"),
        ("contacts", 1, "u9"),
        ("favorites", 1, "i9"),
        ("favorites", 2, "u9"),
        ("image_tags", 0, "i9"),
        ("memberships", 0, "g9"),
        ("memberships", 1, "u9"),
        ("user_tags", 0, "u9"),
    ]


def test_a_reference_to_a_row_in_quarantine_dangles(tmp_path: Path) -> None:
    found = community(tmp_path, images="image_id,url\ni1,ftp://host/a\ni2,https://host/a\n")
    assert quarantine(found) == [
        ("favorites", 0, "dangling reference", "i1"),
        ("images", 0, "bad url", "ftp://host/a"),
    ]


def test_an_images_owner_need_not_be_a_user(tmp_path: Path) -> None:
    found = community(tmp_path, users="user_id\nu1\nu2\n", images="image_id,owner_id\ni1,stranger\ni2,\n")
    assert found.tables["images"]["owner_id"].to_list() == ["stranger", None]


def test_what_is_blocked_and_muted_is_read_and_an_owner_need_not_be_a_user(tmp_path: Path) -> None:
    found = community(
        tmp_path,
        users="user_id\nu1\nu2\n",
        blocked_images="image_id\ni2\ni9\n",
        blocked_owners="user_id\nstranger\n\n",
        user_blocks="user_id,blocked_id\nu1,stranger\nu1,stranger\nu9,u1\nu2,\n",
        user_mutes="user_id,tag\nu1, sea \nu9,sea\nu2,\n",
    )
    assert rows(found, "blocked_images") == [("i2",)]
    assert rows(found, "blocked_owners") == [("stranger",)]
    assert rows(found, "user_blocks") == [("u1", "stranger")]
    assert rows(found, "user_mutes") == [("u1", "sea")]
    assert [(table, reason) for table, _, reason, _ in quarantine(found)] == [
        ("blocked_images", "dangling reference"),
        ("user_blocks", "dangling reference"),
        ("user_blocks", "missing id"),
        ("user_mutes", "dangling reference"),
        ("user_mutes", "missing tag"),
    ]


def test_nothing_that_blocks_or_mutes_names_a_forgotten_user_or_image(tmp_path: Path) -> None:
    found = community(
        tmp_path,
        blocked_images="image_id\ni2\ni3\n",
        blocked_owners="user_id\ngone\nu2\n",
        user_blocks="user_id,blocked_id\nu1,gone\ngone,u1\nu1,u2\n",
        user_mutes="user_id,tag\ngone,sea\nu1,sea\n",
        tombstones="kind,id\nuser,gone\nimage,i3\n",
    )
    assert rows(found, "blocked_images") == [("i2",)]
    assert rows(found, "blocked_owners") == [("u2",)]
    assert rows(found, "user_blocks") == [("u1", "u2")]
    assert rows(found, "user_mutes") == [("u1", "sea")]
    assert quarantine(found) == []


def test_users_and_groups_are_derived_from_the_other_tables(tmp_path: Path) -> None:
    found = community(
        tmp_path,
        images="image_id,owner_id\ni1,owner\ni2,\n",
        user_tags="user_id,tag\nu3,sea\n",
        contacts="user_id,contact_id\nu4,u5\n",
        memberships="user_id,group_id\nu6,g1\n",
    )
    assert found.tables["users"]["user_id"].to_list() == ["u1", "u2", "u3", "u4", "u5", "u6"]
    assert rows(found, "groups") == [("g1", None)]
    assert found.report["derived"] == ["users", "groups"]


def test_events_become_favorites_and_hides(tmp_path: Path) -> None:
    events = (
        "user_id,image_id,event,weight,happened_at\nu1,i1,like,,120\nu1,i1,view,,60\nu1,i1,save,,180\n"  # a favorite
        "u1,i2,like,,60\nu1,i2,hide,,90\n"  # hidden, whatever came before
        "u1,i3,view,,60\nu2,i3,view,0.5,\nu2,i3,view,0.5,90\n"  # one view is none, two of half the weight are one
        "u3,i3,like,-1,60\nu3,i9,like,,\nu3,i1,poke,,\nu3,i1,like,heavy,\nu3,i1,,,\n"
    )
    (tmp_path / "images.csv").write_text(IMAGES_CSV)
    (tmp_path / "events.csv").write_text(events)
    found = ingest(Root(str(tmp_path)), LENIENT)

    times = {(user, image): time and time.minute for user, image, time in rows(found, "favorites")}
    assert times == {("u1", "i1"): 2, ("u2", "i3"): 1}
    assert rows(found, "hides") == [("u1", "i2")]
    assert [(reason, value) for _, _, reason, value in quarantine(found)] == [
        ("dangling reference", "i9"),
        ("unknown event", "poke"),
        ("bad weight", "heavy"),
        ("missing event", None),
    ]
    account = found.report["tables"]["events"]
    assert (account["read"], account["kept"], account["duplicates"]) == (13, 9, 0)
    assert "events" not in found.tables


def test_events_count_beside_favorites_and_hides_and_their_weights_are_settings(tmp_path: Path) -> None:
    given = {
        "events": "user_id,image_id,event\nu1,i1,view\nu2,i3,view\nu2,i3,view\nu9,i3,hide\n",
        "hides": "user_id,image_id\nu1,i3\nu1,i3\n",
    }
    config = IngestConfig(event_weights={"view": 0.5}, max_quarantined_share=1.0)
    found = community(tmp_path, config, **given)

    assert [row[:2] for row in rows(found, "favorites")] == [("u1", "i1"), ("u2", "i2"), ("u2", "i3")]
    assert rows(found, "hides") == [("u1", "i3"), ("u9", "i3")]
    assert [found.report["tables"][name]["duplicates"] for name in ("favorites", "hides")] == [0, 1]


def test_nobody_follows_themselves(tmp_path: Path) -> None:
    found = community(tmp_path, contacts="user_id,contact_id\nu1,u1\nu1,u2\n")
    assert quarantine(found) == [("contacts", 0, "self reference", "u1")]


def test_an_empty_tag_goes_to_quarantine_and_others_lose_the_space_around_them(tmp_path: Path) -> None:
    found = community(tmp_path, image_tags='image_id,tag\ni1," Blue  Sea "\ni1,\t\n')
    assert rows(found, "image_tags") == [("i1", "Blue  Sea")]
    assert quarantine(found) == [("image_tags", 1, "missing tag", None)]


def test_a_count_is_a_positive_whole_number_and_1_where_it_is_missing(tmp_path: Path) -> None:
    found = community(tmp_path, user_tags="user_id,tag,count\nu1,a,3\nu1,b,\nu1,c,0\nu1,d,1.5\nu1,e,many\nu1,f,2.0\n")
    assert rows(found, "user_tags") == [("u1", "a", 3), ("u1", "b", 1), ("u1", "f", 2)]
    assert [(reason, value) for _, _, reason, value in quarantine(found)] == [
        ("bad count", "0"),
        ("bad count", "1.5"),
        ("bad count", "many"),
    ]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/..", r"a\..\x", "s3://b/x", "file:x", "C:x.jpg", "a\0.jpg"]
)
def test_a_path_outside_the_source_directory_goes_to_quarantine(tmp_path: Path, path: str) -> None:
    found = community(tmp_path, images=pl.DataFrame({"image_id": ["i1", "i2"], "path": [path, "a/..b/x..jpg"]}))
    assert found.tables["images"]["image_id"].to_list() == ["i2"]
    assert quarantine(found)[-1] == ("images", 0, "path outside the source directory", path)


def test_features_are_finite_and_of_the_most_frequent_length(tmp_path: Path) -> None:
    features = [[1.0, 2.0], [3.0, 4.0], [5.0], None, [1.0, float("nan")], [None, 1.0], [1e300, 1.0], [7.0, 8.0]]
    ids = [f"i{row}" for row in range(8)]
    frame = pl.DataFrame({"image_id": ids, "feature": features})
    found = community(tmp_path, images=pl.DataFrame({"image_id": ids[1:]}), image_features=frame)
    assert rows(found, "image_features") == [("i1", [3.0, 4.0]), ("i7", [7.0, 8.0])]
    assert found.report["tables"]["image_features"]["quarantined"] == {"bad feature": 5, "dangling reference": 1}


def test_features_may_be_arrays_of_any_number_type(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image_id": ["i1"], "feature": np.array([[1, 2, 3]])})
    assert rows(community(tmp_path, image_features=frame), "image_features") == [("i1", [1.0, 2.0, 3.0])]


def test_a_repeated_favorite_counts_once_with_its_earliest_time(tmp_path: Path) -> None:
    found = community(tmp_path, favorites="user_id,image_id,favorited_at\nu,i1,\nu,i1,90\nu,i1,60\nu,i2,\n")
    assert rows(found, "favorites") == [("u", "i1", datetime(1970, 1, 1, 0, 1, tzinfo=UTC)), ("u", "i2", None)]
    assert found.report["tables"]["favorites"]["duplicates"] == 2
    assert quarantine(found) == []


def test_counts_of_a_repeated_user_tag_are_summed(tmp_path: Path) -> None:
    found = community(tmp_path, user_tags="user_id,tag,count\nu1,sea,2\nu2,sea,\nu1, sea,3\n")
    assert rows(found, "user_tags") == [("u1", "sea", 5), ("u2", "sea", 1)]


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    favorites = pl.DataFrame({"user_id": list("bbaab"), "image_id": ["i2", "i1", "i1", "i1", "i2"]})
    favorites = favorites.with_columns(favorited_at=pl.Series([5, 4, 3, 2, 1]))
    first = community(tmp_path, favorites=favorites)
    second = community(tmp_path, favorites=favorites.reverse())
    assert rows(first, "favorites") == rows(second, "favorites")
    assert [row[:2] for row in rows(first, "favorites")] == [("a", "i1"), ("b", "i1"), ("b", "i2")]


def test_an_id_that_comes_twice_with_other_values_keeps_its_first_row(tmp_path: Path) -> None:
    found = community(tmp_path, images="image_id,title\ni1,one\ni2,\ni1,two\ni1,one\ni2,late\n")
    assert found.tables["images"].select("image_id", "title").rows() == [("i1", "one"), ("i2", None)]
    assert quarantine(found) == [("images", 2, "duplicate id", "i1"), ("images", 4, "duplicate id", "i2")]
    assert found.report["tables"]["images"]["duplicates"] == 1


def test_rows_are_counted_where_they_went(tmp_path: Path) -> None:
    found = community(tmp_path, favorites="user_id,image_id,mood\nu1,i1,\nu1,i1,\nu1,i9,\nu1,\n")
    assert found.report["tables"]["favorites"] == {
        "file": "favorites.csv",
        "missing": False,
        "read": 4,
        "kept": 1,
        "duplicates": 1,
        "forgotten": 0,
        "cleared": 0,
        "quarantined": {"dangling reference": 1, "unreadable row": 1},
        "unknown_columns": ["mood"],
        "notes": [],
    }
    assert found.report["tables"]["users"]["missing"]
    assert json.loads(json.dumps(found.report)) == found.report


def test_unknown_files_are_listed_once_and_pictures_are_not(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("README.md", "official_test.parquet", "users.xlsx", "image_features.csv", "images/1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    found = community(tmp_path, images="image_id,path\ni1,images/1.jpg\ni2,2.jpg\n")
    assert found.report["unknown_files"] == ["README.md", "image_features.csv", "official_test.parquet", "users.xlsx"]


def test_a_text_that_is_too_long_goes_to_quarantine_and_is_cut(tmp_path: Path) -> None:
    tags = "image_id,tag\ni1,cat\ni2," + "é" * 3000 + "\n" + "i" * 5000 + ",dog\n"
    found = community(tmp_path, image_tags=tags, images="image_id,title\ni1,t\ni2," + "t" * 4097 + "\n")

    assert rows(found, "image_tags") == [("i1", "cat")]
    assert [(table, row, reason, len(value)) for table, row, reason, value in quarantine(found)] == [
        ("favorites", 1, "dangling reference", 2),
        ("image_tags", 1, "text too long", 200),
        ("image_tags", 2, "text too long", 200),
        ("images", 1, "text too long", 200),
    ]
    shorter = IngestConfig(max_quarantined_share=1.0, max_text_bytes=2)
    found = community(tmp_path, shorter, image_tags="image_id,tag\ni1,cat\ni1,ox\n")
    assert rows(found, "image_tags") == [("i1", "ox")]


def test_a_table_larger_than_the_limits_is_refused_with_the_settings_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"images\.csv: .* it has more than 2 rows, and ingest\.max_rows is 2"):
        community(tmp_path, IngestConfig(max_rows=2))


def test_compressed_tables_are_tables(tmp_path: Path) -> None:
    plain = community(tmp_path)
    (tmp_path / "favorites.csv").unlink()
    (tmp_path / "favorites.csv.gz").write_bytes(gzip.compress(FAVORITES_CSV.encode()))
    found = ingest(Root(str(tmp_path)), LENIENT)

    assert found.tables["favorites"].equals(plain.tables["favorites"])
    assert found.report["tables"]["favorites"]["file"] == "favorites.csv.gz"


def test_a_source_in_another_encoding_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "image_tags.csv").write_bytes("image_id,tag\ni1,猫\ni2,犬\n".encode("shift-jis"))
    with pytest.raises(SourceError, match=r"image_tags: 2 of 2 rows unreadable row \(2 not UTF-8.*: save the file as"):
        community(tmp_path, IngestConfig())
    (tmp_path / "image_tags.csv").write_bytes("image_id,tag\ni1,cat\n".encode("utf-16-le"))
    with pytest.raises(SourceError, match=r"image_tags\.csv: cannot be read as csv: it is not UTF-8: .* UTF-16"):
        community(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "cp1252", "shift-jis", "utf-8"])
def test_text_in_another_encoding_is_read_where_it_or_a_setting_says_so(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    tag = "犬" if encoding == "shift-jis" else "café"
    (tmp_path / "image_tags.csv").write_bytes(f"{mark}image_id,tag\ni1,{tag}\n".encode(encoding))
    named = encoding if encoding in ("cp1252", "shift-jis") else "cp1252"  # of other files: UTF-8 stays UTF-8
    found = community(tmp_path, IngestConfig(encoding=named))

    assert rows(found, "image_tags") == [("i1", tag)]
    notes = found.report["tables"]["image_tags"]["notes"]
    assert ([encoding[:6].lower() in note.lower() for note in notes] == [True]) == (encoding != "utf-8")
    assert found.report["tables"]["favorites"]["notes"] == []


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_delimiter_is_found_in_the_header_and_said(tmp_path: Path, delimiter: str, name: str) -> None:
    written = 'user_id,image_id,note\nu1,i1,"a,b"\nu2,i2,x\n,i1,\n'.replace(",", delimiter)
    for content in (written, written + f'u3{delimiter}i3{delimiter}"two\nlines"\n'):  # fast and careful
        found = community(tmp_path, favorites=content)
        assert [row[:2] for row in rows(found, "favorites")][:2] == [("u1", "i1"), ("u2", "i2")]
        assert found.report["tables"]["favorites"]["notes"] == [f"read with {name} between the cells"]
        assert found.report["tables"]["favorites"]["quarantined"] == {"missing id": 1}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("where", ["file", "setting"])
def test_columns_may_have_other_names(tmp_path: Path, form: str, where: str) -> None:
    frame = pl.DataFrame({"userId": ["u1", "u2"], "photo_id": ["i1", "i2"], "liked_at": [60, 120], "image_id": [7, 8]})
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[form](
        tmp_path / f"favorites.{form}"
    )
    (tmp_path / "images.csv").write_text(IMAGES_CSV)
    names = {"favorites": {"user_id": "userId", "image_id": "photo_id", "favorited_at": "liked_at"}}
    before = tables_digest(Root(str(tmp_path)))
    if where == "file":
        (tmp_path / "columns.yaml").write_text(json.dumps(names))
    found = ingest(Root(str(tmp_path)), IngestConfig(columns=names if where == "setting" else {}))

    assert [(user, image, time.minute) for user, image, time in rows(found, "favorites")] == [
        ("u1", "i1", 1),
        ("u2", "i2", 2),
    ]
    assert found.report["tables"]["favorites"]["unknown_columns"] == ["image_id"]
    assert found.report["unknown_files"] == []
    assert (tables_digest(Root(str(tmp_path))) == before) == (where == "setting")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("favourites: {user_id: u}", r"columns.yaml: there is no table favourites; there are users, images"),
        ("favorites: {user: u}", r"favorites: {user: u} names none of its columns user_id, image_id, favorited_at"),
        ("favorites: {user_id: uid}", r"no column uid \(found user_id, image_id\)"),
        ("favorites: {user_id: image_id}", r"image_id is to be two of user_id, image_id, favorited_at"),
        ("[1", "columns.yaml: cannot be read as YAML; write the names as"),
        ("[1]", "columns.yaml: no names of columns; write the names as"),
    ],
)
def test_names_of_columns_that_cannot_be_are_refused(tmp_path: Path, names: str, said: str) -> None:
    (tmp_path / "columns.yaml").write_text(names)
    with pytest.raises(SourceError, match=said):
        community(tmp_path)


def test_a_missing_column_is_refused_with_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"""--set .ingest.columns={favorites: {user_id: "User ID", image_id: NAME1}}. or write"""
    ):
        community(tmp_path, favorites="User ID,Photo\nu1,i1\n")


def test_a_name_that_is_not_utf_8_is_listed_with_escapes(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/na\xefve.txt")).touch()

    assert community(tmp_path).report["unknown_files"] == ["na\\xefve.txt"]


@pytest.mark.parametrize("name", ["contacts.csv", "favorites.parquet", "image_features.parquet", "tombstones.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere", "link out of the source directory"])
def test_a_table_that_is_no_file_of_the_source_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "theirs"
    source.mkdir()
    elsewhere.write_text("user_id,contact_id\nu1,secret\n")
    if kind == "folder":
        (source / name).mkdir()
        (source / name / "_SUCCESS").touch()
    elif kind == "pipe":
        os.mkfifo(source / name)
    else:
        (source / name).symlink_to(tmp_path / "nowhere" if kind == "link to nowhere" else elsewhere)
    with pytest.raises(SourceError, match=rf"source/{name}: a {kind}.*put the file itself there"):
        community(source)
    with pytest.raises(SourceError, match=rf"{name}: a {kind}"):
        tables_digest(Root(str(source)))


def test_a_table_may_be_a_link_to_another_file_of_the_source_and_the_source_a_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "2026-01.csv").write_text("user_id,contact_id\nu1,u2\n")
    (source / "contacts.csv").symlink_to("2026-01.csv")
    (tmp_path / "linked").symlink_to(source)

    assert rows(community(tmp_path / "linked"), "contacts") == [("u1", "u2")]


def test_two_files_for_a_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.jsonl").touch()
    with pytest.raises(SourceError, match=r"images stands in images\.csv and in images\.jsonl"):
        community(tmp_path)


def test_a_missing_directory_or_table_is_refused(tmp_path: Path) -> None:
    for refused in (table_files, tables_digest):
        with pytest.raises(SourceError, match="no such source directory"):
            refused(Root(str(tmp_path / "nowhere")))
    (tmp_path / "community").mkdir()
    with pytest.raises(SourceError, match=r"did you mean community\?"):
        tables_digest(Root(str(tmp_path / "comunity")))
    (tmp_path / "images.csv").touch()
    with pytest.raises(SourceError, match=r"no table favorites \(found images\.csv\)"):
        ingest(Root(str(tmp_path)), LENIENT)
    (tmp_path / "Favorites.CSV").touch()
    with pytest.raises(SourceError, match=r"Favorites\.CSV is not read: capital letters in names count"):
        ingest(Root(str(tmp_path)), LENIENT)


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    community(tmp_path, contacts=pl.DataFrame({"user_id": ["u1"], "contact_id": ["u2"]}))
    whole = (tmp_path / "contacts.parquet").read_bytes()
    (tmp_path / "contacts.parquet").write_bytes(whole[:-9])
    with pytest.raises(SourceError, match=r"contacts\.parquet: cannot be read as parquet: it is damaged, or was not"):
        community(tmp_path)
    (tmp_path / "contacts.parquet").unlink()
    with pytest.raises(SourceError, match=r"column feature holds String, not lists of numbers"):
        community(tmp_path, image_features=pl.DataFrame({"image_id": ["i1"], "feature": ["1 2"]}))


def test_a_missing_column_is_refused_with_the_columns_found(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"favorites\.csv: no column image_id \(found user_id, photo\)"):
        community(tmp_path, favorites="user_id,photo\nu1,i1\n")
    with pytest.raises(
        SourceError, match=r'add --set .*\{user_id: User_ID, image_id: "Image ID", favorited_at: "Favorited at"'
    ):
        community(tmp_path, favorites="User_ID;Image ID;Favorited at\nu1;i1;\n")


def test_an_ignored_column_that_is_spelled_almost_like_a_missing_one_is_said(tmp_path: Path) -> None:
    found = community(tmp_path, images="image_id,Path,mood\ni1,a.jpg,x\ni2,b.jpg,\n")

    assert found.report["tables"]["images"]["unknown_columns"] == ["Path", "mood"]
    assert found.report["tables"]["images"]["notes"] == [
        "has no path; to take what is alike, add --set 'ingest.columns={images: {path: Path}}'"
    ]


def test_columns_without_a_name_are_ignored_and_counted(tmp_path: Path) -> None:
    found = community(tmp_path, favorites="user_id,image_id,,\nu1,i1,,\nu2,i2,,\n")
    assert len(rows(found, "favorites")) == 2
    assert found.report["tables"]["favorites"]["unknown_columns"] == ["(2 without a name)"]


def test_the_text_of_a_row_stays_with_it_in_quarantine_and_long_cells_are_cut(tmp_path: Path) -> None:
    found = community(tmp_path, favorites=f"user_id,image_id,favorited_at,x\nu1,i1,{'soon' * 99},y\nu2,i2,,\n")
    assert json.loads(found.quarantine["text"][0]) == {
        "user_id": "u1",
        "image_id": "i1",
        "favorited_at": "soon" * 25,
    }


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"favorites": "user_id,image_id\nu1,101.0\nu1,102.0\n", "images": "image_id\n101\n102\n"},
            r"2 of 2 rows dangling reference, favorites.csv row 0: '101.0', ids end in .0, as pandas writes",
        ),
        (
            {"favorites": "user_id,image_id,favorited_at\nu1,i1,1656105611000\nu1,i2,1656105611001\n"},
            r"favorites.csv row 0: '1656105611000', these may be milliseconds: divide them by 1000",
        ),
        (
            {"images": "image_id,path\ni1,https://host/1.jpg\ni2,https://host/2.jpg\n"},
            r"\(images: 2 of 2 rows url in path, images.csv row 0: 'https://host/1.jpg', set images.fetch=true",
        ),
        ({"favorites": "user_id,image_id\n"}, "favorites.csv: no row is in it, only a header"),
        ({"favorites": "sep=;\nuser_id;image_id\nu1;i1\n"}, "its first line is Excel's sep=; take it out"),
    ],
)
def test_a_refusal_shows_the_first_value_its_row_and_file_and_what_to_do(tmp_path, tables, said) -> None:
    with pytest.raises(SourceError, match=said):
        community(tmp_path, **tables)


def test_a_table_may_be_a_folder_of_parts(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(IMAGES_CSV)
    folder = tmp_path / "favorites.parquet"
    folder.mkdir()
    pl.DataFrame({"user_id": [7, None], "image_id": ["i1", "i2"]}).write_parquet(folder / "part-00000.parquet")
    pl.DataFrame({"user_id": ["8", "x"], "image_id": ["i2", "i9"]}).write_parquet(folder / "part-00001.parquet")
    (folder / "part-00002.csv").write_text("user_id,image_id\n7,i1\n9,i3\n")
    for ignored in ("_SUCCESS", ".part-00000.parquet.crc", "_temporary/0/part-00003.parquet"):
        (folder / ignored).parent.mkdir(parents=True, exist_ok=True)
        (folder / ignored).touch()
    found = ingest(Root(str(tmp_path)), LENIENT)

    assert rows(found, "favorites") == [("7", "i1", None), ("8", "i2", None), ("9", "i3", None)]
    assert quarantine(found) == [
        ("favorites", 1, "missing id", None),
        ("favorites", 3, "dangling reference", "i9"),
    ]
    account = found.report["tables"]["favorites"]
    assert (account["file"], account["read"], account["notes"]) == ("favorites.parquet/", 6, ["3 files"])
    digest = tables_digest(Root(str(tmp_path)))
    (folder / "part-00002.csv").write_text("user_id,image_id\n9,i3\n7,i1\n")
    assert tables_digest(Root(str(tmp_path))) != digest
    with pytest.raises(SourceError, match=r"it has more than 5 rows, and ingest\.max_rows is 5"):
        ingest(Root(str(tmp_path)), IngestConfig(max_rows=5))
    (folder / "part-00001.parquet").unlink()
    pl.DataFrame({"user": ["8"], "image_id": ["i2"]}).write_parquet(folder / "part-00001.parquet")
    with pytest.raises(SourceError, match=r"parquet/part-00001\.parquet: no column user_id \(found user, image_id\)"):
        ingest(Root(str(tmp_path)), LENIENT)


def test_names_of_folders_are_columns(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(IMAGES_CSV)
    for part in ("day=2024-03-01/kind=a%20b", "day=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "favorites" / part).mkdir(parents=True)
        (tmp_path / "favorites" / part / "0.csv").write_text(f"user_id,image_id\n{len(part)},i1\n")
    found = ingest(Root(str(tmp_path)), IngestConfig(columns={"favorites": {"favorited_at": "day"}}))

    assert rows(found, "favorites") == [("25", "i1", datetime(2024, 3, 1, tzinfo=UTC)), ("30", "i1", None)]
    assert found.report["tables"]["favorites"]["unknown_columns"] == ["kind"]


def test_features_in_parts_are_of_one_length(tmp_path: Path) -> None:
    community(tmp_path)
    (tmp_path / "image_features.parquet").mkdir()
    for part, (ids, vectors) in enumerate([(["i1", "i2"], [[1.0, 2.0]] * 2), (["i3"], [[1.0, 2.0, 3.0]])]):
        frame = pl.DataFrame({"image_id": ids, "feature": vectors})
        frame.write_parquet(tmp_path / "image_features.parquet" / f"{part}.parquet")
    found = ingest(Root(str(tmp_path)), LENIENT)

    assert quarantine(found) == [("image_features", 2, "bad feature", "length 3, others have 2")]


def test_a_folder_of_pictures_is_no_table_and_two_places_of_a_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "i1.json").touch()
    assert len(rows(community(tmp_path), "images")) == 3
    (tmp_path / "images.parquet").mkdir()
    (tmp_path / "images.parquet" / "0.csv").write_text(IMAGES_CSV)
    with pytest.raises(SourceError, match=r"table images stands in images.parquet/ and in images.csv; keep one"):
        community(tmp_path)


def test_no_text_of_a_library_is_in_a_refusal(tmp_path: Path) -> None:
    for name, content in (("contacts.parquet", b"PAR1" + b"x" * 99), ("groups.csv.gz", b"\x1f\x8b" + b"x" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=r": cannot be read as \S+: it is damaged, or was not written to its end"):
            community(tmp_path)
        (tmp_path / name).unlink()


def test_a_source_without_a_favorite_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no favorite is left of 1 .*favorites: 1 of 1 rows dangling reference"):
        community(tmp_path, favorites="user_id,image_id\nu1,i9\n")


def test_too_many_rows_in_quarantine_are_refused(tmp_path: Path) -> None:
    favorites = "user_id,image_id\nu1,i1\nu2,\n"  # one of the five rows
    assert quarantine(community(tmp_path, IngestConfig(max_quarantined_share=0.2), favorites=favorites))
    with pytest.raises(SourceError, match=r"1 of 5 rows break a rule, more than the share of 0\.1"):
        community(tmp_path, IngestConfig(max_quarantined_share=0.1), favorites=favorites)
    with pytest.raises(SourceError, match=r"raise ingest\.max_quarantined_share"):
        community(tmp_path, IngestConfig(max_quarantined_share=0.1), favorites=favorites)


def test_the_digest_changes_with_the_tables_only(tmp_path: Path) -> None:
    community(tmp_path)
    digest = tables_digest(Root(str(tmp_path)))
    (tmp_path / "notes.txt").write_text("hello")
    assert tables_digest(Root(str(tmp_path))) == digest
    (tmp_path / "favorites.csv").write_text(FAVORITES_CSV + "u3,i3\n")
    assert tables_digest(Root(str(tmp_path))) != digest


TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
ID = st.sampled_from("abcd")
CELLS = {
    "images": st.fixed_dictionaries({"image_id": ID, "title": st.none() | TEXT}),
    "favorites": st.fixed_dictionaries(
        {"user_id": ID | TEXT, "image_id": ID, "favorited_at": st.none() | st.integers(-(10**11), 10**12)}
    ),
    "image_tags": st.fixed_dictionaries({"image_id": ID, "tag": st.none() | TEXT}),
    "user_tags": st.fixed_dictionaries(
        {"user_id": TEXT, "tag": st.sampled_from(["sea", " sea", "sun"]), "count": st.none() | st.integers(-1, 9)}
    ),
}
SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    "images": {"image_id": pl.String, "title": pl.String},
    "favorites": {"user_id": pl.String, "image_id": pl.String, "favorited_at": pl.Int64},
    "image_tags": {"image_id": pl.String, "tag": pl.String},
    "user_tags": {"user_id": pl.String, "tag": pl.String, "count": pl.Int64},
}
FIRST: dict[str, list[dict[str, object]]] = {  # so that a favorite is left
    "images": [{"image_id": "a", "title": None}],
    "favorites": [{"user_id": "a", "image_id": "a", "favorited_at": 0}],
}


def written(draw: st.DrawFn, frame: pl.DataFrame, folder: Path, name: str) -> None:
    """Write the table in a format, and a dialect of it, that hypothesis draws."""
    form = draw(st.sampled_from(["parquet", "parts", "csv", "csv", "jsonl", "json"]))
    if form == "parquet":
        compression = draw(st.sampled_from(["zstd", "snappy", "uncompressed"]))
        frame.write_parquet(folder / f"{name}.parquet", compression=compression, row_group_size=draw(st.integers(1, 9)))
        return
    if form == "parts":
        (folder / name).mkdir()
        cut = draw(st.integers(0, len(frame)))
        frame[:cut].write_parquet(folder / name / "0.parquet")
        frame[cut:].write_ndjson(folder / name / "1.jsonl")
        return
    if form == "csv":
        text = frame.write_csv(
            separator=draw(st.sampled_from(",;\t|")),
            quote_style=draw(st.sampled_from(["necessary", "always"])),
            line_terminator=draw(st.sampled_from(["\n", "\r\n"])),
        )
        encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    else:
        text = (
            frame.write_ndjson()
            if form == "jsonl"
            else json.dumps(frame.to_dicts(), indent=draw(st.none() | st.just(1)))
        )
        encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    packed = draw(st.sampled_from(["", "", ".gz", ".zst"]))
    content = text.encode(encoding)
    if packed == ".gz":
        content = gzip.compress(content)
    elif packed:
        content = pa.Codec("zstd").compress(content, asbytes=True)
    (folder / f"{name}.{form}{packed}").write_bytes(content)


@settings(max_examples=20, deadline=None)
@given(st.data(), st.fixed_dictionaries({name: st.lists(row, max_size=6) for name, row in CELLS.items()}))
def test_equal_rows_in_any_format_and_dialect_give_equal_tables(data: st.DataObject, source) -> None:
    outcomes = []
    for attempt in range(2):
        with TemporaryDirectory() as folder:
            for name, given_rows in source.items():
                frame = pl.DataFrame([*FIRST.get(name, []), *given_rows], SCHEMAS[name])
                if attempt:
                    written(data.draw, frame, Path(folder), name)
                else:
                    frame.write_parquet(Path(folder, f"{name}.parquet"))
            found = ingest(Root(folder), LENIENT)
        outcomes.append([*((name, frame.rows()) for name, frame in found.tables.items()), found.quarantine.rows()])
    assert outcomes[0] == outcomes[1]
