"""A place where files lie: a local folder or an `s3://bucket/prefix`, behind one small interface.

Everything but the pointer is immutable and written whole: to a temporary name and renamed on a local disk, in one
put on S3. So a kill at any instant leaves either nothing or a whole file.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


class ConflictError(RuntimeError):
    """Somebody else wrote the file since it was read."""


@dataclass(frozen=True)
class Entry:
    """A file below a root. `version` changes whenever the bytes do (S3: the ETag; local: size and time of change)."""

    path: str
    size: int
    version: str


@dataclass(frozen=True)
class Root:
    """The folder or bucket prefix at `address`; every path is relative to it, with forward slashes."""

    address: str

    @property
    def is_remote(self) -> bool:
        return self.address.startswith("s3://")

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        if not self.is_remote:
            return self._file(path).read_bytes()
        with _not_found(self, path):
            body: bytes = self._client.get_object(**self._object(path))["Body"].read()
            return body

    def local(self, path: str, sha256: str | None = None) -> Path:
        """A local file with the bytes of an *immutable* file, to be mapped or scanned; from S3 it is fetched once.

        With `sha256`, bytes that do not match raise ValueError after one more fetch; the check is made on fetching.
        """
        if not self.is_remote:
            file = self._file(path)
            if not file.exists():
                raise FileNotFoundError(f"{self.address}/{path}: no such file")
            return file
        file = scratch_folder() / hashlib.sha256(self.address.encode()).hexdigest()[:16] / path
        if not file.exists():
            data = self.read(path)
            if sha256 and hashlib.sha256(data).hexdigest() != sha256:
                raise ValueError(f"{self.address}/{path}: sha256 is not {sha256}; the file was damaged on its way")
            _write_whole(file, data)
        return file

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole, replacing what was there."""
        if self.is_remote:
            self._client.put_object(**self._object(path), Body=data)
        else:
            _write_whole(self._file(path), data)

    def put(self, file: Path, path: str) -> None:
        """Move a finished local file to its place, whole."""
        if self.is_remote:
            self._client.upload_file(str(file), *self._bucket_and_key(path))
            file.unlink()
        else:
            target = self._file(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)

    def copy(self, source: str, target: str) -> None:
        """Copy an immutable file within the root; on one disk it is a hard link and costs no space."""
        if self.is_remote:
            bucket, key = self._bucket_and_key(source)
            self._client.copy({"Bucket": bucket, "Key": key}, *self._bucket_and_key(target))
            return
        file = self._file(target)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            link = Path(folder) / "link"
            try:
                os.link(self._file(source), link)
            except OSError:  # a file system without hard links
                link.write_bytes(self._file(source).read_bytes())
            link.replace(file)

    def swap(self, path: str, data: bytes, expected: str | None) -> None:
        """Write a file if its version is still `expected` (None: if there is none). Raises ConflictError if it is not.

        On a store without conditional puts (see `honours_conditions`) a writer in the same instant may be lost.
        """
        entry = self.entry(path)
        if (entry and entry.version) != expected:
            raise ConflictError(
                f"{self.address}/{path}: version is {entry and entry.version}, expected {expected}; run again"
            )
        if not self.is_remote or not self.honours_conditions():
            self.write(path, data)
            return
        condition = {"IfMatch": expected} if expected else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(**self._object(path), Body=data, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ConflictError(f"{self.address}/{path}: somebody else wrote it just now; run again") from error
            raise

    def honours_conditions(self) -> bool:
        """Whether the store refuses a conditional put that must fail. Probed once per root and process."""
        return not self.is_remote or _honours_conditions(self.address)

    def entry(self, path: str) -> Entry | None:
        """The file's size and version; None where there is none."""
        if self.is_remote:
            try:
                head = self._client.head_object(**self._object(path))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise
            return Entry(path, head["ContentLength"], head["ETag"])
        try:
            stat = self._file(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Entry(path, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    def exists(self, path: str) -> bool:
        return self.entry(path) is not None

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """The files below a folder, by path."""
        if self.is_remote:
            bucket, key = self._bucket_and_key(prefix)
            start = f"{key}/" if key else ""
            skip = len(self._bucket_and_key("")[1])
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start):
                for item in page.get("Contents", ()):
                    yield Entry(item["Key"][skip:].lstrip("/"), item["Size"], item["ETag"])
            return
        top = self._file(prefix)
        for folder, subfolders, names in os.walk(top):
            subfolders.sort()
            for name in sorted(names):
                stat = (file := Path(folder, name)).stat()
                path = file.relative_to(self.address).as_posix()
                yield Entry(path, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self.is_remote:
            self._client.delete_object(**self._object(path))
        else:
            self._file(path).unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A fresh local folder for files in the making, on the root's own disk where it has one; gone afterwards."""
        folder = scratch_folder() if self.is_remote else Path(self.address) / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)

    def url(self, path: str) -> str:
        """The file's full address, for people and for readers such as DuckDB."""
        return f"{self.address.rstrip('/')}/{path}"

    def _file(self, path: str) -> Path:
        return Path(self.address) / path

    def _bucket_and_key(self, path: str) -> tuple[str, str]:
        match = re.fullmatch(r"s3://([^/]+)/?(.*?)/?", self.address)
        if not match:
            raise ValueError(f"{self.address!r}: an S3 root is written s3://BUCKET or s3://BUCKET/PREFIX")
        return match[1], "/".join(part for part in (match[2], path) if part)

    def _object(self, path: str) -> dict[str, str]:
        bucket, key = self._bucket_and_key(path)
        return {"Bucket": bucket, "Key": key}

    @property
    def _client(self) -> Any:
        return _s3()


def scratch_folder() -> Path:
    """Where files of a remote root are worked on: TASTEGRAPH_SCRATCH, else the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tastegraph"
    return Path(os.environ.get("TASTEGRAPH_SCRATCH") or default)


@lru_cache(maxsize=1)
def _s3() -> Any:
    """The S3 client, set up the AWS way: environment, profile, instance role, AWS_ENDPOINT_URL."""
    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))


@lru_cache
def _honours_conditions(address: str) -> bool:
    root, path = Root(address), f"probe/{os.urandom(8).hex()}"
    try:
        root._client.put_object(**root._object(path), Body=b"1")
        root._client.put_object(**root._object(path), Body=b"2", IfNoneMatch="*")
    except ClientError:  # refused, as it must be, or not understood: in both cases the bytes tell
        return root.read(path) == b"1"
    else:
        return False
    finally:
        with suppress(ClientError):
            root.delete(path)


def _write_whole(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(data)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _not_found(root: Root, path: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404", "NoSuchBucket"):
            raise FileNotFoundError(f"{root.address}/{path}: {error}") from error
        raise
