"""What is kept, and what goes."""

import json
import os
import time
from dataclasses import replace

import pytest

from storage import history, leases, snapshots
from storage.leases import BusyError
from storage.manifests import Manifest
from storage.refs import Ref, ref_of
from storage.roots import Root
from tasks.runtime import runs
from tasks.runtime.digests import canonical
from tasks.upkeep.retention import collect
from tests.storage.servers import moto_server

OLD_S = 1_000_000.0  # seconds before now


class World:
    """A root on which nights leave what nights leave, each file as old as it is said to be."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def file(self, path: str, age_s: float = OLD_S) -> Ref:
        self.root.write(path, path.encode())
        self.age(path, age_s)
        return replace(ref_of("users", path, path.encode()), rows=1)

    def record(self, path: str, *refs: Ref, age_s: float = OLD_S) -> str:
        result = json.dumps({"tables": [canonical(ref, "ref") for ref in refs]})
        self.root.write(path, json.dumps({"metadata": {}, "result": result}).encode())
        self.age(path, age_s)
        return path

    def age(self, path: str, age_s: float) -> None:
        if not self.root.is_remote:
            moment_s = time.time() - age_s
            os.utime(self.root.url(path), (moment_s, moment_s))

    def publish(self, number: int, *, current: bool = True) -> str:
        """A night with a table, an input, and a record that names a shard."""
        run, table = f"night{number}", self.file(f"tables/users/{number}.parquet")
        record = self.record(f"cache/decode/{number}", self.file(f"shards/pixels/{number}.arrow"))
        manifest = Manifest(
            run_id=run,
            generated_at=f"2026-11-{number:02d}T02:00:00+00:00",
            metrics=[],
            inputs={"favorites": self.file(f"tables/favorites/{number}.parquet")},
        )
        snapshots.publish(self.root, manifest, {"users": [table]}, {"index.html": b"<html>"}, current=current)
        runs.finish(runs.Run(run, True, run), self.root, snapshots.folder(run), [record])
        self.age(runs.note_path(run), OLD_S - number)
        return run

    def left(self, folder: str = "") -> set[str]:
        return {entry.path for entry in self.root.entries(folder)}


@pytest.fixture
def world(tmp_path) -> World:
    return World(Root(str(tmp_path)))


def published(world: World) -> list[str]:
    return [manifest.run_id for manifest in snapshots.runs(world.root)]


def test_the_last_runs_stay_with_all_that_they_used_and_the_others_go_with_theirs(world):
    for number in (1, 2, 3):
        world.publish(number)
    collect(world.root, 2)

    assert published(world) == ["night3", "night2"]
    gone = [path for path in world.left() - world.left(history.FOLDER) if "1" in path.rpartition("/")[2]]
    assert gone == []
    for number in (2, 3):
        assert world.left() >= {
            f"shards/pixels/{number}.arrow",
            f"tables/favorites/{number}.parquet",
            f"cache/decode/{number}",
            f"runs/night{number}.json",
        }


def test_what_a_runs_stages_took_stays_as_long_as_the_run(world):
    for number in (1, 2):
        run = world.publish(number)
        runs.write_stages(runs.Run(run, True, run), [], world.root)
    collect(world.root, 1)

    assert runs.stages_path("night2") in world.left("runs")
    assert runs.stages_path("night1") not in world.left("runs")


def test_the_current_run_stays_however_old_it_is(world):
    world.publish(1)
    for number in (2, 3):
        world.publish(number, current=False)
    collect(world.root, 1)

    assert published(world) == ["night3", "night1"]
    assert "shards/pixels/1.arrow" in world.left("shards")


def test_what_two_runs_share_stays_while_one_of_them_does(world):
    world.publish(1)
    world.publish(2)
    shared = world.record("cache/decode/shared", world.file("shards/pixels/shared.arrow"))
    for number in (1, 2):
        run = runs.Run(f"night{number}", True, "")
        runs.finish(run, world.root, snapshots.folder(run.id), [shared])
    collect(world.root, 1)

    assert world.left("shards") == {"shards/pixels/shared.arrow"}
    assert world.left("cache") == {shared}


def test_a_night_that_found_nothing_to_do_keeps_what_the_run_it_found_needs(world):
    world.publish(1)
    record = world.record("cache/decode/renamed", world.file("shards/pixels/1.arrow"))
    runs.finish(runs.Run("idle", False, ""), world.root, snapshots.folder("night1"), [record])
    collect(world.root, 1)

    assert record in world.left("cache")


def test_comparisons_stay_with_what_they_used(world):
    world.publish(1)
    world.file("comparisons/full-1/results.parquet")
    record = world.record("cache/score/1", world.file("tables/results/1.parquet"))
    runs.finish(runs.Run("comparison", False, "", "compare"), world.root, "comparisons/full-1", [record])
    collect(world.root, 1)

    assert world.left() >= {"comparisons/full-1/results.parquet", record, "tables/results/1.parquet"}


def test_a_generated_source_stays_whole_while_a_run_needs_one_of_its_tables(world):
    world.publish(1)
    for demo in ("needed", "not"):
        for name in ("images.parquet", "images/i1.jpg"):
            world.file(f"sources/{demo}/{name}")
    record = world.record("cache/generate/1", Ref("images", "sources/needed/images.parquet", "0" * 64, 1, 30))
    runs.finish(runs.Run("night1", True, ""), world.root, snapshots.folder("night1"), [record])
    collect(world.root, 1)

    assert world.left("sources") == {"sources/needed/images.parquet", "sources/needed/images/i1.jpg"}


def test_a_night_that_broke_off_keeps_what_it_has_made_until_a_later_one_has_ended(world):
    world.publish(1)
    runs.begin("broken", "purpose", world.root)
    record = world.record("cache/decode/new", world.file("shards/pixels/new.arrow", age_s=-1), age_s=-1)
    state = world.file("checkpoints/1234/step-000000004.safetensors", age_s=-1).path
    collect(world.root, 1)
    assert world.left() >= {record, "shards/pixels/new.arrow", state, "runs/broken.json"}

    runs.finish(runs.Run("compared", False, "", "compare"), world.root)
    collect(world.root, 1)
    assert state in world.left("checkpoints")  # another flow's end says nothing

    world.publish(2)
    world.age("runs/night2.json", -10)
    collect(world.root, 1)
    assert world.left("checkpoints") == set()
    assert world.left("runs") == {"runs/night2.json", "runs/night2.records"}


def test_what_a_night_made_after_the_clock_was_set_back_in_its_middle_stays(world):
    runs.begin("broken", "purpose", world.root)
    world.age("runs/broken.json", -7200)
    state = world.file("checkpoints/1234/step-000000004.safetensors", age_s=0).path
    collect(world.root, 1)
    assert state in world.left()


def test_a_run_begun_again_under_its_name_counts_from_its_first_beginning(world):
    runs.begin("named", "purpose", world.root)
    world.age("runs/named.json", 500)
    before = runs.notes(world.root)
    runs.begin("named", "purpose", world.root)

    assert runs.notes(world.root) == before


def test_what_killed_runs_left_goes(world, tmp_path):
    world.publish(1)
    half = world.file("exports/runs/run_id=half/users/part-00000.parquet").path
    (tmp_path / ".tmp" / "tmpdead" / "deeper").mkdir(parents=True)
    (tmp_path / ".tmp" / "tmpdead" / "deeper" / "half.arrow").write_bytes(b"12345")
    world.root.write("leases/nightly-dead.json", json.dumps(LEASE).encode())
    world.age("leases/nightly-dead.json", OLD_S)
    done = collect(world.root, 1)

    assert not {half, "leases/nightly-dead.json"} & world.left()
    assert not (tmp_path / "exports" / "runs" / "run_id=half").exists()
    assert not (tmp_path / ".tmp" / "tmpdead" / "deeper" / "half.arrow").exists()
    assert ".tmp" in done.by_folder


def test_empty_folders_of_a_killed_deletion_go_and_those_of_a_process_that_starts_stay(world, tmp_path):
    world.publish(1)
    (tmp_path / "exports/runs/run_id=gone/users").mkdir(parents=True)
    (tmp_path / ".tmp/tmpdead/deeper").mkdir(parents=True)
    for path in (tmp_path / ".tmp/tmpdead/deeper", tmp_path / ".tmp/tmpdead"):
        os.utime(path, (time.time() - 100, time.time() - 100))
    (tmp_path / ".tmp/tmpstarting").mkdir()
    collect(world.root, 1, dry_run=True)
    assert (tmp_path / ".tmp/tmpdead/deeper").exists()
    collect(world.root, 1)

    assert [path.name for path in (tmp_path / "exports/runs").iterdir()] == ["run_id=night1"]
    assert not (tmp_path / ".tmp/tmpdead").exists()
    assert (tmp_path / ".tmp/tmpstarting").exists()


LEASE = {"kind": "nightly", "is_alone": False, "since": "now", "machine": "elsewhere", "pid": 1}


def test_while_a_flow_is_at_work_only_published_runs_go(world):
    for number in (1, 2):
        world.publish(number)
    loose = {
        world.file("shards/pixels/loose.arrow").path,
        world.file("exports/runs/run_id=half/report/index.html").path,
    }
    with leases.shared(world.root, "nightly"):
        done = collect(world.root, 1)

    assert published(world) == ["night2"]
    assert world.left() >= loose | {"shards/pixels/1.arrow", "cache/decode/1"}
    assert len(done.waiting_for) == 1


def test_a_published_run_that_is_being_published_again_is_left_alone(world):
    for number in (1, 2):
        world.publish(number)
    runs.begin("night1", "again", world.root)
    with leases.shared(world.root, "nightly"):
        collect(world.root, 1)

    assert published(world) == ["night2", "night1"]


def test_two_deletions_at_once_are_refused(world):
    with leases.exclusive(world.root, "forget", snapshots.raise_fence), pytest.raises(BusyError, match="forget"):
        collect(world.root, 1)


def test_a_dry_run_tells_the_same_and_deletes_nothing(world):
    for number in (1, 2):
        world.publish(number)
    before = world.left()
    planned = collect(world.root, 1, dry_run=True)
    assert world.left() == before

    done = collect(world.root, 1)
    assert {entry.path for entry in done.deleted} == {entry.path for entry in planned.deleted} == before - world.left()
    assert done.bytes == sum(size for _, size in done.by_folder.values()) > 0


def test_a_second_time_there_is_nothing_to_delete(world):
    for number in (1, 2):
        world.publish(number)
    collect(world.root, 1)

    assert collect(world.root, 1).deleted == []


def test_what_is_neither_made_again_nor_published_is_not_touched(world):
    world.publish(1)
    kept = {world.file(path).path for path in ("notes.txt", "prefect/prefect.db", "tombstones.json", "comparisons/1/x")}
    collect(world.root, 1)

    assert world.left() >= kept


def test_a_bucket_is_cleared_as_a_folder_is(monkeypatch, tmp_path):
    with moto_server() as server:
        world = World(server.root(monkeypatch, tmp_path / "scratch"))
        for number in (1, 2, 3):
            world.publish(number)
        collect(world.root, 1)

        assert published(world) == ["night3"]
        assert world.left("shards") == {"shards/pixels/3.arrow"}


def test_the_current_export_stays_with_what_it_used_where_its_manifest_is_lost(world):
    for number in (1, 2, 3):
        world.publish(number, current=number == 1)
    before = world.left("exports/runs/run_id=night1")
    world.root.delete("exports/runs/run_id=night1/manifest.json")
    collect(world.root, 1)

    assert world.left("exports/runs/run_id=night1") == before - {"exports/runs/run_id=night1/manifest.json"}
    assert {"cache/decode/1", "shards/pixels/1.arrow"} <= world.left()
    assert published(world) == ["night3"]


def test_where_the_pointer_is_lost_the_newest_run_that_the_gate_let_through_stays(world):
    for number in (1, 2, 3):
        world.publish(number, current=number == 1)
    path = "exports/runs/run_id=night1/manifest.json"
    world.root.write(path, json.dumps(json.loads(world.root.read(path)) | {"is_current": True}).encode())
    world.root.delete(snapshots.POINTER)
    collect(world.root, 1)

    assert published(world) == ["night3", "night1"]
