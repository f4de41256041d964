"""The ids that a file names, for every kind of file."""

import json
import sqlite3

import numpy as np
import pytest

from storage import parquet, shards
from storage.id_scan import IdScan
from storage.roots import Root
from storage.tables.community import FAVORITES, QUARANTINE
from storage.tables.tastes import CLUSTERS

LONG = IdScan({"user": frozenset({"anna@N00-7f3a"}), "image": frozenset({"img-41cc20"})})
SHORT = IdScan({"user": frozenset({"7"}), "image": frozenset({"12"})})
ANNA, PICTURE = ("user", "anna@N00-7f3a"), ("image", "img-41cc20")


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def ids_in(scan: IdScan, path: str, root: Root) -> set[tuple[str, str]]:
    return set(scan.in_file(root.local(path), path))


def test_a_compressed_table_is_read_cell_by_cell(root):
    rows = {"user_id": ["anna@N00-7f3a", "ben"], "image_id": ["i1", "img-41cc20"], "favorited_at": [None, None]}
    ref = parquet.write(FAVORITES, rows, root)

    assert ids_in(LONG, ref.path, root) == {ANNA, PICTURE}


def test_a_short_id_is_neither_an_id_of_the_other_kind_nor_part_of_a_longer_one(root):
    def named(user: str, image: str) -> set[tuple[str, str]]:
        rows = {"user_id": [user], "image_id": [image], "favorited_at": [None]}
        return ids_in(SHORT, parquet.write(FAVORITES, rows, root).path, root)

    assert named("7", "12") == {("user", "7"), ("image", "12")}
    assert named("12", "7") == set()
    assert named("77", "112") == set()


def test_in_a_text_column_a_word_counts_and_a_part_of_a_word_does_not(root):
    def named(value: str) -> set[tuple[str, str]]:
        rows = {"table": ["images"], "row": [0], "reason": ["bad url"], "value": [value], "text": ["{}"]}
        return ids_in(LONG, parquet.write(QUARANTINE, rows, root).path, root)

    assert named("ftp://host/anna@N00-7f3a/1.jpg") == {ANNA}
    assert named("ftp://host/joanna@N00-7f3a5/1.jpg") == set()


def test_a_short_id_is_found_among_the_cells_of_a_row_in_quarantine(root):
    def named(text: str) -> set[tuple[str, str]]:
        rows = {"table": ["favorites"], "row": [0], "reason": ["bad time"], "value": ["x"], "text": [text]}
        return ids_in(SHORT, parquet.write(QUARANTINE, rows, root).path, root)

    assert ("user", "7") in named('{"user_id":"7","image_id":"i9"}')
    assert named('{"user_id":"77","image_id":"i9"}') == set()


def test_images_among_a_cluster_s_tokens_are_found(root):
    rows = {"cluster": [0], "size": [2], "tokens": [["i1", "img-41cc20"]], "centroid": [[0.5]]}

    assert ids_in(LONG, parquet.write(CLUSTERS, rows, root).path, root) == {PICTURE}


def test_a_shard_is_searched_by_its_ids_and_not_by_its_pixels(root):
    pixels = np.full((1, 3), ord("7"), np.uint8)
    ref = shards.write(["12"], pixels, "pixels", root)

    assert ids_in(SHORT, ref.path, root) == {("image", "12")}
    assert ids_in(IdScan({"user": frozenset({"777"})}), ref.path, root) == set()


def test_a_record_is_json_in_json(root):
    root.write("cache/stage/1", json.dumps({"result": json.dumps({"rejected": ["p/img-41cc20.jpg"], "n": 7})}).encode())

    assert ids_in(LONG, "cache/stage/1", root) == {PICTURE}
    assert ids_in(SHORT, "cache/stage/1", root) == set()


def test_of_a_manifest_only_the_words_of_the_source_count(root):
    manifest = {"system": "popularity", "ingest": {"unknown_files": ["anna@N00-7f3a.txt"], "tables": {}}}
    root.write("exports/runs/run_id=1/manifest.json", json.dumps(manifest).encode())

    assert ids_in(LONG, "exports/runs/run_id=1/manifest.json", root) == {ANNA}
    assert ids_in(IdScan({"user": frozenset({"popularity"})}), "exports/runs/run_id=1/manifest.json", root) == set()


@pytest.mark.parametrize("text", ["<li>anna@N00-7f3a</li>", "/people/anna%40N00-7f3a/", '"anna@N00-7f3a"'])
def test_running_text_is_searched_as_it_spells_an_id(root, text):
    root.write("page.html", text.encode())

    assert ids_in(LONG, "page.html", root) == {ANNA}


def test_a_page_spells_an_id_with_marks_its_own_way(root):
    root.write("page.html", b"<li>O&#39;Hara &amp; sons</li>")

    assert ids_in(IdScan({"user": frozenset({"O'Hara & sons"})}), "page.html", root) == {("user", "O'Hara & sons")}


def test_a_database_is_searched_byte_by_byte_its_journal_too(root, tmp_path):
    with sqlite3.connect(tmp_path / "prefect.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("CREATE TABLE log (message TEXT)")
        database.execute("INSERT INTO log VALUES ('user anna@N00-7f3a has none')")
        assert ids_in(LONG, "prefect.db", root) | ids_in(LONG, "prefect.db-wal", root) == {ANNA}
    database.close()


def test_a_file_s_path_may_name_an_image(root):
    root.write("sources/demo/img-41cc20.jpg", b"jpeg")
    root.write("sources/demo/12.jpg", b"jpeg")

    assert ids_in(LONG, "sources/demo/img-41cc20.jpg", root) == {PICTURE}
    assert ids_in(SHORT, "sources/demo/12.jpg", root) == {("image", "12")}


@pytest.mark.parametrize("path", ["tables/users/1.parquet", "shards/pixels/1.arrow"])
def test_a_damaged_file_is_named_with_what_to_do(root, path):
    root.write(path, b"neither table nor shard")

    with pytest.raises(ValueError, match=f"{path}: damaged, .*; delete it"):
        ids_in(LONG, path, root)


@pytest.mark.parametrize("path", ["exports/runs/run_id=1/manifest.json", "exports/runs/run_id=1/report/report.json"])
@pytest.mark.parametrize(
    "content", [b'{"a": anna@N00-7f3a', b'{"ingest": 3}, "anna@N00-7f3a"', b"[" * 10**5 + b" anna@N00-7f3a"]
)
def test_damaged_json_of_a_run_is_searched_as_text(root, path, content):
    root.write(path, content)

    assert ids_in(LONG, path, root) == {ANNA}


def test_a_scan_for_no_id_finds_none(root):
    root.write("page.html", b"anything")

    assert ids_in(IdScan({"user": frozenset(), "image": frozenset()}), "page.html", root) == set()


def test_a_report_s_data_is_read_by_its_fields_so_that_a_user_may_be_called_like_a_system(root):
    def named(scan: IdScan, **shown: object) -> set[tuple[str, str]]:
        path = "exports/runs/run_id=1/report/report.json"
        root.write(path, json.dumps({"system": "12", "people": [shown]}).encode())
        return ids_in(scan, path, root)

    assert named(SHORT, user_id="7", interests=["7"]) == {("user", "7")}
    assert named(SHORT, user_id="12", pictures=[{"image_id": "7", "title": "12"}]) == set()
    assert named(SHORT, user_id="1", interests=["12"]) == {("image", "12")}  # without tags, interests are images
    assert named(SHORT, user_id="1", tags=[["12", 3]]) == {("image", "12")}  # those of the case study too
    assert named(LONG, user_id="1", pictures=[{"image_id": "2", "title": "by anna@N00-7f3a"}]) == {ANNA}


@pytest.mark.parametrize("row", ['{"user_id": "7", "image_id": "i9"}', '{"user_id": "7", "image_id": "lo…', "7"])
def test_a_short_id_is_found_in_the_rows_of_a_report_that_were_kept_out(root, row):
    path = "exports/runs/run_id=1/report/report.json"
    kept_out = {"table": "favorites", "reason": "unreadable time", "count": 1, "samples": [["row 7", row]]}
    root.write(path, json.dumps({"failures": {"kept_out": [kept_out]}}).encode())

    assert ("user", "7") in ids_in(SHORT, path, root)


def test_a_report_s_words_spell_an_id_as_its_json_does(root):
    scan = IdScan({"user": frozenset({'é "anna"'})})
    path = "exports/runs/run_id=1/report/report.json"
    root.write(path, json.dumps({"pictures": [{"image_id": "2", "title": 'by é "anna"'}]}, ensure_ascii=False).encode())

    assert ids_in(scan, path, root) == {("user", 'é "anna"')}


def test_an_address_spells_an_id_with_its_slash_escaped(root):
    root.write("page.html", b'<a href="/people/anna%2FN00-7f3a">')

    assert ids_in(IdScan({"user": frozenset({"anna/N00-7f3a"})}), "page.html", root) == {("user", "anna/N00-7f3a")}
