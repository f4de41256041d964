"""Retention on a schedule: what `tastegraph gc` does, as a flow."""

from prefect import flow

from storage.roots import Root
from tasks.upkeep.retention import collect


@flow(name="gc", persist_result=False)
def gc(root: str = "tastegraph-data", keep: int = 7) -> dict[str, int]:
    """Delete what nobody needs below `root`, with the last `keep` published runs kept; says how much it was."""
    done = collect(Root(root), keep)
    return {"files": len(done.deleted), "bytes": done.bytes, "kept_runs": len(done.kept_runs)}
