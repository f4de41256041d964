"""The tables that negatives and candidates are decided from, as matrices over one numbering of users and images."""

from dataclasses import dataclass

from models.community import Signals
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.data.tastes import Profiles


@dataclass(frozen=True)
class SignalTables:
    """What negatives and candidates are decided from."""

    users: Ref
    images: Ref
    training: Ref  # the favorites that are not concealed
    interests: Ref
    carried: Ref  # what an image carries of what an interest names
    contacts: Ref
    memberships: Ref

    @classmethod
    def of(cls, table: dict[str, Ref], training: Ref, profiles: Profiles) -> "SignalTables":
        """The signals among the tables of a community and what was derived from them."""
        users, images, contacts, memberships = (table[name] for name in ("users", "images", "contacts", "memberships"))
        return cls(users, images, training, profiles.interests, profiles.image_labels, contacts, memberships)


@dataclass(frozen=True)
class Signalled:
    """The signals, and the ids that their rows and columns stand for."""

    users: Ids
    images: Ids
    signals: Signals


def read_signals(given: SignalTables, root: Root) -> Signalled:
    """The tables as matrices."""
    users = matrices.ids_of(parquet.read(given.users, root, ["user_id"])["user_id"])
    images = matrices.ids_of(parquet.read(given.images, root, ["image_id"])["image_id"])
    training, interests, carried, contacts, memberships = (
        parquet.read(ref, root)
        for ref in (given.training, given.interests, given.carried, given.contacts, given.memberships)
    )
    tags = matrices.ids_of(interests["tag"], carried["tag"])
    groups = matrices.ids_of(memberships["group_id"])
    return Signalled(
        users,
        images,
        Signals(
            favorites_UI=matrices.incidence(training["user_id"], training["image_id"], users, images),
            interests_UT=matrices.incidence(interests["user_id"], interests["tag"], users, tags),
            image_tags_IT=matrices.incidence(carried["image_id"], carried["tag"], images, tags),
            contacts_UU=matrices.incidence(contacts["user_id"], contacts["contact_id"], users, users),
            memberships_UG=matrices.incidence(memberships["user_id"], memberships["group_id"], users, groups),
        ),
    )
