"""All that a night made, for the gate, the report and the manifest."""

from dataclasses import dataclass

from storage.refs import Ref
from storage.roots import Root
from tasks.images import Shard
from tasks.ingest import Community
from tasks.inputs import Inputs
from tasks.profiles import Profiles
from tasks.runs import Run
from tasks.split import Split
from tasks.tags import Vectors
from tasks.train import Trained


@dataclass(frozen=True)
class Learned:
    """What was learned on the way to the model, and the model."""

    vectors: Vectors
    clusters: Ref
    profiles: Profiles
    inputs: Inputs
    audit: Ref
    triplets: Ref
    trained: Trained


@dataclass(frozen=True)
class Night:
    """The results of the stages, as references."""

    run: Run
    source: Root
    community: Community
    quarantine: Ref  # of rows and of pictures
    split: Split
    shards: list[Shard]
    learned: Learned
    metrics: Ref
    exports: dict[str, list[Ref]]  # by table of storage.tables.EXPORTS
