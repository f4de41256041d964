import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from storage import parquet, snapshots
from storage.documents import DocumentError
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import ConflictError, DamagedError, Root
from storage.snapshots import Pointer, PublishedError
from storage.tables.similar import SIMILAR_IMAGES

FACTS = {"generated_at": "2026-01-01T00:00:00+00:00", "metrics": {"recall@10": 0.5}, "settings": {"seed": 0}}
REPORT = {"index.html": b"<!doctype html><title>report</title>", "report.json": b"{}"}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture(params=["moto", "rclone"])
def remote(request, monkeypatch, tmp_path) -> Root:
    return request.getfixturevalue(request.param).root(monkeypatch, tmp_path / "scratch")


def part(root: Root, image_ids: str, score: float) -> Ref:
    """A file of SIMILAR_IMAGES with a row for every letter."""
    ranks = pl.Series(range(1, len(image_ids) + 1), dtype=pl.Int32)
    rows = {"image_id": list(image_ids), "rank": ranks, "similar_image_id": ["x"] * len(image_ids)}
    return parquet.write(SIMILAR_IMAGES, pl.DataFrame({**rows, "score": [score] * len(image_ids)}), root)


def tables(root: Root, score: float = 0.0) -> dict[str, list[Ref]]:
    """Two tables, one of them in two files; `score` differs from run to run."""
    return {"similar_images": [part(root, "abc", score), part(root, "de", score)], "others": [part(root, "f", score)]}


def publish(root: Root, run_id: str, score: float = 0.0, *, current: bool = True, **facts) -> Manifest:
    manifest = Manifest(run_id=run_id, **{**FACTS, **facts})
    return snapshots.publish(root, manifest, tables(root, score), REPORT, current=current)


def files(root: Root) -> dict[str, bytes]:
    """All bytes of the exports, but the times of the pointer's changes."""
    read = {entry.path: root.read(entry.path) for entry in root.entries("exports")}
    return {
        path: re.sub(rb'"at": ".{25}"', b"", data) if path.endswith(".json") else data for path, data in read.items()
    }


def scores(root: Root, pointer: Pointer, table: str = "similar_images") -> list[float]:
    return pl.scan_parquet(snapshots.dataset(root, pointer, table)).collect()["score"].to_list()


def test_a_published_run_lies_where_the_contract_says(root):
    publish(root, "night-1")
    run = "exports/runs/run_id=night-1"
    assert list(files(root)) == [
        "exports/current.json",
        "exports/history/000001.json",
        f"{run}/manifest.json",
        f"{run}/others/part-00000.parquet",
        f"{run}/report/index.html",
        f"{run}/report/report.json",
        f"{run}/similar_images/part-00000.parquet",
        f"{run}/similar_images/part-00001.parquet",
    ]
    read = pl.read_parquet(f"{root.address}/{run}/similar_images/*.parquet", hive_partitioning=True)
    assert read.select("run_id", "image_id").rows() == [("night-1", letter) for letter in "abcde"]


def test_the_manifest_names_every_file_and_keeps_what_it_was_given(root):
    made = publish(root, "night-1", code_version="1.2")
    found = files(root)
    written = json.loads(found["exports/runs/run_id=night-1/manifest.json"])
    assert written == json.loads(json.dumps(made.to_json()))
    assert made == snapshots.manifest(root, "night-1")
    assert (made.run_id, made.code_version, made.settings) == ("night-1", "1.2", {"seed": 0})
    listed = {file.path: (file.bytes, file.sha256) for file in made.files}
    for path in ("exports/current.json", "exports/history/000001.json", "exports/runs/run_id=night-1/manifest.json"):
        del found[path]
    assert listed == {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in found.items()}
    assert [(file.table, file.rows) for file in made.files] == [
        ("others", 1),
        ("similar_images", 3),
        ("similar_images", 2),
        (None, 0),
        (None, 0),
    ]


def test_the_pointer_says_what_is_current_and_where(root):
    assert snapshots.current(root) is None
    publish(root, "night-1")
    pointer = snapshots.current(root)
    folder = "exports/runs/run_id=night-1"
    assert pointer.paths == {
        "others": [f"{folder}/others/part-00000.parquet"],
        "similar_images": [f"{folder}/similar_images/part-0000{part}.parquet" for part in range(2)],
    }
    assert pointer.rows == {"others": 1, "similar_images": 5}
    assert pointer.checksums[f"{folder}/others/part-00000.parquet"] == tables(root)["others"][0].sha256
    assert (pointer.run_id, pointer.generated_at, pointer.schema_version, pointer.metrics) == (
        "night-1",
        FACTS["generated_at"],
        "1",
        FACTS["metrics"],
    )
    assert set(json.loads(root.read("exports/current.json"))) == set(vars(pointer))


def test_a_run_that_is_not_current_is_kept_and_leaves_the_pointer_alone(root):
    publish(root, "night-1", 1.0)
    publish(root, "night-2", 2.0, current=False)
    assert snapshots.current(root).run_id == "night-1"
    assert scores(root, Pointer.of(snapshots.manifest(root, "night-2"))) == [2.0] * 5
    with pytest.raises(FileNotFoundError, match="no run night-3 was published here"):
        snapshots.manifest(root, "night-3")


def test_runs_come_newest_first(root):
    assert snapshots.runs(root) == []
    for run_id, day in (("b", 2), ("c", 1), ("a", 3)):
        publish(root, run_id, day, generated_at=f"2026-01-0{day}T00:00:00+00:00")
    root.delete("exports/runs/run_id=b/manifest.json")  # a run whose publishing was killed
    assert [run.run_id for run in snapshots.runs(root)] == ["a", "c"]


def test_publishing_the_same_run_again_changes_no_byte(root):
    publish(root, "night-1")
    before = files(root)
    made = publish(root, "night-1", generated_at="2026-02-02T00:00:00+00:00")
    assert made.generated_at == FACTS["generated_at"]
    assert files(root) == before


def test_a_run_id_that_is_taken_by_other_tables_is_refused(root):
    publish(root, "night-1", 1.0)
    before = files(root)
    with pytest.raises(PublishedError, match=r"run_id=night-1: .*publish under another run id"):
        publish(root, "night-1", 2.0)
    assert files(root) == before


def test_a_run_published_before_can_be_made_current_again(root):
    publish(root, "night-1", 1.0)
    publish(root, "night-2", 2.0)
    publish(root, "night-1", 1.0)
    assert scores(root, snapshots.current(root)) == [1.0] * 5


def test_a_lost_table_file_is_put_back(root):
    publish(root, "night-1")
    before = files(root)
    root.delete("exports/runs/run_id=night-1/others/part-00000.parquet")
    publish(root, "night-1")
    assert files(root) == before


def test_what_a_killed_attempt_left_behind_is_not_published(root):
    run = "exports/runs/run_id=night-1"
    root.copy(part(root, "abc", 9.0).path, f"{run}/similar_images/part-00000.parquet")
    root.copy(part(root, "abc", 9.0).path, f"{run}/similar_images/part-00002.parquet")
    publish(root, "night-1", 1.0)
    assert pl.read_parquet(f"{root.address}/{run}/similar_images/*.parquet")["score"].to_list() == [1.0] * 5


def test_a_run_published_meanwhile_is_not_overwritten(root):
    publish(root, "night-1", 1.0)

    class Meanwhile(Root):
        def copy(self, source: str, target: str) -> None:
            publish(root, "night-2", 2.0)
            super().copy(source, target)

    with pytest.raises(ConflictError, match=r"current\.json"):
        publish(Meanwhile(root.address), "night-3", 3.0)
    assert snapshots.current(root).run_id == "night-2"
    publish(root, "night-3", 3.0)
    assert snapshots.current(root).run_id == "night-3"


@pytest.mark.parametrize("run_id", ["", ".", "..", "a/b", "a b", "run_id=a", "é", "-rf", "a\n"])
def test_a_run_id_that_cannot_be_part_of_a_path_is_refused(root, run_id):
    with pytest.raises(ValueError, match=r"run id .*: write letters"):
        publish(root, run_id)
    assert files(root) == {}


def test_a_manifest_that_is_no_json_is_refused_before_anything_is_written(root):
    for facts in ({"metrics": float("nan")}, {"settings": Path()}):
        with pytest.raises(ValueError, match="run night-1: JSON cannot hold"):
            publish(root, "night-1", **facts)
    assert files(root) == {}


def test_an_unknown_table_is_named(root):
    publish(root, "night-1")
    with pytest.raises(ValueError, match="run night-1 has no table nope; it has others, similar_images"):
        snapshots.dataset(root, snapshots.current(root), "nope")


# -- readers and kills -------------------------------------------------------------------------------------------------


def whole(root: Root) -> str:
    """The current run's id, after every file that its pointer names was read and found whole."""
    pointer = snapshots.current(root)
    for path, sha256 in pointer.checksums.items():
        assert hashlib.sha256(root.read(path)).hexdigest() == sha256
    (score,) = {*scores(root, pointer), *scores(root, pointer, "others")}
    assert score == float(pointer.run_id)
    return pointer.run_id


def check_a_reader_while_publishing(root: Root, num_runs: int) -> None:
    publish(root, "0", 0.0)
    seen, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(whole(root))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, num_runs):
        publish(root, str(number), number)
    done.set()
    reader.join()
    assert whole(root) == str(num_runs - 1)
    assert len(set(seen)) > 1
    assert seen == sorted(seen, key=int)


def test_a_reader_that_follows_the_pointer_never_sees_half_a_run(root):
    check_a_reader_while_publishing(root, 20)


def test_nor_does_it_on_s3(remote):
    check_a_reader_while_publishing(remote, 4)


@pytest.mark.parametrize("store", ["disk", "s3"])
def test_checksums_are_those_of_bytes_that_were_read_so_a_damaged_table_is_not_published(
    root, store, request, monkeypatch, tmp_path
):
    if store == "s3":
        root = request.getfixturevalue("moto").root(monkeypatch, tmp_path / "scratch")
    publish(root, "1", 1.0)
    damaged = tables(root, 2.0)["similar_images"][1]
    damaged.local(root)  # found whole by this process
    data = root.read(damaged.path)
    given = tables(root, 2.0)
    root.write(damaged.path, data[:-9] + b"~" + data[-8:])

    with pytest.raises(DamagedError, match=rf"{damaged.path}: damaged: .* expected {damaged.sha256}"):
        snapshots.publish(root, Manifest(run_id="2", **FACTS), given, REPORT, current=True)
    assert whole(root) == "1"
    assert [run.run_id for run in snapshots.runs(root)] == ["1"]


def test_a_damaged_manifest_is_named_with_what_to_do_or_left_out(root):
    publish(root, "night-1")
    publish(root, "night-2")
    root.write("exports/runs/run_id=night-1/manifest.json", b'{"run_id": "night-1"')

    with pytest.raises(DocumentError, match=r"run_id=night-1/manifest\.json: no JSON .*`tastegraph verify --repair`"):
        snapshots.runs(root)
    assert [run.run_id for run in snapshots.runs(root, skip_damaged=True)] == ["night-2"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"run_id": "night-1"}'])
def test_a_damaged_pointer_is_named_with_what_to_do_and_a_run_can_be_published_beside_it(root, content):
    publish(root, "night-1")
    root.write(snapshots.POINTER, content)

    with pytest.raises(DocumentError, match=r"exports/current\.json: .*; `tastegraph verify --repair` writes"):
        snapshots.current(root)
    publish(root, "night-2")
    pointer = snapshots.current(root)
    assert pointer is not None
    assert pointer.run_id == "night-2"


# Publishes a run, and is killed just before it does the given number of things to files.
CHILD = """
import json, os, signal, sys
from storage import snapshots
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import Root

address, left, tables, facts, report = json.loads(sys.argv[1])
tables = {name: [Ref(**ref) for ref in refs] for name, refs in tables.items()}
report = {name: text.encode() for name, text in report.items()}

def count(event, _):
    global left
    if event in ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "os.utime"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
begun = left
snapshots.publish(Root(address), Manifest(run_id="2", **facts), tables, report, current=True)
print(begun - left)
"""


def publish_and_die(root: Root, after: int) -> subprocess.CompletedProcess[str]:
    """Publish run 2 in a process that is killed before its action number `after`."""
    described = {name: [vars(ref) for ref in refs] for name, refs in tables(root, 2.0).items()}
    job = json.dumps(
        [root.address, after, described, FACTS, {name: content.decode() for name, content in REPORT.items()}]
    )
    return subprocess.run([sys.executable, "-c", CHILD, job], check=False, capture_output=True, text=True)


def test_a_publisher_killed_anywhere_leaves_a_whole_run_and_is_repeated(tmp_path):
    def begin(name: str) -> Root:
        root = Root(str(tmp_path / name))
        publish(root, "1", 1.0)
        return root

    unbroken = begin("unbroken")
    num_actions = int(publish_and_die(unbroken, 10**6).stdout)
    assert whole(unbroken) == "2"
    # The last actions are about the manifest, the pointer and the history, so they are tried more closely.
    drawn = sorted(random.Random(0).sample(range(1, num_actions - 20), 5)) + list(
        range(num_actions - 20, num_actions + 1, 2)
    )
    ends = []
    for after in drawn:
        root = begin(str(after))
        assert publish_and_die(root, after).returncode == -signal.SIGKILL
        ends.append(whole(root))
        assert {run.run_id for run in snapshots.runs(root)} in ({"1"}, {"1", "2"})
        publish(root, "2", 2.0)
        assert whole(root) == "2"
        assert files(root) == files(unbroken)
    assert ends == sorted(ends)
    assert set(ends) == {"1", "2"}


def test_publishing_to_a_lesser_store_warns_and_works(rclone, monkeypatch, tmp_path, caplog):
    root = rclone.root(monkeypatch, tmp_path)
    publish(root, "1", 1.0)
    assert [record.message for record in caplog.records if "conditional puts" in record.message] != []
    assert whole(root) == "1"


def test_s3_holds_the_same_files_as_a_local_disk(root, remote):
    publish(root, "night-1")
    publish(remote, "night-1")
    assert files(remote) == files(root)
    for path in snapshots.dataset(remote, snapshots.current(remote), "similar_images"):
        assert path.is_file()


def test_of_two_nights_on_s3_that_publish_at_once_one_wins_and_the_other_is_told(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path)
    ready, published = threading.Barrier(2), []

    class Together(Root):
        def swap(self, path: str, data: bytes, expected: str | None) -> None:
            if path == snapshots.POINTER:
                ready.wait()
            super().swap(path, data, expected)

    def night(number: int) -> None:
        try:
            publish(Together(root.address), str(number), number)
        except ConflictError:
            published.append(str(number))

    nights = [threading.Thread(target=night, args=(number,)) for number in range(2)]
    for thread in nights:
        thread.start()
    for thread in nights:
        thread.join()
    assert len(published) == 1
    assert {whole(root), *published} == {"0", "1"}
