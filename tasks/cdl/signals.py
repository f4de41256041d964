"""The tables that negatives are assigned from, as matrices over one numbering of users and images."""

from dataclasses import dataclass

from models.community import Signals
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.data.tastes import Profiles


@dataclass(frozen=True)
class SignalTables:
    """The tables that negatives are assigned from."""

    users: Ref
    images: Ref
    training: Ref  # the favorites that are not concealed
    interests: Ref
    image_labels: Ref  # the labels of images, of the kind that interests name
    contacts: Ref
    memberships: Ref

    @classmethod
    def of(cls, table: dict[str, Ref], training: Ref, profiles: Profiles) -> "SignalTables":
        """The signals among the tables of a community and what was derived from them."""
        users, images, contacts, memberships = (table[name] for name in ("users", "images", "contacts", "memberships"))
        return cls(users, images, training, profiles.interests, profiles.image_labels, contacts, memberships)


@dataclass(frozen=True)
class IndexedSignals:
    """The signals, and the ids of their rows and columns."""

    users: Ids
    images: Ids
    signals: Signals


def read_signals(tables: SignalTables, root: Root) -> IndexedSignals:
    """The tables as matrices."""
    users = matrices.ids_of(parquet.read(tables.users, root, ["user_id"])["user_id"])
    images = matrices.ids_of(parquet.read(tables.images, root, ["image_id"])["image_id"])
    training, interests, image_labels, contacts, memberships = (
        parquet.read(ref, root)
        for ref in (tables.training, tables.interests, tables.image_labels, tables.contacts, tables.memberships)
    )
    tags = matrices.ids_of(interests["tag"], image_labels["tag"])
    groups = matrices.ids_of(memberships["group_id"])
    return IndexedSignals(
        users,
        images,
        Signals(
            favorites_UI=matrices.incidence(training["user_id"], training["image_id"], users, images),
            interests_UT=matrices.incidence(interests["user_id"], interests["tag"], users, tags),
            image_tags_IT=matrices.incidence(image_labels["image_id"], image_labels["tag"], images, tags),
            contacts_UU=matrices.incidence(contacts["user_id"], contacts["contact_id"], users, users),
            memberships_UG=matrices.incidence(memberships["user_id"], memberships["group_id"], users, groups),
        ),
    )
