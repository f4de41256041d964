"""What the stages of a run took."""

import pyarrow as pa

from storage.tables.schema import column, table

STAGES = table(
    "stages",
    ("place",),
    "A stage of a run, with what it took; in `runs/`, beside the run's note.",
    column("place", pa.int32(), "0 for the stage that began first"),
    column("stage", pa.string(), "its name"),
    column("ran", pa.int32(), "how often it ran: a sharded stage once for each shard"),
    column("reused", pa.int32(), "how often its result was there already"),
    column("failed", pa.int32(), "how often it failed"),
    column("started_s", pa.float64(), "seconds from the run's first stage to this one's begin"),
    column("elapsed_s", pa.float64(), "seconds from begin to end; of a stage that is called twice, both added up"),
    column("seconds", pa.float64(), "seconds of what ran, added up: more than elapsed_s where shards run side by side"),
    column("cpu_s", pa.float64(), "CPU seconds of the flow's process, and of its children that ended, meanwhile"),
    column("peak_bytes", pa.int64(), "highest resident memory of the flow's process meanwhile, mapped files included"),
    column("rows", pa.int64(), "rows of the files that its result names, each file once"),
    column("bytes", pa.int64(), "bytes of these files"),
)
