"""A report without those who were forgotten."""

from dataclasses import replace

import polars as pl
import pytest

from storage import parquet, snapshots
from storage.id_scan import IdScan
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.community import IMAGES
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.pages.contents import Cluster, Picture, Reason, Recommendation, Report, from_json, to_json
from tasks.pages.night import CONTENTS, PAGE, files_of
from tasks.upkeep import redact
from tasks.upkeep.redact import WITHDRAWN, report_without, republish
from tests.tasks.pages.reports import full

LISTS = {
    "user_id": ["u1", "u1", "u1", "u2"],
    "rank": [1, 2, 3, 1],
    "image_id": ["7", "8", "9", "8"],
    "score": [3.0, 2.0, 1.0, 1.0],
    "model": ["ease-1"] * 4,
}


def scan(*, user: str | None = None, image: str | None = None) -> IdScan:
    named = {"user": user, "image": image}
    return IdScan({kind: frozenset({id_} if id_ else ()) for kind, id_ in named.items()})


def got(picture: Picture, rank: int) -> Recommendation:
    return Recommendation(picture=picture, rank=rank, score=1.0, concealed=False)


def shown(report: Report) -> list[tuple[str, list[str], list[tuple[str, int]]]]:
    """Each person's likes and lists, by id."""
    return [
        (
            person.user_id,
            [picture.image_id for picture in person.likes],
            [(item.picture.image_id, item.rank) for item in person.got],
        )
        for person in report.people
    ]


def test_a_forgotten_user_is_none_of_the_people():
    report = full()
    two = replace(report, people=[*report.people, replace(report.people[0], user_id="u2")])

    assert [person.user_id for person in report_without(two, scan(user="u1")).people] == ["u2"]
    assert to_json(report_without(two, scan(user="u3"))) == to_json(two)


def test_a_forgotten_picture_is_in_no_list_and_the_ranks_of_the_others_close_up():
    assert shown(full()) == [("u1", ["8"], [("7", 1), ("9", 2)])]
    left = report_without(full(), scan(image="7"))
    assert shown(left) == [("u1", ["8"], [("9", 1)])]
    assert [(item.picture.image_id, item.rank) for item in left.people[0].found] == [("8", 1)]
    assert [item.rank for item in report_without(full(), scan(image="8")).people[0].found] == [1]


def test_failures_lose_whom_and_what_is_forgotten_and_rows_that_may_name_anybody():
    of_user = report_without(full(), scan(user="u2")).failures
    of_images = report_without(full(), scan(image="10")).failures
    of_cold = report_without(full(), scan(image="11")).failures

    assert of_user.misses == []
    assert of_images.misses[0].missed == []
    assert of_cold.cold == []
    row = replace(full().failures.kept_out[0], samples=[("row 1", '{"user_id": "u2"}'), ("row 2", '{"user_id": "u…')])
    named = replace(full(), failures=replace(full().failures, kept_out=[row]))
    assert report_without(named, scan(user="u2")).failures.kept_out[0].samples == []
    assert len(of_user.kept_out[0].samples) == 1


@pytest.mark.parametrize("gone", [{"user": "u1"}, {"image": "7"}, {"image": "8"}])
def test_a_case_that_names_somebody_or_shows_a_forgotten_picture_goes_whole(gone):
    assert report_without(full(), scan(**gone)).case is None
    assert report_without(full(), scan(user="u3")).case == full().case


def test_a_picture_goes_whose_title_or_tag_names_a_forgotten_user():
    person = full().people[0]
    titled = Picture(image_id="1", title="A portrait of anna@N00-7f3a")
    tagged = Picture(image_id="2", tags=["sea", "anna@N00-7f3a"])
    other = Picture(image_id="3", title="A portrait of joanna@N00-7f3a5")
    report = replace(full(), people=[replace(person, likes=[titled, other], got=[got(tagged, 1), got(other, 2)])])

    assert shown(report_without(report, scan(user="anna@N00-7f3a"))) == [("u1", ["3"], [("3", 1)])]


def test_where_interests_and_clusters_are_of_images_a_forgotten_one_is_none_of_them():
    report = replace(
        full(),
        people=[replace(full().people[0], interests=["12", "13"])],
        clusters=[Cluster(cluster=0, size=2, tokens=["12", "13"])],
    )
    left = report_without(report, scan(image="12"))

    assert left.people[0].interests == ["13"]
    assert left.clusters[0].tokens == ["13"]
    assert report_without(report, scan(user="12")).clusters == report.clusters  # a user of the same id is another


def published(root: Root, report: dict[str, bytes]) -> Manifest:
    """A current run with one table of lists."""
    lists = parquet.write(RECOMMENDATIONS, LISTS, root)
    ingest = {"tables": {}, "unknown_files": []}
    manifest = Manifest(run_id="night-1", generated_at="2026-01-01T00:00:00+00:00", metrics=[], ingest=ingest)
    return snapshots.publish(root, manifest, {"recommendations": [lists]}, report, current=True)


def pages(root: Root, run_id: str) -> dict[str, bytes]:
    place = f"{snapshots.folder(run_id)}/report/"
    return {entry.path.removeprefix(place): root.read(entry.path) for entry in root.entries(place)}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_the_redacted_run_s_page_is_rendered_from_its_own_data_and_names_its_own_id(root):
    report = replace(full(), title="demo, run night-1", run_id="night-1")
    run_id = republish(published(root, files_of(report)), scan(image="8"), root)

    left = pages(root, run_id)
    assert left == files_of(from_json(left[CONTENTS]))
    assert shown(from_json(left[CONTENTS])) == [("u1", [], [("7", 1), ("9", 2)])]
    assert from_json(left[CONTENTS]).title == f"demo, run {run_id}"
    assert b"night-1" not in left[PAGE]
    rows = parquet.read(snapshots.manifest(root, run_id).table_files()[0].ref, root).to_pydict()
    assert list(zip(rows["user_id"], rows["rank"], rows["image_id"], strict=True)) == [("u1", 1, "7"), ("u1", 2, "9")]


@pytest.mark.parametrize("gone", [{"image": "5"}, {"user": "anna-of-the-lake"}])
def test_nothing_forgotten_stands_behind_a_reason(gone):
    reasons = [Reason(signal="tags", share=0.5, because="sea")]
    reasons += [Reason(signal="favorites", share=0.5, because="5", label="By anna-of-the-lake")]
    person = replace(full().people[0], got=[replace(got(full().people[0].got[0].picture, 1), reasons=reasons)])
    left = report_without(replace(full(), people=[person]), scan(**gone)).people[0].got[0].reasons
    assert [(one.because, one.label) for one in left] == [("sea", None), (None, None)]


@pytest.mark.parametrize(("gone", "behind"), [("8", "9"), ("9", None)])
def test_reasons_keep_to_the_ranks_that_close_up_and_what_is_forgotten_stands_behind_none(root, gone, behind):
    lists = parquet.write(RECOMMENDATIONS, LISTS, root)
    rows = pl.DataFrame(parquet.read(lists, root)).select("user_id", "rank", "image_id")
    because = pl.Series(["9"] * rows.height)
    reasons = parquet.write(REASONS, rows.with_columns(signal=pl.lit("favorites"), share=1.0, because=because), root)
    manifest = Manifest(run_id="night-1", generated_at="2026-01-01T00:00:00+00:00", metrics=[], ingest={})
    exports = {"recommendations": [lists], "reasons": [reasons]}
    published = snapshots.publish(root, manifest, exports, files_of(full()), current=True)
    left = {
        file.table: pl.DataFrame(parquet.read(file.ref, root))
        for file in snapshots.manifest(root, republish(published, scan(image=gone), root)).table_files()
    }
    place = ["user_id", "rank", "image_id"]
    assert left["reasons"].select(place).rows() == left["recommendations"].select(place).rows()
    assert set(left["reasons"]["because"]) == {behind}


@pytest.mark.parametrize("data", [None, b"{}", b'{"version": 0}', b"no JSON"])
def test_a_report_without_data_that_can_be_read_is_withdrawn(root, data):
    report = {PAGE: b"<html>"} | ({CONTENTS: data} if data else {})
    run_id = republish(published(root, report), scan(user="u2"), root)

    assert pages(root, run_id) == {PAGE: WITHDRAWN}


def test_a_report_that_names_them_even_so_is_withdrawn(root):
    report = replace(full(), warnings=["anna@N00-7f3a has a list of her own"])
    run_id = republish(published(root, files_of(report)), scan(user="anna@N00-7f3a"), root)

    assert pages(root, run_id) == {PAGE: WITHDRAWN}


def test_a_table_keeps_no_title_that_names_somebody_forgotten(tmp_path):
    root = Root(str(tmp_path))
    names = ("image_id", "path", "url", "owner_id", "title", "uploaded_at")
    values = (["i1", "i2"], ["p/1", "p/2"], [None, None], ["u2", "u2"], ["by anna@N00-7f3a", "sea"], [None, None])
    ref = parquet.write(IMAGES, dict(zip(names, values, strict=True)), root)

    left = redact._without(ref, IdScan({"user": frozenset({"anna@N00-7f3a"})}), root)

    assert parquet.read(left, root)["title"].to_pylist() == [None, "sea"]
