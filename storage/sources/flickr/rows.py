"""Store the rows of lists in the crawl's database; a list's rows replace those of its previous reading."""

from collections.abc import Iterable, Sequence

from storage.sources.flickr.answers import Favorite, Group, Person, PoolPhoto, Tag
from storage.sources.flickr.database import Database

Candidates = list[str]


def keep_contacts(database: Database, user_id: str, contacts: Sequence[Person]) -> None:
    database.change("DELETE FROM contacts WHERE user_id = ?", (user_id,))
    pairs = ((user_id, contact.user_id) for contact in contacts if contact.user_id != user_id)
    database.change_each("INSERT OR IGNORE INTO contacts VALUES (?, ?)", pairs)
    keep_names(database, contacts)


def keep_favorites(database: Database, user_id: str, favorites: Sequence[Favorite]) -> None:
    """Store the favorites and their photos; fields that an answer lacks keep their earlier value."""
    database.change("DELETE FROM favorites WHERE user_id = ?", (user_id,))
    dated = ((user_id, favorite.image_id, favorite.favorited_at) for favorite in favorites)
    database.change_each("INSERT OR IGNORE INTO favorites VALUES (?, ?, ?)", dated)
    database.change_each(
        """INSERT INTO images VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (image_id) DO UPDATE SET
           owner_id = coalesce(excluded.owner_id, owner_id), title = excluded.title,
           uploaded_at = coalesce(excluded.uploaded_at, uploaded_at), tags = coalesce(excluded.tags, tags),
           url = coalesce(excluded.url, url)""",
        ((item.image_id, item.owner_id, item.title, item.uploaded_at, item.tags, item.url) for item in favorites),
    )
    database.change_each(
        "DELETE FROM tombstones WHERE kind = 'image' AND id = ?", ((item.image_id,) for item in favorites)
    )
    keep_names(database, (Person(item.owner_id, item.owner_name) for item in favorites if item.owner_id))


def keep_tags(database: Database, user_id: str, tags: Sequence[Tag]) -> None:
    database.change("DELETE FROM user_tags WHERE user_id = ?", (user_id,))
    database.change_each("INSERT OR IGNORE INTO user_tags VALUES (?, ?, ?)", ((user_id, *tag) for tag in tags))


def keep_memberships(database: Database, user_id: str, groups: Sequence[Group]) -> None:
    database.change("DELETE FROM memberships WHERE user_id = ?", (user_id,))
    database.change_each("INSERT OR REPLACE INTO groups VALUES (?, ?)", groups)
    database.change_each("INSERT OR IGNORE INTO memberships VALUES (?, ?)", ((user_id, item[0]) for item in groups))


def keep_group_users(database: Database, group_id: str, users: Sequence[Person]) -> None:
    database.change("DELETE FROM group_users WHERE group_id = ?", (group_id,))
    database.change_each("INSERT OR IGNORE INTO group_users VALUES (?, ?)", ((group_id, user[0]) for user in users))
    keep_names(database, users)


def keep_pool(database: Database, group_id: str, photos: Sequence[PoolPhoto]) -> None:
    """Store the owners of photos in a group's pool as users of the group."""
    keep_group_users(database, group_id, [Person(*photo.owner) for photo in photos])


def keep_names(database: Database, people: Iterable[Person]) -> None:
    database.change_each("INSERT OR REPLACE INTO names VALUES (?, ?)", (person for person in people if person.name))


def found_by_contacts(database: Database, depth: int) -> Candidates:
    """Users outside the frontier that users up to this depth follow, those with the most such followers first."""
    return _candidates(
        database,
        """SELECT contact_id FROM contacts JOIN frontier USING (user_id)
           WHERE depth <= ? AND contact_id NOT IN (SELECT user_id FROM frontier)
           GROUP BY contact_id ORDER BY count(*) DESC, contact_id""",
        (depth,),
    )


def joined_groups(database: Database, depth: int, most: int) -> Candidates:
    """The groups with the most users up to this depth."""
    return _candidates(
        database,
        """SELECT group_id FROM memberships JOIN frontier USING (user_id) WHERE depth <= ?
           GROUP BY group_id ORDER BY count(*) DESC, group_id LIMIT ?""",
        (depth, most),
    )


def found_by_groups(database: Database, groups: Sequence[str]) -> Candidates:
    """Users outside the frontier in these groups, those in the most of them first."""
    marks = ", ".join("?" * len(groups))
    return _candidates(
        database,
        f"""SELECT user_id FROM group_users
            WHERE group_id IN ({marks}) AND user_id NOT IN (SELECT user_id FROM frontier)
            GROUP BY user_id ORDER BY count(*) DESC, user_id""",
        groups,
    )


def delete_forgotten(database: Database) -> None:
    """Delete every row of users and images with a tombstone; the photos of a user with a tombstone get one too."""
    forgotten = "(SELECT id FROM tombstones WHERE kind = '{}')"
    users, images = forgotten.format("user"), forgotten.format("image")
    with database.transaction():
        database.change(
            f"INSERT OR IGNORE INTO tombstones SELECT 'image', image_id FROM images WHERE owner_id IN {users}"
        )
        for table in ("contacts", "favorites", "user_tags", "memberships", "group_users", "names", "frontier"):
            database.change(f"DELETE FROM {table} WHERE user_id IN {users}")
        database.change(f"DELETE FROM contacts WHERE contact_id IN {users}")
        database.change(f"DELETE FROM favorites WHERE image_id IN {images}")
        database.change(f"DELETE FROM images WHERE image_id IN {images}")
        # Their rows are deleted, so their lists must be read again should they come back.
        database.change(f"DELETE FROM fetched WHERE outcome = 'ok' AND (id IN {users} OR id IN {images})")
        database.change("DELETE FROM pictures WHERE url NOT IN (SELECT url FROM images WHERE url IS NOT NULL)")


def _candidates(database: Database, sql: str, values: Sequence[object]) -> Candidates:
    return [found for (found,) in database.query(sql, values)]
