"""One night on threads, and on processes: what it exports does not depend on where shards are computed.

An index finds its lists.
"""

from pathlib import Path
from typing import Any

import pytest

from flows import settings
from flows.compare import compare
from flows.nightly import nightly
from flows.printing.exports import print_run
from storage import snapshots
from storage.roots import Root
from tasks.runtime import ledger
from tests import world

INDEXED = world.SETTINGS | {"recommend": {**world.SETTINGS["recommend"], "recall": 0.8}}
PROCESSES = {"runner": {"kind": "processes", "workers": 1}}


def night(source: Path, root: Path, sections: dict[str, Any]) -> tuple[dict[str, str], Any]:
    """The sha256 of each exported file, and the ledger of the flow run."""
    config = settings.validate(INDEXED | sections)
    state = nightly(str(source), str(root), config, return_state=True)
    found = snapshots.current(Root(str(root)))
    assert found is not None
    checksums = {path.partition(found.run_id)[2]: digest for path, digest in found.checksums.items()}
    return checksums, ledger.of_run(str(state.state_details.flow_run_id))


@pytest.fixture(scope="module")
def on_threads(source, tmp_path_factory, prefect_server):
    root = tmp_path_factory.mktemp("threads")
    return root, *night(source, root, {})


@pytest.fixture(scope="module")
def on_processes(source, tmp_path_factory, prefect_server):
    root = tmp_path_factory.mktemp("processes")
    return root, *night(source, root, PROCESSES)


def test_a_night_on_processes_exports_the_bytes_of_one_on_threads(on_threads, on_processes):
    assert on_processes[1] == on_threads[1]
    assert any("recommendations" in path for path in on_processes[1])


def test_the_recall_of_an_index_is_in_the_manifest_the_report_and_what_show_says(on_threads, capsys):
    root, _, recorded = on_threads
    out = Root(str(root))
    run_id = snapshots.current_id(out)
    found = [item for item in snapshots.manifest(out, run_id).gate if item.name.startswith("recall of")]
    print_run(run_id, out, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    page = (root / "exports/runs" / f"run_id={run_id}" / "report/index.html").read_text()

    assert [item.name for item in found] == ["recall of recommendations", "recall of similar_images"]
    assert all(item.message in page and item.message in shown for item in found)
    assert all(0.5 < float(item.message.split()[0]) <= 1 for item in found)
    assert recorded.lines["index-images"].ran == recorded.lines["measure-recall"].ran == 1


def test_work_and_records_of_other_processes_come_back_to_the_flow(on_threads, on_processes):
    (_, _, threads), (root, _, processes) = on_threads, on_processes

    assert processes.work == threads.work
    assert processes.work["images decoded"] == world.NUM_IMAGES
    assert processes.records == threads.records
    assert all(Root(str(root)).exists(record) for record in processes.records)
    assert {line.stage: line.ran for line in processes.lines.values()} == {
        line.stage: line.ran for line in threads.lines.values()
    }


def test_a_night_on_another_runner_finds_that_all_is_done(source, on_threads):
    root, checksums, _ = on_threads

    again, ledger_again = night(source, root, PROCESSES)

    assert again == checksums
    assert not ledger_again.work


def test_a_comparison_fits_systems_in_processes_of_their_own_to_equal_figures(source, tmp_path, prefect_server):
    figures = {}
    for kind in ("threads", "processes"):
        config = settings.validate_comparison(world.SETTINGS | {"runner": {"kind": kind, "workers": 1}})
        compared = compare(
            str(source), str(tmp_path / kind), systems="popularity,ease", budget=2, seeds=2, config=config
        )
        figures[kind] = [
            (entry.system, entry.settings, [scored.headline for scored in entry.scored]) for entry in compared.entries
        ]

    assert figures["processes"] == figures["threads"]
    assert [len(scored) for _, _, scored in figures["threads"]] == [2, 2]


def test_an_address_is_of_ray_alone():
    with pytest.raises(settings.SettingsError, match="is of ray alone"):
        settings.validate({"runner": {"kind": "threads", "address": "ray://head:10001"}})
