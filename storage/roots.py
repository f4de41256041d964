"""A root: a local folder or an `s3://bucket/prefix`, behind one small interface.

Every file but the pointer is immutable and written atomically: under a temporary name and renamed on a local disk, in
one put on S3. A kill or a power cut at any instant leaves either no file or a whole one.
"""

import errno
import fcntl
import hashlib
import logging
import os
import random
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from s3transfer.exceptions import S3DownloadFailedError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
WORK_FOLDER = ".tmp"  # below a local root: unfinished files, and the lock of `swap`

ATTEMPTS = 5  # how often S3 is asked before an error counts, with growing pauses
CONNECT_S, READ_S = 10.0, 60.0  # how long S3 may take to accept a connection, and to send the next bytes
OUTAGE_S = 60.0  # for how long a store that has answered this process is asked again while it is away
PARTS_FROM = 8 * 2**20  # bytes; files from this size on go to S3 and come from it in parts
OVERLOADED = ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded")

_log = logging.getLogger("tastegraph")
_digests: dict[tuple[int, int, int, int], str] = {}  # sha256 of local files: by device, inode, size, time of change
_hashing = [threading.Lock() for _ in range(64)]


class ConflictError(RuntimeError):
    """Another process wrote the file since it was read."""


class DamagedError(ValueError):
    """A file whose bytes are not those that its digest names: a flipped bit, a file cut off, a file overwritten."""

    def __init__(self, address: str, path: str, expected: str, found: str) -> None:
        super().__init__(address, path, expected, found)  # as arguments, so that it may cross processes
        self.address, self.path, self.expected, self.found = address, path, expected, found

    def __str__(self) -> str:
        return (
            f"{self.address}/{self.path}: damaged: its sha256 is {self.found}, expected {self.expected}; "
            f"`tastegraph verify --root {self.address} --repair` puts it back or removes it, and the next run computes "
            f"again what is missing"
        )


class DiskError(OSError):
    """The disk cannot hold what is to be written: it is full, read-only or broken."""


class StoreError(OSError):
    """The store cannot be used: no such bucket, no credentials, no permission, a request that it does not know."""


class UnavailableError(StoreError):
    """The store does not answer, or with errors of its own, however often it was asked: later it may."""


class _CutOffError(ConnectionError):
    """A body that broke off: the client itself asks again only until a body begins."""


@dataclass(frozen=True)
class Entry:
    """A file below a root. `version` changes whenever the bytes do (S3: the ETag; local: size and time of change)."""

    path: str
    size: int
    version: str
    modified_s: float = field(default=0.0, compare=False)  # seconds since 1970 by the store's clock


@dataclass(frozen=True)
class Root:
    """The folder or bucket prefix at `address`: `s3://BUCKET[/PREFIX]`, a path (also relative or with `~`) or `file://`.

    Every path is relative to the root, with forward slashes; a path that leads outside raises ValueError. An S3 store
    that cannot be used raises StoreError, whose message says what to do.
    """

    address: str

    def __post_init__(self) -> None:
        scheme, rest = _split(self.address)
        if scheme == "s3" and rest.strip("/") and not rest.startswith("/"):
            address = f"s3://{rest.rstrip('/')}"
        elif scheme == "file" and re.match("(localhost)?/", rest):
            address = str(Path(unquote(rest.removeprefix("localhost"))).resolve())
        elif not scheme and rest:
            address = str(Path(rest).expanduser().resolve())  # absolute: valid in any working folder
        else:
            raise ValueError(
                f"{self.address!r} is no address of a root; write a folder, file:///FOLDER or s3://BUCKET/PREFIX"
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
            parts: list[bytes] = []

            def begin() -> Callable[[bytes], object]:
                parts.clear()
                return parts.append

            _read_body(client, self._object(path), begin)
            return b"".join(parts)

    def local(self, path: str, sha256: str | None = None) -> Path:
        """A local file with the bytes of an *immutable* file, for mapping or scanning; from S3 it is fetched once.

        With `sha256` the bytes are compared with it, once per process while size and time of change stay; of an S3 root
        they are fetched once more where they differ. Raises DamagedError where they differ still.
        """
        if not self.is_remote:
            if not (file := self._file(path)).is_file():
                raise FileNotFoundError(f"{file}: no such file")
            if sha256 and (found := digest_once(file)) != sha256:
                raise DamagedError(self.address, path, sha256, found)
            return file
        # Named by content, so that a bucket that was emptied and filled again is never served from an old copy.
        version = sha256 or hashlib.sha256(f"{self.url(path)} {self._entry(path).version}".encode()).hexdigest()
        file = scratch_folder() / "fetched" / version / Path(path).name
        if file.exists() and (sha256 is None or digest_once(file) == sha256):
            return file
        found = ""
        for _attempt in range(2):
            with self.workspace() as folder:
                fetched = folder / file.name
                with self._store(path) as client:
                    client.download_file(*self._bucket_and_key(path), str(fetched), Config=_transfer())
                if sha256 is None or (found := digest_once(fetched)) == sha256:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    return fetched.replace(file)
        assert sha256
        raise DamagedError(self.address, path, sha256, found)

    def digest(self, path: str) -> str:
        """The sha256 of a file's bytes, all of which are read now. Raises FileNotFoundError."""
        if not self.is_remote:
            return _digest(self._file(path))
        digests = []

        def begin() -> Callable[[bytes], object]:
            digests.append(hashlib.sha256())
            return digests[-1].update

        with self._store(path) as client:
            _read_body(client, self._object(path), begin)
        return digests[-1].hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """Write a file atomically; an existing file is replaced."""
        if self.is_remote:
            self._put_object(path, data)
        else:
            with self.workspace() as folder:
                (folder / "file").write_bytes(data)
                self.put(folder / "file", path)

    def put(self, file: Path, path: str) -> None:
        """Move a finished local file to `path`, atomically; after that not even a power cut loses it."""
        if self.is_remote:
            self._upload(file, path)
            file.unlink()
            return
        target = self._file(path)
        try:
            _move(file, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self.workspace() as folder:  # the file lies on another disk
                shutil.copyfile(file, folder / "file")
                _move(folder / "file", target)
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
        """Write a file if its version is still `expected` (None: if no file exists). Raises ConflictError otherwise.

        Of several writers with the same `expected`, in any number of processes, exactly one wins: the store decides,
        or on a local disk a kernel lock, which is released when its process dies. On a store without conditional
        puts (see `honours_conditions`), one of two simultaneous writes may be lost.
        """
        if not self.is_remote:
            with self._locked():
                before = self._check_version(path, expected)
                with self.workspace() as folder:
                    (folder / "file").write_bytes(data)
                    if before:
                        _differ_in_time(folder / "file", self._file(path))
                    self.put(folder / "file", path)
        elif self.honours_conditions():
            self._put_if(path, data, expected)
        else:
            self._check_version(path, expected)
            self._put_object(path, data)

    def honours_conditions(self) -> bool:
        """Whether the store refuses a conditional put whose condition fails. Tested once per root and process."""
        return not self.is_remote or _honours_conditions(_s3(), self)

    def entry(self, path: str) -> Entry | None:
        """The file's size and version; None if it does not exist."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._entry(path)
        return None

    def exists(self, path: str) -> bool:
        return self.entry(path) is not None

    def entries(self, prefix: str = "", recursive: bool = True) -> Iterator[Entry]:
        """The files below a folder, sorted by path; with `recursive=False` only those directly in it.

        Links to folders are followed, but for those that lead back into the root or to a folder that holds it.
        """
        if self.is_remote:
            bucket, key = self._bucket_and_key(prefix)
            skip = len(self._bucket_and_key("")[1])
            which = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""} | ({} if recursive else {"Delimiter": "/"})
            with self._store(prefix) as client:
                for page in client.get_paginator("list_objects_v2").paginate(**which):
                    for item in page.get("Contents", ()):
                        if not item["Key"].endswith("/"):  # a folder, as some tools mark it
                            path, version = item["Key"][skip:].lstrip("/"), item["ETag"].strip('"')
                            yield Entry(path, item["Size"], version, item["LastModified"].timestamp())
            return
        top, paths, followed = self._file(prefix), [], {self._file(prefix).resolve()}
        for folder, subfolders, names in islice(os.walk(top, followlinks=True), None if recursive else 1):
            subfolders[:] = [
                name for name in subfolders if name != WORK_FOLDER and self._is_entered(Path(folder, name), followed)
            ]
            paths += [Path(folder, name).relative_to(self.address).as_posix() for name in names]
        for path in sorted(paths):
            if entry := self.entry(path):
                yield entry

    def delete(self, path: str) -> None:
        """Remove a file; does nothing if it does not exist.

        Of a link to a file only the link goes. What lies beyond a link out of the root stays: see `link_above`.
        """
        if self.is_remote:
            with self._store(path) as client:
                client.delete_object(**self._object(path))
        elif link := self.link_above(path):
            _log.warning("%s: not deleted, as %s leads out of the root", self.url(path), link)
        else:
            self._file(path).unlink(missing_ok=True)

    def link_above(self, path: str) -> str | None:
        """The folder above a path that is a link out of a local root, with its target; None where none is."""
        if self.is_remote or self._file(path).parent.resolve().is_relative_to(self.address):
            return None
        parents = [Path(self.address, parent) for parent in reversed(PurePosixPath(_inside(path)).parents)]
        link = next(parent for parent in parents if not parent.resolve().is_relative_to(self.address))
        return f"{link} -> {link.resolve()}"

    def leads_out(self, path: str) -> bool:
        """Whether the file at a path lies outside a local root, beyond a link to it or to a folder above it."""
        return not self.is_remote and not self._file(path).resolve().is_relative_to(self.address)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary local folder for unfinished files, on the root's own disk if it is local; deleted afterwards.

        Raises DiskError where the disk cannot hold what is written there.
        """
        folder = scratch_folder() if self.is_remote else Path(self.address) / WORK_FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as name:
                yield Path(name)
        except Exception as error:
            if what := _disk_fault(error):
                raise DiskError(
                    f"{folder}: {what}; make it writable, with room (`tastegraph gc` deletes what no run needs), and "
                    f"start again: a run resumes"
                ) from error
            raise

    def debris(self) -> Iterator[Entry]:
        """Files and links in the workspaces of a local root; abandoned if no process works on the root."""
        top = Path(self.address) / WORK_FOLDER
        if self.is_remote or top.is_symlink():
            return
        for folder, subfolders, names in os.walk(top):
            subfolders.sort()
            for path in sorted(Path(folder, name) for name in (*subfolders, *names)):
                is_file = path.is_file() and path.parent != top  # the lock of `swap` lies at the top
                if is_file or path.is_symlink():
                    found = path.lstat()
                    place = path.relative_to(self.address).as_posix()
                    yield Entry(place, found.st_size, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)

    def prune(self, folder: str, idle_s: float = 0.0) -> None:
        """Remove the empty folders below a local folder, then the folder if empty.

        No other process may write there, unless what it makes is younger than `idle_s` seconds: that stays.
        """
        if self.is_remote or self.link_above(f"{folder}/any"):
            return
        before_s, old = time.time() - idle_s, []
        for path, _, _ in os.walk(self._file(folder), topdown=False):
            with suppress(OSError):  # removed meanwhile
                if Path(path).stat().st_mtime <= before_s:
                    old.append(Path(path))
        for place in old:
            with suppress(OSError):  # not empty, or missing
                place.rmdir()

    def others(self) -> dict[str, str]:
        """What lies directly in the root and is no file: "folder", or for a local root "link to nowhere", "pipe"..."""
        if self.is_remote:
            bucket, key = self._bucket_and_key("")
            which = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "Delimiter": "/"}
            with self._store("") as client:
                pages = client.get_paginator("list_objects_v2").paginate(**which)
                folders = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())]
            return {folder.removesuffix("/").rpartition("/")[2]: "folder" for folder in folders}
        top = Path(self.address)
        paths = sorted(top.iterdir()) if top.is_dir() else []
        return {path.name: _kind(path) for path in paths if not path.is_file()}

    def url(self, path: str) -> str:
        """The file's full address, for people and for readers such as DuckDB."""
        return f"{self.address}/{_inside(path)}".rstrip("/")

    def _is_entered(self, folder: Path, followed: set[Path]) -> bool:
        """Whether a listing goes on into a folder: always, but for a link only where it leads to other files."""
        if not folder.is_symlink():
            return True
        target, own = folder.resolve(), Path(self.address)
        if any(target.is_relative_to(one) or one.is_relative_to(target) for one in (own, *followed)):
            return False
        followed.add(target)
        return True

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

    def _check_version(self, path: str, expected: str | None) -> Entry | None:
        entry = self.entry(path)
        if (entry and entry.version) != expected:
            raise _conflict(self.url(path), entry, expected)
        return entry

    def _put_object(self, path: str, data: bytes, **condition: str) -> None:
        with self._store(path) as client:
            client.put_object(**self._object(path), Body=data, **condition)

    def _upload(self, file: Path, path: str) -> None:
        for attempt in range(2):
            with file.open("rb") as stream, self._store(path) as client:
                try:
                    client.upload_fileobj(stream, *self._bucket_and_key(path), Config=_transfer())
                except ClientError as error:
                    # The answer to the upload's end was lost, and the client asked for its end again.
                    if attempt or error.response["Error"]["Code"] != "NoSuchUpload":
                        raise
                else:
                    return

    def _put_if(self, path: str, data: bytes, expected: str | None) -> None:
        condition = {"IfMatch": f'"{expected}"'} if expected else {"IfNoneMatch": "*"}
        for attempt in range(ATTEMPTS):
            try:
                return self._put_object(path, data, **condition)
            except (ConflictError, FileNotFoundError) as error:
                refused, entry = error, self.entry(path)
                with suppress(FileNotFoundError):
                    if entry and self.read(path) == data:
                        return None  # this writer won: the answer was lost, and the client sent the request again
                if (entry and entry.version) != expected:
                    raise _conflict(self.url(path), entry, expected) from error
            time.sleep(random.uniform(0.1, 0.2) * 2**attempt)  # S3 refuses also what meets another request half done
        raise UnavailableError(
            f"{self.url(path)}: the store refused {ATTEMPTS} times to write it, although nobody else did; the store is "
            f"overloaded: start again later, and a run resumes"
        ) from refused

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the root's only lock, a kernel lock: it is released however its holder ends."""
        lock = Path(self.address) / WORK_FOLDER / "swap.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _store(self, path: str) -> Iterator[Any]:
        """The S3 client; its exceptions become errors that say what failed, where, and what to do."""
        try:
            yield _s3()
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
            raise StoreError(
                f"{self.url(path)}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
                f"or give the machine a role"
            ) from error
        except S3DownloadFailedError as error:
            raise UnavailableError(f"{self.url(path)}: overwritten while it was read; run again") from error
        except (HTTPClientError, BotoConnectionError, Boto3Error, ConnectionError, TimeoutError) as error:
            raise UnavailableError(
                f"{self.url(path)}: {_one_line(error)}; check the network, AWS_ENDPOINT_URL and that the store is up, "
                f"then start again: a run resumes"
            ) from error
        except BotoCoreError as error:
            raise StoreError(f"{self.url(path)}: {_one_line(error)}; check the settings of AWS") from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "NotFound", "404"):
                raise FileNotFoundError(f"{self.url(path)}: no such file ({error})") from error
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ConflictError(f"{self.url(path)}: another process wrote it just now; run again") from error
            if code == "NoSuchBucket":
                bucket = self._bucket_and_key("")[0]
                raise StoreError(
                    f"{self.address}: there is no bucket {bucket!r}; create it or correct the address"
                ) from error
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in ("RequestTimeTooSkewed", "RequestExpired"):
                raise StoreError(f"{self.url(path)}: {error}; set this machine's clock") from error
            if status in (401, 403):
                raise StoreError(
                    f"{self.url(path)}: {error}; the credentials must be valid and allow "
                    f"s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there"
                ) from error
            if status in (408, 429) or (status >= 500 and status != 501) or code in OVERLOADED:
                raise UnavailableError(
                    f"{self.url(path)}: {error}; the store is down or overloaded: start again later, and a run resumes"
                ) from error
            raise StoreError(
                f"{self.url(path)}: {error}; the store refuses this request: check AWS_ENDPOINT_URL and the region"
            ) from error


def _disk_fault(error: Exception) -> str:
    """What the disk has to say where the error is its own; libraries put its words into errors of their own kinds."""
    if isinstance(error, DiskError):
        return ""  # of a workspace within this one
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in DISK_FAULTS else ""
    return next((words for words in map(os.strerror, DISK_FAULTS) if words in str(error)), "")


def _move(file: Path, target: Path) -> None:
    """Rename a file so that its name is never on the disk without its bytes, nor lost: file and folders are synced."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync(file)
    file.replace(target)
    for folder in (target.parent, *(folder.parent for folder in made)):
        _sync(folder)


def _differ_in_time(file: Path, last: Path) -> None:
    """Two swaps within a tick of the clock still differ in version."""
    time_ns, last_ns = file.stat().st_mtime_ns, last.stat().st_mtime_ns
    if time_ns <= last_ns < time_ns + 10**9:  # else the clock was set back, and tells them apart
        os.utime(file, ns=(last_ns + 1, last_ns + 1))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not sync folders
            raise
    finally:
        os.close(opened)


def scratch_folder() -> Path:
    """The local folder for files of a remote root: TASTEGRAPH_SCRATCH, else the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tastegraph"
    return Path(os.environ.get("TASTEGRAPH_SCRATCH") or default)


def _read_body(client: Any, where: dict[str, str], begin: Callable[[], Callable[[bytes], object]]) -> None:
    """Hand a file's bytes to a fresh `begin()`, part by part; a body that breaks off is asked for again."""

    def once() -> None:
        take = begin()
        body = client.get_object(**where)["Body"]
        try:
            for part in body.iter_chunks(2**20):
                take(part)
        except (IncompleteReadError, ResponseStreamingError, ReadTimeoutError) as error:
            raise _CutOffError(_one_line(error)) from error

    again = Retrying(
        retry=retry_if_exception_type(_CutOffError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(max=20),
        reraise=True,
    )
    again(once)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _transfer() -> TransferConfig:
    return TransferConfig(multipart_threshold=PARTS_FROM)


@lru_cache(maxsize=1)
def _s3() -> Any:
    """The S3 client, configured as AWS tools are: environment, profile, instance role, AWS_ENDPOINT_URL."""
    config = Config(
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        # Checksums only where S3 itself needs them: many stores refuse those that the client adds by default, and
        # with rclone a failed read ends in an AttributeError inside botocore instead of a retry. The sha256 in a Ref
        # covers every file that matters.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.session.Session().client("s3", config=config)  # its own session: the default one is global
    client.meta.events.register("needs-retry.s3", _outlast(threading.Event()))
    return client


def _outlast(has_answered: threading.Event) -> Callable[..., float | None]:
    """The client's own attempts are over within a second where connections break: a store that restarts takes longer.

    A store that has never answered may not be there at all, and people wait for a command that says so.
    """

    def pause_s(*, response: Any, caught_exception: Any, request_dict: dict[str, Any], **_: Any) -> float | None:
        is_away = isinstance(caught_exception, HTTPClientError | BotoConnectionError)
        if response is not None:
            is_away = response[0].status_code in (500, 502, 503, 504)
            if not is_away:
                has_answered.set()
        if not is_away or not has_answered.is_set():
            return None
        end = request_dict["context"].setdefault("tastegraph_gives_up", time.monotonic() + OUTAGE_S)
        return random.uniform(0.5, 1.5) if time.monotonic() < end else None

    return pause_s


@lru_cache
def _honours_conditions(client: Any, root: Root) -> bool:  # cached by client: tests create new ones
    probe = f"probe/{os.urandom(8).hex()}"
    root.write(probe, b"1")
    try:
        honoured = all(_refuses(root, probe, condition) for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}))
    finally:
        with suppress(StoreError):  # no permission to delete: one byte stays
            root.delete(probe)
    if not honoured:
        _log.warning(
            "%s: the store does not honour conditional puts: if two nights publish in the same instant, the last one "
            "wins silently; schedule nightly runs apart",
            root.address,
        )
    return honoured


def _refuses(root: Root, path: str, condition: dict[str, str]) -> bool:
    try:
        root._put_object(path, b"2", **condition)
    except ConflictError:
        return True
    except StoreError as error:
        cause = error.__cause__
        if not isinstance(cause, ClientError) or cause.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 501):
            raise
    return False  # written despite the condition, or the condition is not supported


def _conflict(url: str, entry: Entry | None, expected: str | None) -> ConflictError:
    found = f"its version is {entry.version}" if entry else "it does not exist"
    wanted = f"version {expected} was expected" if expected else "it was expected not to exist"
    return ConflictError(f"{url}: {found}, {wanted}; another process wrote it: run again")


def _split(address: str) -> tuple[str, str]:
    """An address's scheme in lower case (empty for a path) and the rest."""
    scheme, mark, rest = address.partition("://")
    return (scheme.lower(), rest) if mark else ("", address)


def _kind(path: Path) -> str:
    """What a path is that is no file."""
    kinds = {"folder": path.is_dir, "pipe": path.is_fifo, "socket": path.is_socket, "link to nowhere": path.is_symlink}
    return next((kind for kind, is_kind in kinds.items() if is_kind()), "device")


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"{path!r}: a path is relative to its root, with forward slashes and without '..'")
    return path


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_once(file: Path) -> str:
    """The file's sha256; read once per process, as long as the file stays the same and unchanged."""
    found = file.stat()  # by inode, not by name: a renamed file is not read again
    version = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    with _hashing[hash(version) % len(_hashing)]:  # threads that open a file at once read it once
        if version not in _digests:
            _digests[version] = _digest(file)
        return _digests[version]
