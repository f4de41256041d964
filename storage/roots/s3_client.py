"""The client of S3: how long it tries, and its errors in words that say what to do."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

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

from storage.roots.errors import ConflictError, StoreError, UnavailableError

ATTEMPTS = 5  # how often S3 is asked before an error counts, with growing pauses
CONNECT_S, READ_S = 10.0, 60.0  # how long S3 may take to accept a connection, and to send the next bytes
CONNECTIONS = 32  # kept open: ten for the parts of a file, as many for pictures, those of stages side by side
OUTAGE_S = 60.0  # for how long a store that has answered this process is asked again while it is away
PARTS_FROM = 8 * 2**20  # bytes; files from this size on go to S3 and come from it in parts
OVERLOADED = ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded")


class _CutOffError(ConnectionError):
    """A body that broke off: the client itself asks again only until a body begins."""


@lru_cache(maxsize=1)
def client() -> Any:
    """The S3 client, configured as AWS tools are: environment, profile, instance role, AWS_ENDPOINT_URL."""
    config = Config(
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=CONNECTIONS,
        # Checksums only where S3 itself needs them: many stores refuse those that the client adds by default, and
        # with rclone a failed read ends in an AttributeError inside botocore instead of a retry. The sha256 in a Ref
        # covers every file that matters.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = boto3.session.Session().client("s3", config=config)  # its own session: the default one is global
    made.meta.events.register("needs-retry.s3", _outlast(threading.Event()))
    return made


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


@contextmanager
def asked(address: str, path: str) -> Iterator[Any]:
    """The S3 client; its exceptions become errors that say what failed, where, and what to do."""
    where = f"{address}/{path}".rstrip("/")
    try:
        yield client()
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise StoreError(
            f"{where}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            f"or give the machine a role"
        ) from error
    except S3DownloadFailedError as error:
        raise UnavailableError(f"{where}: overwritten while it was read; run again") from error
    except (HTTPClientError, BotoConnectionError, Boto3Error, ConnectionError, TimeoutError) as error:
        raise UnavailableError(
            f"{where}: {_one_line(error)}; check the network, AWS_ENDPOINT_URL and that the store is up, "
            f"then start again: a run resumes"
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"{where}: {_one_line(error)}; check the settings of AWS") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "NotFound", "404"):
            raise FileNotFoundError(f"{where}: no such file ({error})") from error
        if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            raise ConflictError(f"{where}: another process wrote it just now; run again") from error
        if code == "NoSuchBucket":
            bucket = address.removeprefix("s3://").partition("/")[0]
            raise StoreError(f"{address}: there is no bucket {bucket!r}; create it or correct the address") from error
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in ("RequestTimeTooSkewed", "RequestExpired"):
            raise StoreError(f"{where}: {error}; set this machine's clock") from error
        if status in (401, 403):
            raise StoreError(
                f"{where}: {error}; the credentials must be valid and allow "
                f"s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there"
            ) from error
        if status in (408, 429) or (status >= 500 and status != 501) or code in OVERLOADED:
            raise UnavailableError(
                f"{where}: {error}; the store is down or overloaded: start again later, and a run resumes"
            ) from error
        raise StoreError(
            f"{where}: {error}; the store refuses this request: check AWS_ENDPOINT_URL and the region"
        ) from error


def read_body(client: Any, where: dict[str, str], begin: Callable[[], Callable[[bytes], object]]) -> None:
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


def transfer() -> TransferConfig:
    return TransferConfig(multipart_threshold=PARTS_FROM)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
