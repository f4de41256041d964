"""The database of a run's own Prefect server: made, migrated, or renamed where it cannot be used.

A new one is made beside its place, and renamed to it when whole: a kill or a full disk leaves none that is half made.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database import provide_database_interface
from prefect.server.database.configurations import AioSqliteConfiguration, BaseDatabaseConfiguration
from prefect.server.database.dependencies import temporary_database_config

LOCK_S = 120.0  # how long another process may migrate the database; it takes seconds
LOCKED_S = 15.0  # how long another process may keep the database locked
BUSY = ("locked", "busy")  # what SQLite says while another process writes


class DatabaseError(RuntimeError):
    """Prefect's database cannot be used: the message says why, and what to do."""


def prepare_database(url: str) -> list[str]:
    """Make or migrate the database of `url`; call it `alone`. Returns what there is to say. Raises DatabaseError."""
    address = sa.make_url(url)
    file = Path(address.database or "") if address.get_backend_name() == "sqlite" else None
    if file is None or not address.database or "memory" in url:
        try:
            _migrate()
        except Exception as error:
            where = address.render_as_string(hide_password=True)
            raise DatabaseError(
                f"{where}: Prefect's database cannot be prepared ({_brief(error)}); mend it, or unset "
                f"PREFECT_API_DATABASE_CONNECTION_URL, and a file below PREFECT_HOME is used"
            ) from error
        return []
    said = []
    if file.exists():
        try:
            _check(file)
            _migrate(AioSqliteConfiguration(url))
        except Exception as error:
            said.append(_set_aside(file, error))
    if not file.exists():
        _make(file, address)
    return said


def _make(file: Path, address: sa.URL) -> None:
    """A new database, made beside its place and renamed when whole."""
    new = file.with_name(f"{file.name}.new")
    _delete(new)
    try:
        _migrate(AioSqliteConfiguration(address.set(database=str(new)).render_as_string()))
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file that is renamed
        _delete(file)  # the log of a database that is gone would be taken for the new one's
        with new.open("rb") as stream:
            os.fsync(stream.fileno())
        new.rename(file)
        with closing(sqlite3.connect(file)) as connection:
            # As Prefect wants it: two servers that begin at once cannot both change it, and one of them would end.
            connection.execute("PRAGMA journal_mode = WAL")
    except Exception as error:
        _delete(new)
        raise DatabaseError(
            f"{file}: Prefect's database cannot be made ({_brief(error)}); give it room and the right to write there, "
            f"or set PREFECT_HOME to another folder"
        ) from error


def _check(file: Path) -> None:
    """Raises sqlite3.Error where the file is no database, or a damaged one."""
    with closing(sqlite3.connect(file, timeout=LOCKED_S)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.execute("BEGIN IMMEDIATE")  # may it be written?
        connection.execute("ROLLBACK")
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _set_aside(file: Path, error: Exception) -> str:
    """Rename a database that cannot be used. Raises DatabaseError where that would not help."""
    if any(word in str(error) for word in BUSY):
        raise DatabaseError(
            f"{file}: another process keeps Prefect's database locked; end it, or set PREFECT_HOME to another folder"
        ) from error
    aside = file.with_name(f"{file.name}.damaged")
    try:
        _delete(aside)
        for end in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{file}{end}").rename(f"{aside}{end}")
    except OSError as failed:
        raise DatabaseError(
            f"{file}: Prefect's database cannot be used ({_brief(error)}) nor renamed ({failed.strerror}); delete it"
        ) from error
    return (
        f"{file}: Prefect's database cannot be used ({_brief(error)}): it is {aside.name} now, a new one is made, and "
        f"the history of earlier runs in Prefect is lost; what they published is not"
    )


def _delete(file: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{end}").unlink(missing_ok=True)


def _migrate(config: BaseDatabaseConfiguration | None = None) -> None:
    """Bring a database, by default that of the settings, to the version that this Prefect needs."""

    async def upgrade() -> None:
        database = provide_database_interface()
        await database.create_db()
        await (await database.engine()).dispose()

    with temporary_database_config(config):
        asyncio.run(upgrade())


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the lock of a home; the kernel frees it when this process ends. Raises DatabaseError.

    One server at a time makes the database and starts: each enters the types of blocks that are missing, and the
    second of two at once would end, as they are unique.
    """
    lock, end = home / "database.lock", time.monotonic() + LOCK_S
    with lock.open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise DatabaseError(
                        f"{lock}: another run has been starting Prefect's server for {LOCK_S:.0f} s; end it"
                    ) from error
                time.sleep(0.1)
            else:
                break
        yield


def _brief(error: BaseException) -> str:
    """An error's first line; of SQLAlchemy's the database's own words."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
