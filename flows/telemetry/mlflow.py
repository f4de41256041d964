"""MLflow: one run for each night, with its settings as parameters and its figures as metrics, when it ends.

MLFLOW_TRACKING_URI says where; MLFLOW_EXPERIMENT_NAME in which experiment, by default `tastegraph`.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from flows.telemetry.watching import RunBegan, RunEnded, StageBegan, StageEnded

# Before the import: the library would try a silent server for minutes, and report its use to its makers.
for name, value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # what --json prints must stay JSON
}.items():
    os.environ.setdefault(name, value)

from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.WARNING)

T = TypeVar("T")
MAX_PARAMS, MAX_METRICS = 100, 1000  # of one request
MAX_VALUE = 500  # characters of a parameter, as older servers take


def observe(run: RunBegan) -> "Experiment":
    """The run's entry in its experiment."""
    return Experiment(run)


class Experiment:
    """What is sent is sent at the end: a run that never ends leaves no entry."""

    def __init__(self, run: RunBegan) -> None:
        self._run = run

    def stage_began(self, stage: StageBegan) -> None:
        """Nothing."""

    def stage_ended(self, stage: StageEnded) -> None:
        """Nothing: the seconds of all stages are metrics of the run."""

    def run_ended(self, ended: RunEnded) -> None:
        """One run with parameters, metrics and tags."""
        run, client = self._run, MlflowClient()
        tags = {
            "mlflow.runName": f"{run.flow} {run.run_id}",
            "tastegraph.flow": run.flow,
            "tastegraph.run_id": run.run_id,
            "tastegraph.fingerprint": run.fingerprint,
            "tastegraph.source": run.source,
            "tastegraph.root": run.root,
        }
        if ended.manifest:
            tags["tastegraph.published"] = ended.manifest.run_id
            tags["tastegraph.is_current"] = str(ended.manifest.is_current).lower()
            tags["tastegraph.system"] = ended.manifest.system
        if ended.error:
            tags["tastegraph.error"] = ended.error
        entry = client.create_run(_experiment(client), start_time=_ms(run.at), tags=tags).info.run_id
        for params in _parts([Param(key, str(value)[:MAX_VALUE]) for key, value in run.settings.items()], MAX_PARAMS):
            client.log_batch(entry, params=params)
        figures = _figures(ended) | {f"seconds/{stage}": seconds for stage, seconds in ended.seconds.items()}
        for metrics in _parts([Metric(key, value, _ms(ended.at), 0) for key, value in figures.items()], MAX_METRICS):
            client.log_batch(entry, metrics=metrics)
        client.set_terminated(entry, "FAILED" if ended.error else "FINISHED", _ms(ended.at))


def _experiment(client: MlflowClient) -> str:
    """The experiment's id; another run may make it at the same time."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tastegraph"
    try:
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _figures(ended: RunEnded) -> dict[str, float]:
    """The exported system's figures, as `protocol/metric_k`; of a part of the images `protocol/slice/metric_k`."""
    rows: Sequence[Mapping[str, Any]] = ended.manifest.metrics if ended.manifest else ()
    return {
        "/".join((row["protocol"], *([row["slice"]] * (row["slice"] != "all")), f"{row['metric']}_{row['k']}")): value
        for row in rows
        if ended.manifest and row["system"] == ended.manifest.system and (value := row["value"]) is not None
    }


def _parts(items: Sequence[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part


def _ms(at: float) -> int:
    return int(at * 1000)
