"""The records of a night: what it learned, what it starts from, what later nights may build on."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from storage.refs import Ref
from storage.roots import Root
from storage.tables.exports import EXPORTS
from storage.tables.reasons import REASONS
from tasks.cdl.inputs import Inputs
from tasks.cdl.trained import Trained
from tasks.data.ingest import Community
from tasks.data.pictures import Features, Packed, Shard
from tasks.data.split import Split
from tasks.data.tag_leak import TagAccount
from tasks.data.tastes import Clusters, Profiles, Vectors
from tasks.evaluation.policy_price import Price
from tasks.runtime.runs import Run
from tasks.systems.lists import Lists
from tasks.systems.model import Fitted, Model
from tasks.systems.recall import Recall

How = Literal["full", "warm", "keep"]  # learn from scratch; train on; keep the model
STATE_VERSION = 2  # of NightState: raised when it changes, so that a night learns from scratch beside an older one


@dataclass(frozen=True)
class Tastes:
    """The community's words: their vectors, their clusters, and each user's profile over the clusters."""

    vectors: Vectors
    known: Clusters
    clusters: Ref  # the same, with the tokens that were placed on them since
    profiles: Profiles


@dataclass(frozen=True)
class CDLChain:
    """The outputs of CDL's stages before the embeddings."""

    inputs: Inputs
    audit: Ref
    triplets: Ref
    trained: Trained


@dataclass(frozen=True)
class Learned:
    """A model, and what was learned for it."""

    tastes: Tastes
    model: Model
    image_input: str | None  # pixels, features, tags, ...; None: the system uses no content of images
    cdl: CDLChain | None  # None: another system
    features: Features | None = None  # of the pictures, where the system uses them
    fitted: Fitted | None = None  # the system's state, from which a refit goes on; None: CDL, or folded in


@dataclass(frozen=True)
class InputFingerprint:
    """What decides whether a night may build on an earlier one."""

    source: str
    lineage: str  # of the code and the settings that the model depends on
    decoding: str
    pictures: str
    table: dict[str, Ref]


@dataclass(frozen=True)
class NightState:
    """What later nights may build on: references to all that a night read, learned and exported."""

    run_id: str
    how: How
    num_kept: int  # nights since the last that learned from scratch
    source: str
    lineage: str  # a digest of the code and the settings that the model depends on
    decoding: str  # the same for the pixels
    pictures: str  # a digest of the pictures' files
    table: dict[str, Ref]
    split: Split
    tested_table: dict[str, Ref]  # `table` without concealed favorites and tags that would tell of them
    shards: list[Packed]
    tested: Learned
    published: Learned
    metrics: Ref
    full_metrics: Ref  # those of the last night that learned from scratch
    lists: Lists


@dataclass(frozen=True)
class NewModel:
    """A model is learned from scratch."""

    clusters: Clusters | None = None  # the previous run's, whose numbers stay


@dataclass(frozen=True)
class BaseModel:
    """An earlier model is kept, or trained on from, with the community and the favorites that it learned from."""

    learned: Learned
    is_kept: bool  # False: it is where the training starts
    table: dict[str, Ref]
    favorites: Ref
    keeps_tags: bool  # vectors and clusters of tags stay; else they are learned again
    clusters: Clusters | None  # the previous run's, whose numbers stay
    previous: Learned | None  # of the previous run, whose outputs are reused for unchanged rows


ModelStart: TypeAlias = NewModel | BaseModel
Which = Literal["tested", "published"]


@dataclass(frozen=True)
class FromScratch:
    """A night learns from scratch, and says why."""

    how: ClassVar[How] = "full"
    num_kept: ClassVar[int] = 0
    why: str
    clusters: Clusters | None = None  # the previous run's, whose numbers stay
    shards: tuple[Packed, ...] = ()  # the previous run's pixels, where pictures are decoded the same way

    def model(self, _which: Which) -> ModelStart:
        """What one of the night's two models starts from."""
        return NewModel(self.clusters)


@dataclass(frozen=True)
class _FromPublished:
    """A night builds on a published run, and says why."""

    why: str
    num_kept: int  # nights since the last that learned from scratch, this one included
    keeps_tags: bool
    tag_drift: float  # how far the tags have moved since they were learned, 0 to 1
    base: NightState  # the night that learned the model
    previous: NightState | None  # the last night, whose outputs are reused for unchanged rows; None: nothing is reused
    clusters: Clusters | None
    shards: tuple[Packed, ...]

    def model(self, which: Which) -> ModelStart:
        """What one of the night's two models starts from: that of the earlier night."""
        learned: Learned = getattr(self.base, which)
        is_tested = learned.model == self.base.tested.model
        return BaseModel(
            learned=learned,
            is_kept=isinstance(self, Keep),
            table=self.base.tested_table if is_tested else self.base.table,
            favorites=self.base.split.training if is_tested else self.base.table["favorites"],
            keeps_tags=self.keeps_tags,
            clusters=self.clusters,
            previous=getattr(self.previous, which) if self.previous else None,
        )


@dataclass(frozen=True)
class WarmStart(_FromPublished):
    """A night trains on from the weights of an earlier one."""

    how: ClassVar[How] = "warm"


@dataclass(frozen=True)
class Keep(_FromPublished):
    """A night keeps an earlier model, and computes what is new with it."""

    how: ClassVar[How] = "keep"


NightStart: TypeAlias = FromScratch | WarmStart | Keep


def split_of(start: NightStart) -> Split | None:
    """The split that a model which is kept or trained on was measured on."""
    return None if isinstance(start, FromScratch) else start.base.split


def reusable_lists(start: NightStart) -> tuple[Ref | None, Lists | None]:
    """Of a model that is kept: what describes an image's appearance, and the previous run's lists."""
    if not isinstance(start, Keep):
        return None, None
    return start.base.lists.appearance, start.previous.lists if start.previous else None


@dataclass(frozen=True, kw_only=True)
class Night:
    """The results of the stages, as references."""

    run: Run
    source: Root
    inputs: InputFingerprint
    start: NightStart
    community: Community
    quarantine: Ref  # of rows and of pictures
    shards: list[Shard]
    split: Split
    tested_table: dict[str, Ref]  # the community's tables as the tested model may know them
    tags: TagAccount | None  # what tags tell of the concealed favorites; None: images have none
    tested: Learned  # from the favorites that were not concealed
    metrics: Ref
    prices: list[Price]  # of the policy's rules, measured on the tested model
    final: Learned  # what is published: the same, or another one that learned from all favorites
    lists: Lists
    recall: list[Recall]  # of the lists that an index found; none of exact ones
    reasons: list[Ref]  # of the first places; none where the system cannot say
    work: dict[str, int]  # units of work really done, by what they are

    @property
    def published(self) -> Model:
        """The model that is published."""
        return self.final.model

    @property
    def exports(self) -> dict[str, list[Ref]]:
        """The files of each exported table."""
        lists, embeddings = self.lists, self.lists.request.model.embeddings
        recommendations = [block.exported for block in lists.recommendations]
        parts = (recommendations, [embeddings.users], embeddings.images, [lists.similar])
        exports = {table.name: part for table, part in zip(EXPORTS, parts, strict=True)}
        return exports | ({REASONS.name: self.reasons} if self.reasons else {})
