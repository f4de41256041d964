"""What a run tells OpenTelemetry, MLflow and OpenLineage, each against a server or a store of this machine."""

import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows import settings
from flows.nightly import nightly
from flows.telemetry import watching
from flows.telemetry.watching import EXPORTERS, watched
from storage.refs import Ref
from tasks.runtime.ledger import Ledger
from tests import world
from tests.flows.collector import Collector, values_of
from tests.flows.processes import free_port

# MLflow's own use of SQLAlchemy, with Prefect's types among what it looks at.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

IMAGES = Ref("images", "tables/images/1.parquet", "1" * 64, 10, 100)
PICTURES = {"name": "pictures", "path": "tables/pictures/1.parquet", "sha256": "2" * 64, "rows": 5, "bytes": 50}
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE_S", 60.0)  # a loaded machine may take long to make MLflow's database
    for variables in EXPORTERS.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@contextmanager
def a_run(ledger: Ledger) -> Iterator[None]:
    """A run with a password in its source's address and a key among its settings."""
    config = settings.load(None, [f"pretrained.file=s3://me:{SECRET}@host/words"])
    places = (f"s3://me:{SECRET}@host/source", "/root")
    with watched("nightly", "night-1", "f1", places, config, ledger, lambda: None):
        yield


def decode(ledger: Ledger, error: Exception | None = None) -> None:
    """A stage that reads images and leaves pictures, or fails."""
    with ledger.measuring("decode-images", ([IMAGES],)):
        if error:
            raise error
        ledger.note("decode-images", "ran", 0.5)
        ledger.note_files("decode-images", [PICTURES])


def test_a_run_is_a_trace_with_a_span_for_each_call_of_a_stage(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    ledger = Ledger()
    decode(ledger)  # before the run has its id, as the demo's stage
    with suppress(ValueError), a_run(ledger):
        with ledger.measuring("decode-images"):
            ledger.note("decode-images", "reused", 0.0)
        decode(ledger, ValueError(f"no s3://me:{SECRET}@host/picture"))

    by_start = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    run = next(span for span in by_start if span.name == "nightly")
    stages = [span for span in by_start if span is not run]
    assert [span.name for span in stages] == ["decode-images"] * 3
    assert {span.parent_span_id for span in stages} == {run.span_id}
    assert len({span.trace_id for span in by_start}) == 1
    told = [values_of(span) for span in stages]
    assert [(one["tastegraph.ran"], one["tastegraph.reused"]) for one in told] == [(1, 0), (0, 1), (0, 0)]
    assert (told[0]["tastegraph.rows"], told[0]["tastegraph.bytes"]) == (5, 50)
    assert told[0]["tastegraph.seconds"] > 0
    assert told[0]["tastegraph.peak_bytes"] > 2**20
    assert [span.status.code for span in (run, *stages)] == [2, 1, 1, 2]  # 1 is ok, 2 an error
    assert [event.name for event in stages[2].events] == ["exception"]
    assert values_of(run)["tastegraph.fingerprint"] == "f1"
    assert SECRET.encode() not in b"".join(body for _, body in collector.posts)


def test_a_run_and_its_stages_are_events_of_lineage(collector, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_URL", collector.url)
    ledger = Ledger()
    with suppress(OSError), a_run(ledger):
        decode(ledger)
        decode(ledger, OSError("disk"))

    events = collector.events
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        ("nightly", "START"),
        ("nightly.decode-images", "START"),
        ("nightly.decode-images", "COMPLETE"),
        ("nightly.decode-images", "START"),
        ("nightly.decode-images", "FAIL"),
        ("nightly", "FAIL"),
    ]
    run, first, second = (events[place]["run"]["runId"] for place in (0, 1, 3))
    assert [event["run"]["runId"] for event in events] == [run, first, first, second, second, run]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in events[1:5]} == {run}
    tables = [[(one["namespace"], one["name"]) for one in events[2][key]] for key in ("inputs", "outputs")]
    assert tables == [[("/root", "images")], [("/root", "pictures")]]
    assert events[4]["run"]["facets"]["errorMessage"]["message"] == "OSError: disk"
    assert SECRET.encode() not in b"".join(body for _, body in collector.posts)


def test_a_night_is_a_trace_a_lineage_and_a_run_of_mlflow(source, tmp_path, prefect_server, collector, monkeypatch):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OPENLINEAGE_URL", collector.url)
    config = settings.validate({**world.SETTINGS, "model": {"system": "ease"}})
    published = nightly(str(source), str(tmp_path / "root"), config)

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tastegraph")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["tastegraph.published"] == published.run_id
    assert run.data.params["word2vec.dimensions"] == "8"
    assert 0 <= run.data.metrics["full/ndcg_20"] <= 1
    assert run.data.metrics["seconds/fit-system"] > 0
    assert {"nightly", "ingest", "fit-system", "recommend", "publish"} <= {span.name for span in collector.spans}
    ended = collector.events[-1]
    assert (ended["job"]["name"], ended["eventType"]) == ("nightly", "COMPLETE")
    assert "recommendations" in {one["name"] for one in ended["outputs"]}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("otel", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("mlflow", "mlflow.entities"),
        ("openlineage", "openlineage.client"),
    ],
)
def test_a_missing_library_is_one_line_and_the_run_goes_on(name, module, monkeypatch, caplog):
    monkeypatch.setenv(EXPORTERS[name][0], "http://127.0.0.1:9")
    monkeypatch.delitem(sys.modules, f"flows.telemetry.{name}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    ledger = Ledger()
    with a_run(ledger):
        decode(ledger)

    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith(f"{EXPORTERS[name][0]} is set, but this run is not exported whole: ")
    assert f"install tastegraph[{name}]" in line


@pytest.mark.parametrize("name", sorted(EXPORTERS))
@pytest.mark.parametrize("answers", [True, False], ids=["refused", "silent"])
def test_a_server_that_does_not_answer_is_one_line_and_delays_no_run(name, answers, monkeypatch, caplog):
    monkeypatch.setattr(watching, "PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        port = free_port() if answers else silent.getsockname()[1]
        monkeypatch.setenv(EXPORTERS[name][0], f"http://127.0.0.1:{port}")
        ledger, start = Ledger(), time.monotonic()
        with a_run(ledger):
            for _ in range(20):
                decode(ledger)
        seconds = time.monotonic() - start

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.partition(" is set")[0] for line in warnings] == [EXPORTERS[name][0]]
    assert seconds < 60  # and not the minutes that the libraries would try


def test_without_a_variable_nothing_listens():
    ledger = Ledger()
    with a_run(ledger):
        assert ledger.listener is None
        decode(ledger)


def test_a_store_of_mlflow_gets_the_settings_without_secrets_and_the_error(tmp_path: Path, monkeypatch):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with pytest.raises(ValueError, match="wrong"), a_run(Ledger()):
        raise ValueError("wrong")

    client = MlflowClient(store)
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FAILED"
    assert run.data.tags["tastegraph.error"] == "ValueError: wrong"
    assert run.data.params["pretrained.file"] == "s3://(hidden)@host/words"
    assert SECRET.encode() not in (tmp_path / "mlflow.db").read_bytes()
