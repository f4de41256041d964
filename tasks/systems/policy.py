"""A policy's rules over numbered users and images: which images, or pairs, may not be listed, and how lists are chosen.

N users, I images, O owners, T tags.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from models.retrieval import reranking
from models.retrieval.ranking import TopK
from models.retrieval.reranking import Ranked
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.settings.lists import PolicyConfig
from tasks.systems.lists import Policy

OWN_UPLOADS, BLOCKED_IMAGES, BLOCKED_OWNERS = "own uploads", "blocked images", "blocked owners"
MUTED_TAGS, USER_BLOCKS, USER_MUTES, HIDES = "muted tags", "user blocks", "user mutes", "hides"
NO_PICTURE = "no picture"
MAX_OF_OWNER, DIVERSITY = "images of one owner", "diversity"
NOTHING = PolicyConfig(own_uploads=True)  # with empty tables, a policy that rules nothing out


@dataclass(frozen=True, eq=False)
class Rules:
    """The active rules, by name. A rule whose table has no row, or whose setting is off, is not among them."""

    blocked: dict[str, np.ndarray]  # bool (I,): images that are recommended to nobody
    hidden: dict[str, csr_array]  # (N, I): an entry marks an image that is not recommended to the user
    owner_I: np.ndarray  # int64; -1 where the owner is unknown
    config: PolicyConfig  # how lists are chosen

    @property
    def names(self) -> list[str]:
        """The active rules, in the order of the documentation."""
        chosen = {MAX_OF_OWNER: self.config.max_of_owner, DIVERSITY: self.config.diversity}
        return [*self.hidden, *self.blocked, *(name for name, value in chosen.items() if value)]

    @property
    def allowed(self) -> np.ndarray:
        """bool (I,): what no rule blocks for everybody."""
        return np.asarray(~np.any([np.zeros(len(self.owner_I), bool), *self.blocked.values()], axis=0))

    def unlisted(self, seen_NI: csr_array) -> csr_array:
        """The images that are not recommended to each user: seen ones, and those that any rule hides from them."""
        return csr_array(sum(self.hidden.values(), start=seen_NI)) if self.hidden else seen_NI

    def unlisted_pairs(self, pairs_NI: csr_array) -> csr_array:
        """bool (N, I): those of these pairs that may not be listed."""
        blocked_NI = pairs_NI.multiply(~self.allowed[None, :])
        hidden_NI = sum((pairs_NI.multiply(rule_NI) for rule_NI in self.hidden.values()), start=blocked_NI)
        return csr_array(csr_array(hidden_NI) > 0)

    def for_users(self, users: np.ndarray) -> "Rules":
        """The rules for some of the users."""
        return replace(self, hidden={name: rule_NI[users] for name, rule_NI in self.hidden.items()})

    def of(self, is_kept_I: np.ndarray) -> "Rules":
        """The rules over some of the images."""
        return replace(
            self,
            blocked={name: rule_I[is_kept_I] for name, rule_I in self.blocked.items()},
            hidden={name: rule_NI[:, is_kept_I] for name, rule_NI in self.hidden.items()},
            owner_I=self.owner_I[is_kept_I],
        )

    def only(self, name: str | None) -> "Rules":
        """This rule alone; none of them."""
        config = replace(
            self.config,
            max_of_owner=self.config.max_of_owner if name == MAX_OF_OWNER else 0,
            diversity=self.config.diversity if name == DIVERSITY else 0.0,
        )
        blocked = {rule: blocked_I for rule, blocked_I in self.blocked.items() if rule == name}
        hidden = {rule: hidden_NI for rule, hidden_NI in self.hidden.items() if rule == name}
        return replace(self, blocked=blocked, hidden=hidden, config=config)

    def choose(self, lists: TopK, k: int, ranked: Ranked, images_Id: np.ndarray | None, system: str) -> TopK:
        """Lists of k images, chosen from the first places of longer ones; `models.retrieval.reranking` says how.

        Raises ValueError for `policy.diversity` where images have no vectors.
        """
        if self.config.diversity and images_Id is None:
            raise ValueError(
                f"policy.diversity is {self.config.diversity}, but {system} has no embeddings by which images could be "
                f"compared; set it to 0, or choose another model.system"
            )
        return reranking.choose(
            lists,
            k,
            self.owner_I,
            ranked,
            max_of_owner=self.config.max_of_owner,
            diversity=self.config.diversity,
            images_Id=images_Id,
        )


def read_rules(policy: Policy | None, users: Ids, images: Ids, root: Root) -> Rules:
    """The policy's active rules over these users and images."""
    blocked: dict[str, np.ndarray] = {}
    hidden: dict[str, csr_array] = {}
    if policy is None:
        return Rules(blocked, hidden, np.full(len(images), -1), NOTHING)
    config, owned = policy.config, parquet.read(policy.images, root, ["image_id", "owner_id"])
    owners = matrices.ids_of(owned["owner_id"].drop_null())
    owner_I = np.full(len(images), -1)
    row, owner = matrices.rows_of(owned["image_id"], images), matrices.rows_of(owned["owner_id"], owners)
    owner_I[row[row >= 0]] = owner[row >= 0]
    owned = owned.filter(pc.is_valid(owned["owner_id"]))
    if not config.own_uploads:
        hidden[OWN_UPLOADS] = matrices.incidence(owned["owner_id"], owned["image_id"], users, images)
    if policy.user_blocks.rows:
        blocks = parquet.read(policy.user_blocks, root)
        blocks_NO = matrices.incidence(blocks["user_id"], blocks["blocked_id"], users, owners)
        owned_OI = matrices.incidence(owned["owner_id"], owned["image_id"], owners, images)
        hidden[USER_BLOCKS] = csr_array(blocks_NO @ owned_OI)
    if policy.hides and policy.hides.rows:
        hides = parquet.read(policy.hides, root)
        hidden[HIDES] = matrices.incidence(hides["user_id"], hides["image_id"], users, images)
    if policy.image_tags:
        tagged = parquet.read(policy.image_tags, root)
        mutes = parquet.read(policy.user_mutes, root)
        tags = matrices.ids_of(mutes["tag"], pa.chunked_array([pa.array(config.muted_tags, pa.string())]))
        tagged_IT = matrices.incidence(tagged["image_id"], tagged["tag"], images, tags)
        if len(mutes):
            mutes_NT = matrices.incidence(mutes["user_id"], mutes["tag"], users, tags)
            hidden[USER_MUTES] = csr_array(mutes_NT @ tagged_IT.T)
        if config.muted_tags:
            muted = matrices.rows_of(pa.array(config.muted_tags, pa.string()), tags)
            blocked[MUTED_TAGS] = np.diff(csr_array(tagged_IT[:, muted]).indptr) > 0
    if policy.pixels:
        blocked[NO_PICTURE] = ~matrices.are_in(images, pa.array(Shards.open(policy.pixels, root).ids))
    if policy.blocked_images.rows:
        blocked[BLOCKED_IMAGES] = _among(images, policy.blocked_images, "image_id", root)
    if policy.blocked_owners.rows:
        is_blocked_O = _among(owners, policy.blocked_owners, "user_id", root)
        blocked[BLOCKED_OWNERS] = np.append(is_blocked_O, False)[owner_I]  # the last for images without an owner
    return Rules(blocked, hidden, owner_I, config)


def allowed(policy: Policy | None, images: Ids, root: Root) -> np.ndarray:
    """bool (I,): images that no rule blocks for everybody."""
    return read_rules(policy, np.empty(0, object), images, root).allowed


def _among(ids: Ids, ref: Ref, name: str, root: Root) -> np.ndarray:
    """bool: which of these ids are in a table's column."""
    listed = matrices.ids_of(parquet.read(ref, root, [name])[name])
    return matrices.rows_of(pa.array(ids, pa.string()), listed) >= 0
