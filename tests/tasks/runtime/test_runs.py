"""Which id a night gets."""

import re

import pytest

from storage.documents import DocumentError
from storage.roots import Root
from tasks.runtime import runs
from tasks.runtime.ledger import Ledger


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_a_night_is_named_by_the_time(root):
    assert re.fullmatch(r"\d{8}T\d{6}Z", runs.begin(None, "purpose", root).id)


def test_a_night_that_did_not_end_is_gone_on_with_under_its_id(root):
    begun = runs.begin(None, "purpose", root)

    assert runs.begin(None, "purpose", root) == begun


def test_a_night_of_another_purpose_gets_an_id_of_its_own_within_the_same_second(root):
    assert len({runs.begin(None, purpose, root).id for purpose in ("one", "two", "three")}) == 3


def test_ids_sort_as_nights_begin_also_where_the_clock_was_set_back(root):
    for id_ in ("20990101T000000Z", "20990101T000000Z-12", "by-hand"):  # with a number, as version 0.2 did
        runs.begin(id_, "a", root)
    ids = [runs.begin(None, purpose, root).id for purpose in "bc"]
    assert ids == ["20990101T000001Z", "20990101T000002Z"]


def test_a_night_that_ended_is_not_gone_on_with(root):
    begun = runs.begin(None, "purpose", root)
    runs.finish(begun, root)

    assert runs.begin(None, "purpose", root).id != begun.id


def test_an_id_that_is_asked_for_is_given(root):
    begun = runs.begin("monday", "purpose", root)

    assert (begun.id, begun.is_named) == ("monday", True)


@pytest.mark.parametrize("run_id", ["../exports/current", "", "-rf", "a/b"])
def test_an_id_that_cannot_be_part_of_a_path_is_refused_before_anything_runs(root, run_id):
    with pytest.raises(ValueError, match="run id"):
        runs.begin(run_id, "purpose", root)
    assert list(root.entries()) == []


def test_what_stages_took_is_kept_as_a_table_beside_the_note(root):
    ledger = Ledger()
    for stage in ("ingest", "recommend", "ingest"):
        with ledger.measuring(stage):
            ledger.note(stage, "ran", 0.5)
        ledger.note_files(stage, [{"path": "tables/a", "sha256": "a", "rows": 3, "bytes": 70}])  # the same file again
    ledger.note("recommend", "failed", 0.0)
    with ledger.measuring("recommend"):
        ledger.note("recommend", "reused", 0.0)
    assert [[call.is_reused for call in line.calls] for line in ledger.lines.values()] == [
        [False, False],
        [False, True],
    ]
    run = runs.begin("night-1", "purpose", root)
    runs.write_stages(run, ledger.lines.values(), root)

    rows = runs.stages_of("night-1", root)
    assert [(row["place"], row["stage"], row["ran"], row["failed"]) for row in rows] == [
        (0, "ingest", 2, 0),
        (1, "recommend", 1, 1),
    ]
    assert [(row["rows"], row["bytes"], row["seconds"]) for row in rows] == [(3, 70, 1.0), (3, 70, 0.5)]
    assert rows[1]["started_s"] >= rows[0]["started_s"] >= 0
    assert all(row["elapsed_s"] > 0 and row["peak_bytes"] > 2**20 for row in rows)
    assert [note.id for note in runs.notes(root)] == ["night-1"]  # the table is no note
    assert runs.stages_of("night-2", root) == []
    root.write(runs.stages_path("night-2"), b"PAR1")
    with pytest.raises(DocumentError, match=r"runs/night-2.stages.parquet: damaged"):
        runs.stages_of("night-2", root)
