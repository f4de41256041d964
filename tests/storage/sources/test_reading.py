from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.settings.reading import TableLimits
from storage.sources import reading
from storage.sources.reading import Reading, csv_files

COLUMNS = ("user_id", "image_id")
LIMITS = TableLimits()
PACKED = {".gz": "gzip", ".zst": "zstd"}


def rows(found: Reading) -> pl.DataFrame:
    return pl.concat(found.chunks)


def read(file: Path, content: str | bytes) -> tuple[list[tuple[int, str, str]], list[tuple[int, str]]]:
    """The rows read from the file, and the broken ones."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = reading.read(file, COLUMNS, LIMITS)
    return rows(found).select("row", *COLUMNS).rows(), found.broken


def test_csv_may_have_a_byte_order_mark_any_line_end_and_empty_lines(tmp_path: Path) -> None:
    good = [(0, "u1", "i1"), (1, "u2", "i2")]
    assert read(tmp_path / "t.csv", "\ufeffuser_id,image_id\r\nu1,i1\r\n\r\nu2,i2") == (good, [])
    assert read(tmp_path / "t.csv", "user_id,image_id\ru1,i1\ru2,i2\r") == (good, [])


def test_csv_values_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    good = [(0, "a,b", 'say "hi"'), (1, "two\r\nlines", ""), (2, "u", 'an 8" print')]
    content = 'image_id,user_id\n"say ""hi""","a,b"\n"","two\r\nlines"\nan 8" print,u\n'
    assert read(tmp_path / "t.csv", content) == (good, [])


@pytest.mark.parametrize("line", ["u9,i9", "u9,i9,a,b", 'u9,i9,"a', 'u9,"i9" no,a', "u9,\udcff,a"])
def test_a_broken_csv_line_costs_itself_only(tmp_path: Path, line: str) -> None:
    content = f'user_id,image_id,note\nu1,i1,"a"\n{line}\n"u2",i2,"b\nc"\n'.encode(errors="surrogateescape")
    rows, broken = read(tmp_path / "t.csv", content)
    assert rows == [(0, "u1", "i1"), (2, "u2", "i2")]
    assert [row for row, _ in broken] == [1]


def test_a_quote_that_is_never_closed_does_not_swallow_the_rows_below(tmp_path: Path) -> None:
    below = "".join(f"u{row},i{row}\n" for row in range(1, 3000))
    rows, broken = read(tmp_path / "t.csv", 'user_id,image_id\nu0,"i0\n' + below)
    assert len(rows) == 2999
    assert broken == [(0, 'u0,"i0')]
    assert read(tmp_path / "t.csv", 'user_id,image_id\nu1,i1\n"u2","i')[1] == [(1, '"u2","i')]  # cut off while written


@pytest.mark.parametrize("line", ['{"user_id": "u9"', "nonsense", "[1]", "null", '{"user_id": {"a": 1}}', "\udcff{}"])
def test_a_broken_json_line_costs_itself_only(tmp_path: Path, line: str) -> None:
    good = '{"user_id": "u1", "image_id": 1}\n'
    content = f"\n{good}{line}\n{good}".encode(errors="surrogateescape")
    rows, broken = read(tmp_path / "t.jsonl", content)
    assert rows == [(0, "u1", "1"), (2, "u1", "1")]
    assert [row for row, _ in broken] == [1]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.ndjson"])
def test_a_json_array_is_read_as_lines(tmp_path: Path, name: str) -> None:
    array = '\ufeff [\n {"user_id": 9007199254740993,\n  "image_id": "é"}, {"image_id": "[,]", "user_id": "v"} ]\n'
    assert read(tmp_path / name, array) == ([(0, "9007199254740993", "é"), (1, "v", "[,]")], [])
    broken = '[{"user_id": "u", "image_id": "i"}, {"user_id": ["u"], "image_id": "i"}, {"user_id": "v", "im'
    assert read(tmp_path / name, broken) == (
        [(0, "u", "i")],
        [(1, '{"user_id": ["u"], "image_id": "i"}'), (2, '{"user_id": "v", "im')],
    )
    assert read(tmp_path / name, "[]") == ([], [])


def test_delimiters_at_the_end_of_a_row_do_not_count(tmp_path: Path) -> None:
    content = "user_id,image_id\nu1,i1,\nu2,i2,,\nu3,i3,x\nu4\n"
    assert read(tmp_path / "t.csv", content) == ([(0, "u1", "i1"), (1, "u2", "i2")], [(2, "u3,i3,x"), (3, "u4")])


def test_names_of_columns_lose_the_space_around_them(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", "user_id, image_id\nu,i\n") == ([(0, "u", "i")], [])
    with pytest.raises(ValueError, match="the header names user_id twice"):
        read(tmp_path / "t.csv", "user_id, user_id,image_id\nu,v,i\n")


def test_a_header_that_cannot_be_parsed_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='its header line cannot be parsed: "user_id" , "image_id";'):
        read(tmp_path / "t.csv", '"user_id" , "image_id"\nu,i\n')


def test_a_broken_row_far_down_costs_no_row_above_or_below(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(csv_files, "CHUNK_BYTES", 100)
    lines = [f"u{row},i{row}" for row in range(200)]
    lines[150] = "u,i,x"
    found, broken = read(tmp_path / "t.csv", "user_id,image_id\n" + "\n".join(lines))

    assert broken == [(150, "u,i,x")]
    assert found == [(row, f"u{row}", f"i{row}") for row in range(200) if row != 150]


def test_json_values_that_polars_would_level_are_read_as_written(tmp_path: Path) -> None:
    content = '{"user_id": 12.0, "image_id": "12.0"}\n{"user_id": 18446744073709551617, "image_id": "[a]"}\n'
    assert read(tmp_path / "t.jsonl", content)[0] == [(0, "12", "12.0"), (1, "18446744073709551617", "[a]")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("9007199254740993.0", "9007199254740993"),
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890123456789012", "123456789012345678901234567890123456789012"),
        ("1.50", "1.5"),
        ("15e-1", "1.5"),
        ("1e3", "1000"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("-0", "0"),
        ("1e999999999", "1e999999999"),
    ],
)
@pytest.mark.parametrize("other", ['"a"', "7", "null"])
def test_a_json_number_keeps_all_its_digits_whatever_stands_in_the_other_rows(tmp_path, number, text, other) -> None:
    found, _ = read(
        tmp_path / "t.jsonl", f'{{"user_id": {other}, "image_id": 1}}\n{{"user_id": {number}, "image_id": 1}}\n'
    )
    assert str(found[-1][1]) == text


CELLS = st.text(st.sampled_from(list('ab ,"\\\n\r;\ufeffé')), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(CELLS, max_size=8), st.booleans(), st.sampled_from([1 << 24, 40, 24]))
def test_the_fast_and_the_careful_reader_of_csv_read_the_same_rows(
    cells: list[str], is_quoted: bool, chunk_bytes: int
) -> None:
    def no_row(*_: object) -> Generator[pl.DataFrame, None, int]:
        return 0
        yield

    quoted = [f'"{cell}"' if is_quoted or place % 2 else cell for place, cell in enumerate(cells)]
    lines = [",".join(quoted[place : place + 2]) for place in range(0, len(quoted), 2)]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        content = "\n".join(["user_id,image_id", *lines])
        patch.setattr(csv_files, "CHUNK_BYTES", chunk_bytes)
        either = read(Path(folder, "t.csv"), content)
        patch.setattr(csv_files, "_fast_csv", no_row)
        assert either == read(Path(folder, "t.csv"), content)


@pytest.mark.parametrize("chunk_bytes", [3, 4, 5, 1 << 24])
@pytest.mark.parametrize(
    ("cell", "is_kept"),
    [
        (r'"The \"Best\" cat"', False),
        (r'"12\" vinyl"', False),
        (r'"a\""', False),
        ('"The ""Best"" cat"', True),
        ('8" x 10"', True),
        (r"a\b", True),
    ],
)
def test_a_quote_that_is_escaped_by_a_backslash_costs_its_row(
    tmp_path, monkeypatch, chunk_bytes, cell, is_kept
) -> None:
    monkeypatch.setattr(csv_files, "CHUNK_BYTES", chunk_bytes)
    rows, broken = read(tmp_path / "t.csv", f"user_id,image_id\nu0,i0\n{cell},i1\nu2,i2\n")

    assert [row for row, *_ in rows] == [0, 1, 2] if is_kept else [0, 2]
    assert [row for row, _ in broken] == ([] if is_kept else [1])


def test_parquet_times_far_from_1970_are_what_they_are(tmp_path: Path) -> None:
    far = [datetime.fromisoformat(text) for text in ("9999-12-31", "0001-01-01", "2024-02-29T12:00")]
    table = pa.table({"user_id": ["a", "b", "c"], "image_id": pa.array(far, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    found = reading.read(tmp_path / "t.parquet", COLUMNS, LIMITS)
    assert rows(found).select("image_id").to_series().to_list() == far


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(["1.50", "2.00"]).cast(pa.decimal256(60, 2)), ["1.5", "2"]),
        (pa.array([UUID(int=1).bytes, UUID(int=2).bytes], pa.uuid()), [str(UUID(int=1)), str(UUID(int=2))]),
        (pa.array([b"a", None]), ["a", None]),
        (pa.array([5, None], pa.duration("s")), ["5 s", None]),
    ],
)
def test_parquet_columns_that_polars_does_not_know_are_read(tmp_path: Path, column: pa.Array, text: list[str]) -> None:
    pq.write_table(pa.table({"user_id": column, "image_id": ["i", "j"]}), tmp_path / "t.parquet")
    found = reading.read(tmp_path / "t.parquet", COLUMNS, LIMITS)
    assert rows(found).select(pl.col("user_id").cast(pl.String)).to_series().to_list() == text


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([b"0123456789abcdef"] * 2, pa.binary(16)), "column user_id holds 16 bytes a row, not text"),
        (pa.array([b"a", b"\xff"]), r"column user_id is not UTF-8 in row 1, where it holds b'\\xff'"),
        (pa.array([b"a", b"\xff"]).view(pa.string()), r"column user_id is not UTF-8 in row 1"),
    ],
)
def test_a_parquet_column_that_is_no_text_is_refused_by_name(tmp_path: Path, column: pa.Array, said: str) -> None:
    pq.write_table(pa.table({"user_id": column, "image_id": ["i", "j"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=said):
        reading.read(tmp_path / "t.parquet", COLUMNS, LIMITS)


def test_a_json_file_without_a_row_lacks_no_column(tmp_path: Path) -> None:
    assert read(tmp_path / "t.jsonl", "") == ([], [])


def test_a_csv_file_without_a_header_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no header line"):
        read(tmp_path / "t.csv", "")
    with pytest.raises(ValueError, match="names user_id twice"):
        read(tmp_path / "t.csv", "user_id,image_id,user_id\n")


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'user_id,image_id\nu1,i1\n"u\n2",i2\n'),
        ("t.jsonl", '{"user_id": "u1", "image_id": "i1"}\n{"user_id": "u\\n2", "image_id": "i2"}\n'),
    ],
)
def test_text_may_be_compressed(tmp_path: Path, packed: str, name: str, content: str) -> None:
    plain = read(tmp_path / name, content)

    assert plain == ([(0, "u1", "i1"), (1, "u\n2", "i2")], [])
    assert read(tmp_path / f"{name}{packed}", compressed(content.encode(), packed)) == plain


@pytest.mark.parametrize("packed", PACKED)
def test_text_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_all_unpacked(tmp_path, packed) -> None:
    bomb = compressed(b"user_id,image_id\n" + b"u,i\n" * 10**6, packed)
    (tmp_path / f"t.csv{packed}").write_bytes(bomb)

    assert len(bomb) < 40_000
    with pytest.raises(ValueError, match=r"unpacked it has more than ingest.max_bytes = 1,000 bytes"):
        reading.read(tmp_path / f"t.csv{packed}", COLUMNS, TableLimits(max_bytes=1000))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("user_id,image_id\nu,i\n".encode("utf-16-be"), "it is not UTF-8: .* UTF-16; save it as UTF-8"),
        ("user_id,image_id\nu,i\n".encode("utf-16")[:-1], "it is not UTF-16 throughout"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "it is not UTF-8 but gzip; end its name in .gz"),
        (b"\x28\xb5\x2f\xfd\x04", "it is not UTF-8 but zstd"),
        (b"PK\x03\x04rest", "it is not UTF-8 but a zip archive or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1", "it is not UTF-8 but an Excel workbook"),
        (b"PAR1....", "it is not UTF-8 but Parquet"),
        (b"ARROW1\0\0", "it is not UTF-8 but an Arrow or Feather file; write it as Parquet"),
        (b"\n<!DOCTYPE html><html>", "it is a page of HTML or XML"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_file_that_is_something_else_is_called_what_it_is(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path / name, content)


def test_a_header_in_another_encoding_costs_no_row_where_its_column_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("user_id,Größe,image_id\nu,3,i\n".encode("latin-1"))
    found = reading.read(tmp_path / "t.csv", COLUMNS, LIMITS)

    assert found.columns == ["user_id", r"Gr\xf6\xdfe", "image_id"]
    assert rows(found).select(COLUMNS).rows() == [("u", "i")]


def test_names_of_json_columns_in_another_encoding_are_shown_with_escapes(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes('{"user_id": "u", "Größe": 3, "image_id": "i"}\n'.encode("latin-1"))
    found = reading.read(tmp_path / "t.jsonl", COLUMNS, LIMITS)

    assert found.columns == ["user_id", r"Gr\xf6\xdfe", "image_id"]
    assert found.not_utf8 == 0 or found.broken


def test_rows_in_another_encoding_are_counted_as_such(tmp_path: Path) -> None:
    content = "user_id,image_id\ncafé,i1\nu2,i2\nu3,i3,x\n".encode("latin-1")
    (tmp_path / "t.csv").write_bytes(content)
    found = reading.read(tmp_path / "t.csv", COLUMNS, LIMITS)

    assert (found.not_utf8, [row for row, _ in found.broken]) == (1, [0, 2])


@pytest.mark.parametrize("name", ["t[1].csv", "t*.jsonl", "t?.parquet", "a b {c}[!x].jsonl", "[t].csv.gz"])
def test_a_path_is_no_pattern(tmp_path: Path, name: str) -> None:
    file = tmp_path / "folder [2]" / name
    file.parent.mkdir()
    content = {
        ".csv": b"user_id,image_id\nu,i\n",
        ".jsonl": b'{"user_id": "u", "image_id": "i"}\n',
        ".csv.gz": compressed(b"user_id,image_id\nu,i\n", ".gz"),
    }
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"user_id": ["u"], "image_id": ["i"]}), file)
    else:
        file.write_bytes(content[reading.suffix_of(name)])

    found = reading.read(file, COLUMNS, LIMITS)
    assert rows(found).select(COLUMNS).rows() == [("u", "i")]


def test_parquet_of_more_rows_than_the_limit_is_refused_unread(tmp_path: Path, monkeypatch) -> None:
    bomb(tmp_path / "t.parquet", pa.array(["u"] * 10**5), copies=100)  # 10 million rows
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("the file was read"))

    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"it has 10,000,000 rows, and ingest.max_rows is 9,999,999"):
        reading.read(tmp_path / "t.parquet", COLUMNS, TableLimits(max_rows=9_999_999))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["x" * 10**5] * 100),
        pa.array([b"x" * 10**5] * 100),
        pa.array([[1.0] * 1000] * 1000),
        pa.array([1.5] * 10**6),
    ],
    ids=["text", "bytes", "lists", "numbers"],
)
def test_parquet_that_would_fill_the_memory_is_refused_unread(tmp_path: Path, monkeypatch, values: pa.Array) -> None:
    bomb(tmp_path / "t.parquet", values, copies=3)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("the file was read"))
    with pytest.raises(ValueError, match=r"rows may take [0-9,]+ bytes in memory, and ingest.max_bytes is 20,000,000"):
        reading.read(tmp_path / "t.parquet", COLUMNS, TableLimits(max_bytes=20_000_000))


def test_one_long_text_among_many_rows_does_not_make_a_table_too_large(tmp_path: Path) -> None:
    users = ["u"] * 1000 + [None, "x" * 10**5]
    pq.write_table(pa.table({"user_id": users, "image_id": ["i"] * len(users)}), tmp_path / "t.parquet")
    found = reading.read(tmp_path / "t.parquet", COLUMNS, TableLimits(max_bytes=1_000_000))

    assert rows(found).select("user_id")["user_id"].to_list() == users


def test_rows_of_text_count_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user_id,image_id\n" + "u,i\n" * 11)
    with pytest.raises(ValueError, match=r"it has more than 10 rows, and ingest.max_rows is 10"):
        reading.read(tmp_path / "t.csv", COLUMNS, TableLimits(max_rows=10))


def compressed(content: bytes, packed: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, PACKED[packed]) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def bomb(file: Path, values: pa.Array, copies: int) -> None:
    """A small file of many equal rows."""
    table = pa.table({"user_id": values})
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(copies):
            writer.write_table(table)
