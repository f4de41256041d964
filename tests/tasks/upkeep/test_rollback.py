"""The pointer moved by hand: to which run, to which never, and what the history, a night, gc and repair make of it."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage import history, leases, parquet, snapshots, tombstones
from storage.leases import BusyError
from storage.manifests import Manifest, Outcome
from storage.refs import Ref
from storage.roots import ConflictError, Root
from storage.snapshots import POINTER, Pointer
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.night.publish import undone_rollbacks
from tasks.upkeep.difference import Change, difference
from tasks.upkeep.forget import forget
from tasks.upkeep.retention import collect
from tasks.upkeep.rollback import RefusedError, publish_run, roll_back
from tasks.upkeep.verify import verify
from tests import frozen
from tests.storage.damage import cut_off, flip
from tests.storage.servers import Server, moto_server

LISTS = {"anna": "abc", "bert": "abc"}  # a letter is an image


@pytest.fixture(scope="module")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture(params=["disk", "s3"])
def any_root(request, tmp_path, monkeypatch, root) -> Root:
    return root if request.param == "disk" else request.getfixturevalue("moto").root(monkeypatch, tmp_path / "scratch")


def tables_of(root: Root, number: int) -> dict[str, list[Ref]]:
    """The lists of a night: those of another one but for their scores."""
    rows = [(user, rank + 1, image) for user, images in LISTS.items() for rank, image in enumerate(images)]
    lists = pl.DataFrame(rows, {"user_id": pl.String, "rank": pl.Int32, "image_id": pl.String}, orient="row")
    scored = lists.with_columns(pl.lit(number, pl.Float32).alias("score"), pl.lit("m").alias("model"))
    return {RECOMMENDATIONS.name: [parquet.write(RECOMMENDATIONS, scored, root)]}


def night(root: Root, number: int, *, held: bool = False, **options) -> Manifest:
    manifest = Manifest(
        run_id=f"night{number}",
        generated_at=f"2026-11-{number:02d}T02:00:00+00:00",
        metrics=[],
        gate=(Outcome("ndcg", not held, False, "0.1 is below 0.2"),),
        is_current=not held,
    )
    pages = {"index.html": b"<html>"}
    return snapshots.publish(root, manifest, tables_of(root, number), pages, current=not held, **options)


def nights(root: Root, numbers: range = range(1, 4)) -> None:
    for number in numbers:
        night(root, number)


def current(root: Root) -> str:
    return snapshots.current(root).run_id


def moves(root: Root) -> list[tuple[str, str, str | None]]:
    return [(change.action, change.run_id, change.previous) for change in snapshots.changes(root)]


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_a_rollback_makes_the_run_before_the_current_one_current_and_the_next_rollback_goes_on(any_root):
    nights(any_root)
    before = {path: any_root.read(path) for path in snapshots.current(any_root).checksums}
    moved = roll_back(any_root, why="wrong prices")

    assert (moved.run_id, moved.previous, moved.withdrawn) == ("night2", "night3", ["night3"])
    pointer = snapshots.current(any_root)
    manifest = snapshots.manifest(any_root, "night2")
    assert (pointer.run_id, pointer.paths, pointer.checksums) == (
        "night2",
        Pointer.of(manifest).paths,
        {file.path: file.sha256 for file in manifest.table_files()},
    )
    assert before == {path: any_root.read(path) for path in before}  # no table was touched
    last = snapshots.changes(any_root)[-1]
    assert (last.action, last.why, last.number) == ("rollback", "wrong prices", 4)
    assert "@" in last.by

    assert roll_back(any_root).run_id == "night1"
    with pytest.raises(RefusedError, match="no run before night1 is left"):
        roll_back(any_root)
    assert moves(any_root)[2:] == [
        ("night", "night3", "night2"),
        ("rollback", "night2", "night3"),
        ("rollback", "night1", "night2"),
    ]


def test_a_rollback_goes_back_as_the_nights_were_also_where_the_clock_was_set_back_between_them(root):
    for number in (1, 20, 5, 6):
        night(root, number)
    assert [roll_back(root).run_id for _ in range(3)] == ["night5", "night20", "night1"]


def test_a_rollback_to_a_named_run_withdraws_all_that_came_after_it(root):
    nights(root)
    night(root, 4, held=True)

    assert roll_back(root, "night1").withdrawn == ["night3", "night2"]
    assert set(history.withdrawn(snapshots.changes(root))) == {"night2", "night3"}
    publish_run(root, "night2")
    assert set(history.withdrawn(snapshots.changes(root))) == {"night3"}


def test_a_run_that_the_gate_held_becomes_current_by_force_alone_and_says_why(root):
    nights(root, range(1, 3))
    night(root, 3, held=True)

    code, said = command("publish", "--root", root.address, "--run", "night3")
    assert code == 1
    assert "the gate held run night3 (ndcg: 0.1 is below 0.2)" in said
    code, said = command("publish", "--root", root.address, "--run", "night3", "--force")
    assert code == 2
    assert "--force needs --why" in said
    assert current(root) == "night2"

    assert command("publish", "--root", root.address, "--run", "night3", "--force", "--why", "a new shop")[0] == 0
    assert current(root) == "night3"
    assert roll_back(root).run_id == "night2"
    assert command("show", "--root", root.address, "--history")[1].splitlines()[1].endswith(": a new shop")


def test_what_cannot_be_rolled_back_to_is_named_with_what_to_do(root):
    nights(root)
    night(root, 4, held=True)
    roll_back(root)

    for to, said in (
        ("night9", "no run night9 was published here, or it was deleted; `tastegraph show`"),
        ("night3", r"night3 is not earlier than night2, .*`tastegraph publish --run night3`"),
    ):
        with pytest.raises(RefusedError, match=said):
            roll_back(root, to)
    publish_run(root, "night3")
    night(root, 5)
    with pytest.raises(RefusedError, match=r"the gate held run night4 .*--force --why"):
        roll_back(root, "night4")
    assert not roll_back(root, "night5").is_moved


@pytest.mark.parametrize("damage", [flip, cut_off, Root.delete])
def test_a_run_of_which_a_file_is_lost_or_damaged_is_refused_and_named(any_root, damage):
    nights(any_root, range(1, 3))
    (file,) = snapshots.manifest(any_root, "night1").table_files()
    damage(any_root, file.path)

    with pytest.raises(RefusedError, match=rf"night1 is not whole.*{file.path} is (lost|damaged)"):
        roll_back(any_root)
    assert current(any_root) == "night2"


def test_a_run_that_names_somebody_forgotten_is_refused(root):
    nights(root, range(1, 3))
    tombstones.add({"image": frozenset({"b"})}, root)

    with pytest.raises(RefusedError, match="night1 names somebody who was forgotten"):
        roll_back(root, read_all=False)


def test_of_a_night_that_ends_and_a_rollback_meanwhile_the_later_one_is_refused_and_nothing_is_half(any_root):
    nights(any_root, range(1, 3))
    with leases.shared(any_root, "nightly"):  # a night at work
        assert roll_back(any_root).run_id == "night1"
        with pytest.raises(ConflictError, match="run night2 was current when this began, and now night1 is"):
            night(any_root, 3, after="night2")
    assert current(any_root) == "night1"

    class Meanwhile(Root):
        def digest(self, path: str) -> str:
            if current(any_root) == "night4":  # which is looked at now
                night(any_root, 5)
            return super().digest(path)

    night(any_root, 3)
    night(any_root, 4)
    with pytest.raises(ConflictError, match="run night4 was current when this began, and now night5 is"):
        roll_back(Meanwhile(any_root.address))
    assert current(any_root) == "night5"


def test_while_runs_are_deleted_there_is_no_rollback(root):
    nights(root)
    with (
        leases.exclusive(root, "gc", snapshots.raise_fence),
        pytest.raises(BusyError, match=r"gc .* is running; try again"),
    ):
        roll_back(root)


def test_gc_keeps_the_run_that_was_rolled_back_to_also_where_the_pointer_is_lost_and_repair_points_to_it(root):
    nights(root, range(1, 5))
    roll_back(root, "night1")
    collect(root, 1)
    assert [run.run_id for run in snapshots.runs(root)] == ["night4", "night1"]

    root.delete(POINTER)
    collect(root, 1)
    assert [run.run_id for run in snapshots.runs(root)] == ["night4", "night1"]
    assert verify(root, repair=True).is_whole
    assert current(root) == "night1"
    assert moves(root)[-1] == ("rollback", "night1", "night4")


def test_a_change_whose_file_was_lost_by_a_kill_is_written_by_the_next_one(root):
    nights(root, range(1, 3))
    root.delete(f"{history.FOLDER}/000002.json")
    assert moves(root)[-1] == ("night", "night2", "night1")

    night(root, 3)
    assert [entry.path[-11:] for entry in root.entries(history.FOLDER)] == [f"00000{n}.json" for n in (1, 2, 3)]
    assert len(moves(root)) == 3


def test_a_damaged_file_of_the_history_is_left_out_and_named(root, caplog):
    nights(root)
    root.write(f"{history.FOLDER}/000002.json", b"")

    assert [change[1] for change in moves(root)] == ["night1", "night3"]
    assert "000002.json: empty; delete it" in caplog.text


def test_a_pointer_of_an_earlier_version_is_read_and_the_history_begins_with_the_next_change(tmp_path):
    root = Root(str(frozen.root_of_schema_1(tmp_path)))
    first = current(root)
    assert snapshots.changes(root) == []
    code, said = command("show", "--root", root.address, "--history")
    assert (code, said) == (0, f"Run {first} is current; nothing is noted of how it became so.\n")

    night(root, 30)
    assert moves(root) == [("night", "night30", first)]
    assert roll_back(root, first).run_id == first


def test_what_a_person_wrote_is_withheld_where_it_names_somebody_who_is_forgotten(root):
    nights(root, range(1, 3))
    roll_back(root, why="image-4711 was on top")
    publish_run(root, "night2", why="image-4711 is gone")
    forget({"image": frozenset({"image-4711"})}, root, even_if_unknown=True)

    assert b"image-4711" not in b"".join(root.read(entry.path) for entry in root.entries())
    assert [change.why for change in snapshots.changes(root)[2:]] == [history.WITHHELD] * 2
    assert current(root) == "night2"


def test_a_night_is_held_that_would_undo_a_rollback_by_its_tables_or_by_its_model(root):
    nights(root)
    assert undone_rollbacks(tables_of(root, 3), "night3", root) == []
    roll_back(root, why="wrong prices")

    (model,) = undone_rollbacks(tables_of(root, 4), "night3", root)
    (tables,) = undone_rollbacks(tables_of(root, 3), "night1", root)
    assert (model.passed, model.is_warning, tables.passed, tables.is_warning) == (False, False, False, False)
    assert "run night3, which" in model.message
    assert "(wrong prices); `tastegraph publish --run night3` makes it current again" in tables.message
    assert undone_rollbacks(tables_of(root, 4), "night2", root) == []
    publish_run(root, "night3")
    assert undone_rollbacks(tables_of(root, 3), "night3", root) == []


# -- diff --------------------------------------------------------------------------------------------------------------


def of_lists(root: Root, run_id: str, lists: dict[str, str]) -> Manifest:
    rows = [(user, rank + 1, image) for user, images in lists.items() for rank, image in enumerate(images)]
    table = pl.DataFrame(rows, {"user_id": pl.String, "rank": pl.Int32, "image_id": pl.String}, orient="row")
    table = table.with_columns(pl.lit(1.0, pl.Float32).alias("score"), pl.lit("m").alias("model"))
    manifest = Manifest(run_id=run_id, generated_at=f"2026-11-01T02:00:0{len(run_id)}+00:00", metrics=[])
    exports = {RECOMMENDATIONS.name: [parquet.write(RECOMMENDATIONS, table, root)]}
    return snapshots.publish(root, manifest, exports, {"index.html": b"<html>"}, current=True)


def test_diff_tells_whose_lists_changed_by_how_many_images_and_what_entered_and_left_most(root):
    before = of_lists(root, "a", {"anna": "abc", "bert": "abc", "carl": "abc", "dora": "abc", "emil": "abc"})
    after = of_lists(root, "bb", {"anna": "abc", "bert": "acb", "carl": "abx", "dora": "xya", "fritz": "zzz"[:1]})
    (found,) = difference(before, after, root)

    assert (found.in_both, found.changed, found.reordered, found.only_in) == (4, 2, 1, (1, 1))
    assert (found.entered_mean, found.entered_median, found.entered_most) == (3 / 4, 1.5, 2)
    assert found.most_changed == [Change("dora", 2, 2), Change("carl", 1, 1)]
    assert found.entered == [Change("x", 2, 0), Change("y", 1, 0)]
    assert found.left == [Change("c", 0, 2), Change("b", 0, 1)]

    code, said = command("diff", "a", "bb", "--root", root.address, "-k", 1)
    assert code == 0
    assert "recommendations: 2 of 4 lists (50%) have other images" in said
    assert "dora" in said
    assert "carl" not in said
    answer = json.loads(command("diff", "a", "bb", "--root", root.address, "--json")[1])
    assert answer["lists"]["recommendations"] == json.loads(json.dumps(asdict(found)))
