"""A root in a bucket of S3, or of a store that speaks its language."""

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from storage.roots import s3_client
from storage.roots.digests import digest_once
from storage.roots.entries import Entry, conflict, inside
from storage.roots.errors import ConflictError, DamagedError, StoreError, UnavailableError
from storage.roots.workspaces import scratch_folder, workspace_in

_log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Bucket:
    """The files below `s3://BUCKET/PREFIX`; see `Root` for what each method promises."""

    address: str

    def read(self, path: str) -> bytes:
        parts: list[bytes] = []

        def begin() -> Callable[[bytes], object]:
            parts.clear()
            return parts.append

        self._read_body(path, begin)
        return b"".join(parts)

    def local(self, path: str, sha256: str | None) -> Path:
        # Named by content, so that a bucket that was emptied and filled again is never served from an old copy.
        version = sha256 or hashlib.sha256(f"{self._url(path)} {self._head(path).version}".encode()).hexdigest()
        file = scratch_folder() / "fetched" / version / Path(path).name
        if file.exists() and (sha256 is None or digest_once(file) == sha256):
            return file
        found = ""
        for _attempt in range(2):
            with self.workspace() as folder:
                fetched = folder / file.name
                with self._client_for(path) as client:
                    client.download_file(*self._bucket_and_key(path), str(fetched), Config=s3_client.transfer())
                if sha256 is None or (found := digest_once(fetched)) == sha256:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    return fetched.replace(file)
        assert sha256
        raise DamagedError(self.address, path, sha256, found)

    def digest(self, path: str) -> str:
        digests = []

        def begin() -> Callable[[bytes], object]:
            digests.append(hashlib.sha256())
            return digests[-1].update

        self._read_body(path, begin)
        return digests[-1].hexdigest()

    def write(self, path: str, data: bytes) -> None:
        self._put_object(path, data)

    def put(self, file: Path, path: str) -> None:
        for attempt in range(2):
            with file.open("rb") as stream, self._client_for(path) as client:
                try:
                    client.upload_fileobj(stream, *self._bucket_and_key(path), Config=s3_client.transfer())
                except ClientError as error:
                    # The answer to the upload's end was lost, and the client asked for its end again.
                    if attempt or error.response["Error"]["Code"] != "NoSuchUpload":
                        raise
                else:
                    break
        file.unlink()

    def copy(self, source: str, target: str) -> None:
        bucket, key = self._bucket_and_key(source)
        # One request up to S3's own limit: lesser stores have no multipart copy.
        config = TransferConfig(multipart_threshold=5 * 1024**3)
        with self._client_for(source) as client:
            client.copy({"Bucket": bucket, "Key": key}, *self._bucket_and_key(target), Config=config)

    def swap(self, path: str, data: bytes, expected: str | None) -> None:
        if self.honours_conditions():
            self._put_if(path, data, expected)
            return
        entry = self.entry(path)
        if (entry and entry.version) != expected:
            raise conflict(self._url(path), entry, expected)
        self._put_object(path, data)

    def honours_conditions(self) -> bool:
        return _honours_conditions(s3_client.client(), self)

    def entry(self, path: str) -> Entry | None:
        with suppress(FileNotFoundError):
            return self._head(path)
        return None

    def entries(self, prefix: str, recursive: bool) -> Iterator[Entry]:
        skip = len(self._bucket_and_key("")[1])
        for page in self._pages(prefix, recursive):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # a folder, as some tools mark it
                    path, version = item["Key"][skip:].lstrip("/"), item["ETag"].strip('"')
                    yield Entry(path, item["Size"], version, item["LastModified"].timestamp())

    def others(self) -> dict[str, str]:
        folders = [item["Prefix"] for page in self._pages("", False) for item in page.get("CommonPrefixes", ())]
        return {folder.removesuffix("/").rpartition("/")[2]: "folder" for folder in folders}

    def delete(self, path: str) -> None:
        with self._client_for(path) as client:
            client.delete_object(**self._object(path))

    def link_above(self, _path: str) -> str | None:
        return None  # a bucket has no links

    def leads_out(self, _path: str) -> bool:
        return False

    def workspace(self) -> AbstractContextManager[Path]:
        return workspace_in(scratch_folder())

    def debris(self) -> Iterator[Entry]:
        return iter(())  # unfinished files lie on the machine that writes them

    def prune(self, _folder: str, _idle_s: float) -> None:
        """A bucket has no folders."""

    def _url(self, path: str) -> str:
        return f"{self.address}/{inside(path)}".rstrip("/")

    def _bucket_and_key(self, path: str) -> tuple[str, str]:
        bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        return bucket, "/".join(part for part in (prefix, inside(path)) if part)

    def _object(self, path: str) -> dict[str, str]:
        bucket, key = self._bucket_and_key(path)
        return {"Bucket": bucket, "Key": key}

    def _head(self, path: str) -> Entry:
        """The file's entry. Raises FileNotFoundError."""
        with self._client_for(path) as client:
            head = client.head_object(**self._object(path))
            version, modified_s = head["ETag"].strip('"'), head["LastModified"].timestamp()
            return Entry(path, head["ContentLength"], version, modified_s)

    def _pages(self, prefix: str, recursive: bool) -> Iterator[dict[str, Any]]:
        """What the store lists below a folder."""
        bucket, key = self._bucket_and_key(prefix)
        which = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""} | ({} if recursive else {"Delimiter": "/"})
        with self._client_for(prefix) as client:
            yield from client.get_paginator("list_objects_v2").paginate(**which)

    def _read_body(self, path: str, begin: Callable[[], Callable[[bytes], object]]) -> None:
        with self._client_for(path) as client:
            s3_client.read_body(client, self._object(path), begin)

    def _client_for(self, path: str) -> AbstractContextManager[Any]:
        return s3_client.asked(self.address, path)

    def _put_object(self, path: str, data: bytes, **condition: str) -> None:
        with self._client_for(path) as client:
            client.put_object(**self._object(path), Body=data, **condition)

    def _put_if(self, path: str, data: bytes, expected: str | None) -> None:
        condition = {"IfMatch": f'"{expected}"'} if expected else {"IfNoneMatch": "*"}
        for attempt in range(s3_client.ATTEMPTS):
            try:
                return self._put_object(path, data, **condition)
            except (ConflictError, FileNotFoundError) as error:
                refused, entry = error, self.entry(path)
                with suppress(FileNotFoundError):
                    if entry and self.read(path) == data:
                        return None  # this writer won: the answer was lost, and the client sent the request again
                if (entry and entry.version) != expected:
                    raise conflict(self._url(path), entry, expected) from error
            time.sleep(random.uniform(0.1, 0.2) * 2**attempt)  # S3 refuses also what meets another request half done
        raise UnavailableError(
            f"{self._url(path)}: the store refused {s3_client.ATTEMPTS} times to write it, although nobody else did; "
            f"the store is overloaded: start again later, and a run resumes"
        ) from refused


@lru_cache
def _honours_conditions(client: Any, bucket: Bucket) -> bool:  # cached by client: tests create new ones
    probe = f"probe/{os.urandom(8).hex()}"
    bucket.write(probe, b"1")
    try:
        honoured = all(_refuses(bucket, probe, condition) for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}))
    finally:
        with suppress(StoreError):  # no permission to delete: one byte stays
            bucket.delete(probe)
    if not honoured:
        _log.warning(
            "%s: the store does not honour conditional puts: if two nights publish in the same instant, the last one "
            "wins silently; schedule nightly runs apart",
            bucket.address,
        )
    return honoured


def _refuses(bucket: Bucket, path: str, condition: dict[str, str]) -> bool:
    try:
        bucket._put_object(path, b"2", **condition)
    except ConflictError:
        return True
    except StoreError as error:
        cause = error.__cause__
        if not isinstance(cause, ClientError) or cause.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 501):
            raise
    return False  # written despite the condition, or the condition is not supported
