"""What the report takes from earlier runs."""

from pathlib import Path
from typing import Any

from storage import parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.community import USERS
from tasks.night.report import past_figures

SAME = {"source": "s", "concealed": "latest"}


def test_the_past_is_the_headline_figures_of_the_runs_that_measured_the_same(tmp_path: Path):
    root = Root(str(tmp_path))
    publish(root, "first", 0.1)
    publish(root, "of-another-source", 0.2, comparable={**SAME, "source": "t"})
    publish(root, "second", 0.3)
    publish(root, "deleted", 0.4)
    root.delete(f"{snapshots.folder('deleted')}/manifest.json")

    assert [(past.run_id, past.value) for past in past_figures(SAME, root)] == [("first", 0.1), ("second", 0.3)]


def publish(root: Root, run_id: str, value: float, **changes: Any) -> None:
    """Make a run with this precision current."""
    row = {"slice": "all", "metric": "precision", "k": 10, "low": 0.0, "high": 1.0, "users": 3}
    metrics = [
        {**row, "protocol": protocol, "system": system, "value": figure}
        for protocol, system, figure in (("paper", "ease", value), ("paper", "random", 0.9), ("cold", "ease", 0.8))
    ]
    manifest = Manifest(
        run_id=run_id,
        generated_at=f"2030-01-01T00:00:{len(snapshots.changes(root)):02}+00:00",
        metrics=metrics,
        system="ease",
        **{"comparable": SAME, **changes},
    )
    users = parquet.write(USERS, {"user_id": ["u"], "name": [None]}, root)
    snapshots.publish(root, manifest, {"recommendations": [users]}, {"index.html": b"<html>"}, current=True)
