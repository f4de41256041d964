"""Retention on a schedule: what `tastegraph gc` does, as a flow."""

from prefect import flow

from storage.roots import Root
from tasks.upkeep.retention import collect


@flow(name="gc", persist_result=False)
def gc(root: str = "tastegraph-data", keep: int = 7) -> dict[str, int]:
    """Delete what no kept run refers to below `root`, except the last `keep` published runs; gives the counts."""
    collected = collect(Root(root), keep)
    return {"files": len(collected.deleted), "bytes": collected.bytes, "kept_runs": len(collected.kept_runs)}
