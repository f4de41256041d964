"""The manifest of a run, of this version and of others."""

import json
from dataclasses import replace

import pytest

from storage.documents import DocumentError
from storage.manifests import Manifest, Outcome, PublishedFile
from storage.refs import Ref

FAVORITES = Ref("favorites", "tables/favorites/1.parquet", "ab", 3, 40)
WHOLE = Manifest(
    run_id="night-1",
    generated_at="2026-11-28T02:00:00+00:00",
    metrics=[{"metric": "ndcg", "value": 0.1}],
    inputs={"favorites": FAVORITES},
    quarantine=Ref("quarantine", "tables/quarantine/1.parquet", "cd", 0, 10),
    gate=(Outcome("tested", True, False, "holds"),),
    is_current=True,
    memory={"version": 2, "last": {}},
    rows={"recommendations": 3},
    files=(
        PublishedFile("recommendations", "a/part-00000.parquet", 3, 50, "ef"),
        PublishedFile(None, "a/r", 0, 1, "0"),
    ),
)


def through_json(manifest: Manifest) -> Manifest:
    return Manifest.from_json(json.loads(json.dumps(manifest.to_json())))


@pytest.mark.parametrize("manifest", [WHOLE, replace(WHOLE, withdrawn={"from": "night-0", "users": 1})])
def test_a_manifest_survives_its_file(manifest):
    assert through_json(manifest) == manifest


def test_only_a_redacted_run_says_what_was_withdrawn():
    assert "withdrawn" not in WHOLE.to_json()


def test_fields_of_a_later_version_are_kept():
    later = Manifest.from_json(WHOLE.to_json() | {"carbon_g": 7})

    assert later == replace(WHOLE, further={"carbon_g": 7})
    assert later.to_json()["carbon_g"] == 7


def test_an_early_manifest_that_names_classes_and_lacks_fields_is_read():
    early = {
        "run_id": "night-0",
        "generated_at": "2026-11-20T02:00:00+00:00",
        "metrics": [],
        "inputs": {"favorites": {"class": "Ref", **vars(FAVORITES)}},
    }
    read = Manifest.from_json(early)

    assert read.inputs == {"favorites": FAVORITES}
    assert (read.system, read.fitted, read.memory, read.files) == ("cdl", None, None, ())


@pytest.mark.parametrize("damaged", [{}, {"run_id": "x"}, WHOLE.to_json() | {"files": [{"path": "a"}]}, {"gate": 3}])
def test_what_is_no_manifest_is_named_with_the_way_out(damaged):
    with pytest.raises(DocumentError, match=r"night-1/manifest\.json: damaged, as of .*`tastegraph verify --repair`"):
        Manifest.from_json(damaged, "root/night-1/manifest.json")


def test_files_are_found_by_table_and_the_report_is_none_of_them():
    assert WHOLE.table_files() == WHOLE.table_files("recommendations") == [WHOLE.files[0]]
    assert WHOLE.files[0].ref == Ref("recommendations", "a/part-00000.parquet", "ef", 3, 50)
