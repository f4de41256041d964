"""A place where files lie: a local folder or an `s3://bucket/prefix`, behind one small interface.

Everything but the pointer is immutable and written whole: to a temporary name and renamed on a local disk, in one
put on S3. So a kill at any instant leaves either nothing or a whole file.
"""

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

WORK_FOLDER = ".tmp"  # below a local root: files in the making, and the lock of `swap`

_log = logging.getLogger("tastegraph")


class ConflictError(RuntimeError):
    """Somebody else wrote the file since it was read."""


class StoreError(OSError):
    """The store cannot be used at all: no such bucket, no credentials, no permission, no connection."""


@dataclass(frozen=True)
class Entry:
    """A file below a root. `version` changes whenever the bytes do (S3: the ETag; local: size and time of change)."""

    path: str
    size: int
    version: str
    modified_s: float = field(default=0.0, compare=False)  # seconds since 1970 by the store's clock


@dataclass(frozen=True)
class Root:
    """The folder or bucket prefix at `address`: `s3://BUCKET[/PREFIX]`, a path (relative and `~` too) or `file://`.

    Every path is relative to it, with forward slashes; one that leads outside raises ValueError. An S3 store that
    cannot be used raises StoreError, which says what to do.
    """

    address: str

    def __post_init__(self) -> None:
        scheme, rest = _split(self.address)
        if scheme == "s3" and rest.strip("/") and not rest.startswith("/"):
            address = f"s3://{rest.rstrip('/')}"
        elif scheme == "file" and re.match("(localhost)?/", rest):
            address = str(Path(unquote(rest.removeprefix("localhost"))).resolve())
        elif not scheme and rest:
            address = str(Path(rest).expanduser().resolve())  # absolute: it must outlive a change of folder
        else:
            raise ValueError(
                f"{self.address!r} is no place for files; write a folder, file:///FOLDER or s3://BUCKET/PREFIX"
            )
        object.__setattr__(self, "address", address)

    @property
    def is_remote(self) -> bool:
        return self.address.startswith("s3://")

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        if not self.is_remote:
            return self._file(path).read_bytes()
        with self._store(path) as client:
            body: bytes = client.get_object(**self._object(path))["Body"].read()
            return body

    def local(self, path: str, sha256: str | None = None) -> Path:
        """A local file with the bytes of an *immutable* file, to be mapped or scanned; from S3 it is fetched once.

        With `sha256`, bytes that do not match raise ValueError after one more fetch; the check is made on fetching.
        """
        if not self.is_remote:
            if not (file := self._file(path)).is_file():
                raise FileNotFoundError(f"{file}: no such file")
            return file
        # Named by content, so that a bucket that was emptied and filled anew is never served from yesterday's copy.
        version = sha256 or hashlib.sha256(f"{self.url(path)} {self._entry(path).version}".encode()).hexdigest()
        file = scratch_folder() / "fetched" / version / Path(path).name
        if file.exists():
            return file
        for _attempt in range(2):
            with self.workspace() as folder:
                fetched = folder / file.name
                with self._store(path) as client:
                    client.download_file(*self._bucket_and_key(path), str(fetched))
                if sha256 is None or _digest(fetched) == sha256:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    return fetched.replace(file)
        raise ValueError(
            f"{self.url(path)}: sha256 is not {sha256}, fetched twice; the file was damaged or overwritten: delete it, "
            f"and run what made it again"
        )

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole, replacing what was there."""
        if self.is_remote:
            self._put_object(path, data)
        else:
            with self.workspace() as folder:
                (folder / "file").write_bytes(data)
                self.put(folder / "file", path)

    def put(self, file: Path, path: str) -> None:
        """Move a finished local file to its place, whole."""
        if self.is_remote:
            with file.open("rb") as stream, self._store(path) as client:
                client.upload_fileobj(stream, *self._bucket_and_key(path))
            file.unlink()
            return
        target = self._file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self.workspace() as folder:  # the file was made on another disk
                shutil.copyfile(file, folder / "file")
                (folder / "file").replace(target)
            file.unlink()

    def copy(self, source: str, target: str) -> None:
        """Copy an immutable file within the root; on one disk it is a hard link and costs no space."""
        if self.is_remote:
            bucket, key = self._bucket_and_key(source)
            # One request up to S3's own limit: lesser stores have no multipart copy.
            config = TransferConfig(multipart_threshold=5 * 1024**3)
            with self._store(source) as client:
                client.copy({"Bucket": bucket, "Key": key}, *self._bucket_and_key(target), Config=config)
            return
        with self.workspace() as folder:
            try:
                os.link(self._file(source), folder / "file")
            except FileNotFoundError:
                raise
            except OSError:  # a file system without hard links
                shutil.copyfile(self._file(source), folder / "file")
            self.put(folder / "file", target)

    def swap(self, path: str, data: bytes, expected: str | None) -> None:
        """Write a file if its version is still `expected` (None: if there is none). Raises ConflictError if it is not.

        Of several writers with the same `expected`, in any number of processes, exactly one wins: the store decides,
        or on a local disk a lock of the kernel, which a killed process gives back. On a store without conditional
        puts (see `honours_conditions`) a writer in the same instant may be lost.
        """
        if not self.is_remote:
            with self._locked():
                before = self._expect(path, expected)
                with self.workspace() as folder:
                    (folder / "file").write_bytes(data)
                    if before:  # two swaps within one tick of the clock still differ in version
                        after_ns = max((folder / "file").stat().st_mtime_ns, self._file(path).stat().st_mtime_ns + 1)
                        os.utime(folder / "file", ns=(after_ns, after_ns))
                    self.put(folder / "file", path)
        elif self.honours_conditions():
            try:
                self._put_object(path, data, **({"IfMatch": f'"{expected}"'} if expected else {"IfNoneMatch": "*"}))
            except (ConflictError, FileNotFoundError) as error:
                entry = self.entry(path)
                if entry and self.read(path) == data:
                    return  # we had won: the answer was lost, and the client asked again
                raise _conflict(self.url(path), entry, expected) from error
        else:
            self._expect(path, expected)
            self._put_object(path, data)

    def honours_conditions(self) -> bool:
        """Whether the store refuses a conditional put that must fail. Probed once per root and process."""
        return not self.is_remote or _honours_conditions(_s3(), self)

    def entry(self, path: str) -> Entry | None:
        """The file's size and version; None where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._entry(path)
        return None

    def exists(self, path: str) -> bool:
        return self.entry(path) is not None

    def entries(self, prefix: str = "", recursive: bool = True) -> Iterator[Entry]:
        """The files below a folder, by path; with `recursive=False` those that lie directly in it."""
        if self.is_remote:
            bucket, key = self._bucket_and_key(prefix)
            skip = len(self._bucket_and_key("")[1])
            which = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""} | ({} if recursive else {"Delimiter": "/"})
            with self._store(prefix) as client:
                for page in client.get_paginator("list_objects_v2").paginate(**which):
                    for item in page.get("Contents", ()):
                        if not item["Key"].endswith("/"):  # a folder, as some tools draw it
                            path, version = item["Key"][skip:].lstrip("/"), item["ETag"].strip('"')
                            yield Entry(path, item["Size"], version, item["LastModified"].timestamp())
            return
        top, paths = self._file(prefix), []
        for folder, subfolders, names in islice(os.walk(top), None if recursive else 1):
            subfolders[:] = [name for name in subfolders if name != WORK_FOLDER]
            paths += [Path(folder, name).relative_to(self.address).as_posix() for name in names]
        for path in sorted(paths):
            if entry := self.entry(path):
                yield entry

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self.is_remote:
            with self._store(path) as client:
                client.delete_object(**self._object(path))
        else:
            self._file(path).unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A fresh local folder for files in the making, on the root's own disk where it has one; gone afterwards."""
        folder = scratch_folder() if self.is_remote else Path(self.address) / WORK_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)

    def debris(self) -> Iterator[Entry]:
        """Files in workspaces on a local root's own disk, which are nobody's where nobody works on the root."""
        folder = Path(self.address) / WORK_FOLDER
        if not self.is_remote and folder.is_dir():
            for path in sorted(folder.glob("*/**/*")):
                if path.is_file():
                    yield self._entry(path.relative_to(self.address).as_posix())

    def prune(self, folder: str) -> None:
        """Remove a local folder's empty folders, and itself where nothing is left; nobody else may write there."""
        if not self.is_remote:
            top = self._file(folder)
            for path in [*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top]:
                with suppress(OSError):  # not empty, or not there
                    path.rmdir()

    def url(self, path: str) -> str:
        """The file's full address, for people and for readers such as DuckDB."""
        return f"{self.address}/{_inside(path)}".rstrip("/")

    def _file(self, path: str) -> Path:
        return Path(self.address) / _inside(path)

    def _bucket_and_key(self, path: str) -> tuple[str, str]:
        bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        return bucket, "/".join(part for part in (prefix, _inside(path)) if part)

    def _object(self, path: str) -> dict[str, str]:
        bucket, key = self._bucket_and_key(path)
        return {"Bucket": bucket, "Key": key}

    def _entry(self, path: str) -> Entry:
        if self.is_remote:
            with self._store(path) as client:
                head = client.head_object(**self._object(path))
                version, modified_s = head["ETag"].strip('"'), head["LastModified"].timestamp()
                return Entry(path, head["ContentLength"], version, modified_s)
        found = self._file(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(f"{self.url(path)}: not a file")
        return Entry(path, found.st_size, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)

    def _expect(self, path: str, expected: str | None) -> Entry | None:
        entry = self.entry(path)
        if (entry and entry.version) != expected:
            raise _conflict(self.url(path), entry, expected)
        return entry

    def _put_object(self, path: str, data: bytes, **condition: str) -> None:
        with self._store(path) as client:
            client.put_object(**self._object(path), Body=data, **condition)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the root's one lock. A lock of the kernel: however its holder ends, it is free again."""
        lock = Path(self.address) / WORK_FOLDER / "swap.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _store(self, path: str) -> Iterator[Any]:
        """The S3 client; what it raises comes out as an error that says what, where, and what to do."""
        try:
            yield _s3()
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
            raise StoreError(
                f"{self.url(path)}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
                f"or give the machine a role"
            ) from error
        except (HTTPClientError, BotoConnectionError) as error:
            raise StoreError(f"{self.url(path)}: {error}; is AWS_ENDPOINT_URL right, and the store up?") from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "NotFound", "404"):
                raise FileNotFoundError(f"{self.url(path)}: no such file ({error})") from error
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ConflictError(f"{self.url(path)}: somebody else wrote it just now; run again") from error
            if code == "NoSuchBucket":
                bucket = self._bucket_and_key("")[0]
                raise StoreError(
                    f"{self.address}: there is no bucket {bucket!r}; create it or correct the address"
                ) from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403):
                raise StoreError(
                    f"{self.url(path)}: {error}; the credentials must be valid and allow "
                    f"s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there"
                ) from error
            raise


def scratch_folder() -> Path:
    """Where files of a remote root are worked on: TASTEGRAPH_SCRATCH, else the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tastegraph"
    return Path(os.environ.get("TASTEGRAPH_SCRATCH") or default)


@lru_cache(maxsize=1)
def _s3() -> Any:
    """The S3 client, set up the AWS way: environment, profile, instance role, AWS_ENDPOINT_URL."""
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        # Checksums only where S3 itself needs them: many a store refuses those that the client adds by default, and
        # with rclone a read that fails ends in an AttributeError inside botocore instead of being tried again. Our
        # own sha256 covers every file that matters.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)  # a session of its own: the default one is global


@lru_cache
def _honours_conditions(client: Any, root: Root) -> bool:  # a new client, as tests make them, asks anew
    probe = f"probe/{os.urandom(8).hex()}"
    root.write(probe, b"1")
    try:
        honoured = all(_refuses(root, probe, condition) for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}))
    finally:
        with suppress(StoreError):  # not allowed to delete: one byte stays
            root.delete(probe)
    if not honoured:
        _log.warning(
            "%s: the store does not honour conditional puts, so one promise is weaker: of two nights that publish in "
            "the same instant the last one wins, silently; keep nightly runs apart",
            root.address,
        )
    return honoured


def _refuses(root: Root, path: str, condition: dict[str, str]) -> bool:
    try:
        root._put_object(path, b"2", **condition)
    except ConflictError:
        return True
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 501):
            raise
    return False  # written all the same, or the condition is not understood


def _conflict(url: str, entry: Entry | None, expected: str | None) -> ConflictError:
    found = f"its version is {entry.version}" if entry else "it is not there"
    wanted = f"version {expected} was expected" if expected else "it was not expected to be there"
    return ConflictError(f"{url}: {found}, {wanted}; somebody else wrote it: run again")


def _split(address: str) -> tuple[str, str]:
    """An address's scheme in lower case (empty for a path) and the rest."""
    scheme, mark, rest = address.partition("://")
    return (scheme.lower(), rest) if mark else ("", address)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"{path!r}: a path is relative to its root, with forward slashes and without '..'")
    return path


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
