"""All that a night made, for the gate, the report and the manifest."""

from dataclasses import dataclass

from storage.refs import Ref
from storage.roots import Root
from tasks.images import Shard
from tasks.ingest import Community
from tasks.inputs import Inputs
from tasks.profiles import Profiles
from tasks.runs import Run
from tasks.scoring import Model
from tasks.split import Split
from tasks.tags import Vectors
from tasks.train import Trained


@dataclass(frozen=True)
class Tastes:
    """Whom and what the community's words describe: their vectors, clusters of them, everybody's profile."""

    vectors: Vectors
    clusters: Ref
    profiles: Profiles


@dataclass(frozen=True)
class CDLChain:
    """What CDL leaves on the way to its model."""

    inputs: Inputs
    audit: Ref
    triplets: Ref
    trained: Trained


@dataclass(frozen=True)
class Learned:
    """A model, and what was learned on the way to it."""

    tastes: Tastes
    model: Model
    image_input: str | None  # what it saw of the images' looks or content; None: it looks at none of it
    cdl: CDLChain | None  # None: another system


@dataclass(frozen=True)
class Night:
    """The results of the stages, as references."""

    run: Run
    source: Root
    community: Community
    quarantine: Ref  # of rows and of pictures
    split: Split
    shards: list[Shard]
    tested: Learned  # from the favorites that were not concealed
    metrics: Ref
    published: Model  # the tested one, or another one that learned from all favorites
    exports: dict[str, list[Ref]]  # by table of storage.tables.EXPORTS
