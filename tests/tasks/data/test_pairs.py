"""Held-out favorites from a file: read as the ingest reads favorites."""

import logging
from pathlib import Path

import polars as pl
import pytest

from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources.directory import ingest
from tasks.data.pairs import read_pairs

PAIRS = [("1", "101"), ("2", "102")]


def frame(**types: pl.DataType) -> pl.DataFrame:
    rows = pl.DataFrame(PAIRS, ["user_id", "image_id"], orient="row")
    return rows.cast(dict.fromkeys(types, pl.Int64)).cast(types)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows",
    [
        frame(),
        frame(user_id=pl.Int32(), image_id=pl.UInt64()),
        frame(user_id=pl.Float64(), image_id=pl.Float32()),
        frame(user_id=pl.Decimal(10, 2), image_id=pl.Decimal(12, 0)),
        frame(user_id=pl.Float64()).with_columns(user_id=pl.col("user_id").fill_null(float("nan"))),
    ],
    ids=["text", "int", "float", "decimal", "mixed"],
)
def test_ids_of_every_type_are_those_that_the_ingest_reads(tmp_path: Path, rows: pl.DataFrame) -> None:
    rows.write_parquet(tmp_path / "favorites.parquet")
    (tmp_path / "images.csv").write_text("image_id\n101\n102\n")
    ingested = ingest(Root(str(tmp_path)), IngestConfig()).tables["favorites"]

    assert read_pairs(tmp_path / "favorites.parquet")[0].rows() == PAIRS
    assert ingested.select("user_id", "image_id").rows() == PAIRS


@pytest.mark.parametrize(
    ("name", "content", "left_out"),
    [
        ("t.csv", "user_id,image_id\r1,101\r2,102\r", {}),
        ("t.csv", "\ufeffimage_id,user_id,score\n101,1,x\n102,2,y\n102,2,z\n", {}),
        ("t.csv", "user_id,image_id\n1,101\n2,102,9\n2,102\n,101\n  ,101\n", {"missing id": 2, "unreadable row": 1}),
        ("t.csv", "user_id,image_id\n1,101\ncaf\udce9,1\n2,102\n", {"unreadable row": 1}),
        ("t.csv", 'user_id,image_id\n1,101\n"2,1\n2,102\n', {"unreadable row": 1}),
        ("t[1].csv", "user_id,image_id\n1,101\n2,102\n", {}),
        (
            "t.jsonl",
            '{"user_id": 1.0, "image_id": 101}\n{"user_id": "2", "image_id": 102.0}\nno\n',
            {"unreadable row": 1},
        ),
        ("t*.jsonl", '{"user_id": 1, "image_id": 101}\n{"user_id": 2, "image_id": 102}\n', {}),
    ],
)
def test_what_can_be_read_of_a_file_is_read_and_the_rest_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, left_out: dict[str, int]
) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with caplog.at_level(logging.WARNING, logger="tastegraph"):
        found = read_pairs(tmp_path / name)

    assert (found[0].rows(), found[1]) == (PAIRS, left_out)
    assert all(f"{count} {reason}" in caplog.text for reason, count in left_out.items())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"user_id,image_id\n", "no pair of a user and an image is in it"),
        ("t.csv", b"user_id,item\n1,2\n", r"no column image_id \(found user_id, item\)"),
        ("t.parquet", b"<html>", "cannot be read as parquet"),
        ("t.txt", b"1\t2\n", "rows are read from .parquet, .csv"),
        ("missing.csv", None, "no such file"),
    ],
)
def test_a_file_without_pairs_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{said}"):
        read_pairs(tmp_path / name)
