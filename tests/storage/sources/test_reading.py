from pathlib import Path

import pytest

from storage.sources import reading

COLUMNS = ("user_id", "image_id")


def read(file: Path, content: str | bytes) -> tuple[list[tuple[int, str, str]], list[tuple[int, str]]]:
    """The rows read from the file, and the broken ones."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = reading.read(file, COLUMNS)
    return found.rows.select("row", *COLUMNS).collect().rows(), found.broken


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


def test_json_values_that_polars_would_level_are_read_as_written(tmp_path: Path) -> None:
    content = '{"user_id": 12.0, "image_id": "12.0"}\n{"user_id": 18446744073709551617, "image_id": "[a]"}\n'
    assert read(tmp_path / "t.jsonl", content)[0] == [(0, "12", "12.0"), (1, "18446744073709551617", "[a]")]


def test_a_json_file_without_a_row_lacks_no_column(tmp_path: Path) -> None:
    assert read(tmp_path / "t.jsonl", "") == ([], [])


def test_a_csv_file_without_a_header_or_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no header line"):
        read(tmp_path / "t.csv", "")
    with pytest.raises(ValueError, match="names user_id twice"):
        read(tmp_path / "t.csv", "user_id,image_id,user_id\n")
