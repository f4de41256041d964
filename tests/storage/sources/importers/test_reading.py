"""Text files of a download, as they are found."""

from pathlib import Path

import polars as pl
import pytest

from storage.sources.importers import reading
from storage.sources.importers.reading import LayoutError


def read(file: Path, wanted: tuple[str, ...], **how: object) -> tuple[list[tuple[str | None, ...]], int, int]:
    """The rows, and how many were broken and how many lines were Latin-1."""
    broken, latin_1 = [], []
    frames = list(reading.rows(file, wanted, broken.append, latin_1.append, **how))  # type: ignore[arg-type]
    return [row for frame in frames for row in frame.rows()], sum(broken), sum(latin_1)


def test_lines_in_utf_8_and_in_latin_1_may_stand_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "tags.dat"
    file.write_bytes("id\ttag\n1\tespañol\n".encode() + "2\tespañol\n".encode("latin-1") + b"3\tplain\n")
    assert read(file, ("id", "tag"), delimiter="\t") == ([("1", "español"), ("2", "español"), ("3", "plain")], 0, 1)


@pytest.mark.parametrize("chunk", [40, 64, 1 << 20])
def test_rows_come_whole_wherever_the_file_is_cut(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    file = tmp_path / "movies.dat"
    file.write_bytes("".join(f"{row}::Título {row}::é\r\n" for row in range(50)).encode() + b"50::last::x")
    rows, broken, _ = read(file, ("id", "title"), delimiter="::", header=("id", "title", "rest"), quoted=False)

    assert rows == [*((str(row), f"Título {row}") for row in range(50)), ("50", "last")]
    assert broken == 0


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,name\n1,x\n")
    assert read(tmp_path / "a.csv", ("id",))[0] == [("1",)]


def test_quoted_cells_may_hold_delimiters_quotes_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,"name"\n1,"a, ""b""\nc"\n')
    assert read(tmp_path / "a.csv", ("id", "name"))[0] == [("1", 'a, "b"\nc')]


def test_a_quote_is_a_plain_character_where_the_layout_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text('id\tname\n1\t"Weird Al\n2\ty\n')
    assert read(tmp_path / "a.dat", ("name",), delimiter="\t", quoted=False)[0] == [('"Weird Al',), ("y",)]


def test_a_row_with_another_number_of_cells_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1\n2,b\n3,c,d\n")
    assert read(tmp_path / "a.csv", ("id", "name")) == ([("2", "b")], 2, 0)


def test_columns_that_may_be_missing_are_null_then(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,\n")
    assert read(tmp_path / "a.csv", ("tag?", "name?", "id"))[0] == [(None, "", "1")]


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,x\n")
    with pytest.raises(LayoutError, match=r"a\.csv: no column item_id \(found id, name\)"):
        read(tmp_path / "a.csv", ("item_id",))


@pytest.mark.parametrize("content", ["id,name\n", "id,name"])
def test_a_file_without_rows_is_in_order(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert read(tmp_path / "a.csv", ("id",)) == ([], 0, 0)


def test_a_quote_that_is_never_closed_is_an_error_and_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    (tmp_path / "a.csv").write_text('id,name\n1,"open\n' + "2,b\n" * 100)
    with pytest.raises(LayoutError, match=r"a\.csv: cannot be parsed: .*is there a quote that is never closed\?"):
        read(tmp_path / "a.csv", ("id",))


def test_numbers_too_large_for_seconds_are_milliseconds() -> None:
    cells = pl.DataFrame({"at": ["978300760", "978300760.9", "1583378629552", "-5", "", "soon", None]})
    assert cells.select(reading.seconds("at"))["at"].to_list() == [
        978300760,
        978300760,
        1583378629,
        -5,
        None,
        None,
        None,
    ]
