"""All that a night made, for the gate, the report, the manifest, and the nights after it."""

from dataclasses import dataclass
from typing import Literal

from storage.refs import Ref
from storage.roots import Root
from storage.tables.exports import EXPORTS
from tasks.cdl.inputs import Inputs
from tasks.cdl.trained import Trained
from tasks.data.features import Features
from tasks.data.ingest import Community
from tasks.data.pictures import Packed, Shard
from tasks.data.split import Split
from tasks.data.tastes import Clusters, Profiles, Vectors
from tasks.runtime.runs import Run
from tasks.systems.lists import Lists
from tasks.systems.model import Model

How = Literal["full", "warm", "keep"]  # learn from nothing; train on; keep the model


@dataclass(frozen=True)
class Tastes:
    """Whom and what the community's words describe: their vectors, clusters of them, everybody's profile."""

    vectors: Vectors
    known: Clusters
    clusters: Ref  # those, with the tokens that were placed on them since
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
    features: Features | None = None  # where it looked at any


@dataclass(frozen=True)
class NightState:
    """What later nights may build on: references to all that a night read, learned and made."""

    run_id: str
    how: How
    num_kept: int  # nights since the last that learned from nothing
    source: str
    lineage: str  # a digest of the code and the settings that the model hangs on
    decoding: str  # and of those that the pixels hang on
    pictures: str  # a digest of the pictures' files
    table: dict[str, Ref]
    split: Split
    shards: list[Packed]
    tested: Learned
    published: Learned
    metrics: Ref
    full_metrics: Ref  # those of the last night that learned from nothing
    lists: Lists


@dataclass(frozen=True)
class ModelStart:
    """What one model of a night, the one that is measured or the one that is published, may build on."""

    how: How = "full"
    keeps_tags: bool = False  # vectors and clusters of tags stay; else they are learned anew
    clusters: Clusters | None = None  # the last night's, whose numbers stay
    base: Learned | None = None  # the model that is kept or trained on
    table: dict[str, Ref] | None = None  # the community that it learned from
    favorites: Ref | None = None  # and the favorites
    last: Learned | None = None  # the last night's, for what may be taken over


@dataclass(frozen=True)
class NightStart:
    """What a night starts from."""

    how: How
    why: str
    num_kept: int = 0  # nights since the last that learned from nothing, this one included
    keeps_tags: bool = False
    tag_drift: float | None = None  # how far the tags have moved since they were learned; None: nobody asked
    base: NightState | None = None  # the night that learned the model that is kept or trained on
    last: NightState | None = None  # the last night, for what may be taken over
    clusters: Clusters | None = None
    shards: tuple[Packed, ...] = ()  # the last night's pixels, where tonight's are decoded alike

    @property
    def split(self) -> Split | None:
        """What the model that is kept or trained on was measured on."""
        return self.base.split if self.base else None

    @property
    def looks(self) -> Ref | None:
        """Of a model that is kept."""
        return self.base.lists.looks if self.base and self.how == "keep" else None

    @property
    def lists(self) -> Lists | None:
        """The last night's, of a model that is kept."""
        return self.last.lists if self.last and self.how == "keep" else None

    def of(self, which: Literal["tested", "published"]) -> ModelStart:
        """The same for one of the two models of a night."""
        last = getattr(self.last, which) if self.last else None
        if self.base is None:
            return ModelStart(self.how, clusters=self.clusters, last=last)
        base: Learned = getattr(self.base, which)
        is_tested = base.model == self.base.tested.model
        favorites = self.base.split.training if is_tested else self.base.table["favorites"]
        return ModelStart(self.how, self.keeps_tags, self.clusters, base, self.base.table, favorites, last)


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
    memory: NightState
    start: NightStart
    work: dict[str, int]  # what was really done, by what it was done to

    @property
    def exports(self) -> dict[str, list[Ref]]:
        """The files of each exported table."""
        lists, embeddings = self.memory.lists, self.memory.lists.asked.model.embeddings
        recommendations = [block.exported for block in lists.recommendations]
        parts = (recommendations, [embeddings.users], embeddings.images, [lists.similar])
        return {table.name: part for table, part in zip(EXPORTS, parts, strict=True)}
