"""A small sample of `make faults`, and that it can find something."""

import random
from collections.abc import Iterator

import pytest

from storage import snapshots
from storage.roots import Root
from tests.faults import local, stores
from tests.faults.forked import Ended
from tests.faults.trials import Bench, Count, bench_in, exported
from tests.storage.damage import flip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_in(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("scenario", [local.kills, local.damages, local.full_disks, stores.many_errors])
def test_a_night_survives_its_faults_or_names_them(bench, scenario):
    try:
        count = scenario(bench, "cdl", 1, random.Random(0))
    except local.ImpossibleError as error:
        pytest.skip(str(error))
    assert count.tried == 1
    assert not count.said


def test_an_export_that_differs_and_an_error_without_a_name_are_lost(bench):
    root = bench.copy(bench.finished("cdl"), "differs")
    lists = next(path for path in snapshots.current(Root(str(root))).checksums if "/recommendations/" in path)
    flip(Root(str(root)), lists)
    assert len(bench.differing(root, "cdl")) == 1
    (root / "exports" / "current.json").unlink()
    assert exported(Root(str(root))) == {}

    traceback = Ended(1, "Traceback (most recent call last):\nRuntimeError: what?", 0.0)
    assert not traceback.is_named
    assert bench.judge(root, "cdl", traceback)[0] == "lost"
    assert Ended(1, "tastegraph: root/.tmp: No space left on device; make room", 0.0).is_named
    assert not Ended(-11, "", 0.0).is_named


def test_a_run_goes_on_after_what_its_file_of_results_has(tmp_path):
    first = Count("kills", results=tmp_path / "results")
    first.note("survived", "leader")
    first.note("lost", "group")
    Count("errors", results=tmp_path / "results").note("named", "GET")

    again = Count("kills", results=tmp_path / "results")
    assert (again.tried, again.survived, again.lost, again.said) == (2, 1, 1, ["group"])
