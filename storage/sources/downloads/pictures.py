"""Download pictures from addresses that are not trusted, several at a time."""

import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import BoundedSemaphore, Event, Lock
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_after_attempt

from storage.images import ImageError, View, decode
from storage.roots import Root
from storage.settings.downloads import DownloadConfig
from storage.settings.images import ImageLimits
from storage.sources.downloads.addresses import MOST_REDIRECTS, PrivateAddressError, PublicOnly
from storage.sources.downloads.deadlines import deadline
from storage.sources.downloads.retries import PassingError, backoff, retry_after

BATCH = 256  # pictures queued at once: memory depends on it, not on the community's size
DECODED = View(size_px=32)  # a picture is kept if it can be decoded at this size

Progress = Callable[[int, int], None]  # called with the pictures requested so far and their total


@dataclass(frozen=True)
class Picture:
    """The state of a picture's url: its file, or why there is none."""

    url: str
    outcome: str = ""  # ok, gone, quarantined, failed; empty if never requested
    reason: str | None = None  # in a few fixed words that can be counted
    path: str | None = None
    etag: str | None = None
    last_modified: str | None = None


class QuarantinedError(Exception):
    """The answer is no picture that may be kept."""


class CutShortError(PassingError):
    """The answer is shorter than its content length."""


@dataclass(frozen=True)
class Answers:
    """Which answers are pictures that may be kept, and where they are kept."""

    is_picture: Callable[[str], bool]  # by content type, before the body is read
    is_placeholder: Callable[[str], bool]  # by the path of the last redirect: there is no picture
    place: Callable[[str, str, bytes], str]  # url, content type, body -> path; raises QuarantinedError


def refuse_broken(data: bytes, limits: ImageLimits) -> None:
    """Raises QuarantinedError unless these are the bytes of a whole picture."""
    try:
        decode(data, DECODED, limits)
    except ImageError as error:
        raise QuarantinedError(error.reason) from error


class Downloader:
    """Fetches pictures; safe to use from several threads."""

    def __init__(self, root: Root, config: DownloadConfig, answers: Answers) -> None:
        self.root, self.config, self.answers = root, config, answers
        self._http = httpx.Client(
            transport=PublicOnly(config.private_hosts, config.threads),
            timeout=config.timeout_s,
            headers={"User-Agent": "TasteGraph", "Accept-Encoding": "identity"},
            follow_redirects=True,
            max_redirects=MOST_REDIRECTS,
        )
        self._hosts: dict[str, BoundedSemaphore] = {}
        self._failures = Counter[str]()  # by host, one after the other
        self._lock, self._ending = Lock(), Event()

    def close(self) -> None:
        self._http.close()

    def fetch_all(self, wanted: Sequence[Picture]) -> Generator[Picture, None, None]:
        """The new state of each picture, in order of completion."""
        with ThreadPoolExecutor(self.config.threads) as pool:
            try:
                for start in range(0, len(wanted), BATCH):
                    futures = [pool.submit(self.fetch, picture) for picture in wanted[start : start + BATCH]]
                    yield from (future.result() for future in as_completed(futures))
            finally:  # also if the crawl ends before the pictures do
                self._ending.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def fetch(self, picture: Picture) -> Picture:
        """The new state of a picture; unchanged if the picture did not change."""
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(self.config.attempts),
            sleep=sleep_using_event(self._ending),
            wait=backoff(self.config.backoff_s, zlib.crc32(f"{self.config.seed} {picture.url}".encode())),
            reraise=True,
        )
        try:
            host = urlsplit(picture.url).hostname or ""
        except ValueError:  # an address such as http://[
            return Picture(picture.url, "quarantined", "no http address")
        with self._slot_at(host):
            if self._failures[host] >= self.config.failures:
                return replace(picture, outcome="failed", reason="host left alone")
            found = self._fetched(picture, retrying)
        with self._lock:
            self._failures[host] = self._failures[host] + 1 if found.outcome == "failed" else 0
        return found

    def _fetched(self, picture: Picture, retrying: Retrying) -> Picture:
        try:
            return retrying(self._attempt, picture)
        except QuarantinedError as error:
            return Picture(picture.url, "quarantined", str(error))
        except CutShortError:
            return Picture(picture.url, "quarantined", "lying content length")
        except PassingError as error:
            return replace(picture, outcome="failed", reason=str(error))

    def _slot_at(self, host: str) -> BoundedSemaphore:
        with self._lock:
            return self._hosts.setdefault(host, BoundedSemaphore(self.config.per_host))

    def _attempt(self, picture: Picture) -> Picture:
        validators = {"If-None-Match": picture.etag, "If-Modified-Since": picture.last_modified}
        headers = {name: value for name, value in validators.items() if value}
        try:
            with (
                deadline(self.config.timeout_s),
                self._http.stream("GET", picture.url, headers=headers) as response,
            ):
                return self._read(picture, response)
        except PrivateAddressError as error:
            raise QuarantinedError("private address") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError) as error:
            raise QuarantinedError("no http address") from error
        except httpx.TooManyRedirects as error:
            raise QuarantinedError("too many redirects") from error
        except httpx.RemoteProtocolError as error:
            raise CutShortError(str(error)) from error
        except httpx.TimeoutException as error:
            raise PassingError("slower than timeout_s") from error
        except httpx.HTTPError as error:
            raise PassingError(type(error).__name__) from error

    def _read(self, picture: Picture, response: httpx.Response) -> Picture:
        status = response.status_code
        if status == 304:
            return replace(picture, outcome="ok", reason=None)
        if status in (404, 410) or self.answers.is_placeholder(response.url.path):
            return Picture(picture.url, "gone", "not found")
        if status == 429 or status >= 500:
            wait_s = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            if wait_s > self.config.longest_wait_s:
                return replace(picture, outcome="failed", reason="asks to wait too long")
            raise PassingError(f"status {status}", wait_s)
        if status != 200:
            raise QuarantinedError(f"status {status}")
        type_ = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not self.answers.is_picture(type_):
            raise QuarantinedError("no picture's content type")
        data = self._body(response)
        path = self.answers.place(picture.url, type_, data)
        if not self.root.exists(path):
            self.root.write(path, data)
        validators = response.headers.get("ETag"), response.headers.get("Last-Modified")
        return Picture(picture.url, "ok", None, path, *validators)

    def _body(self, response: httpx.Response) -> bytes:
        """The answer's bytes. Raises QuarantinedError where they are too many."""
        if int(response.headers.get("Content-Length", "0")) > self.config.max_bytes:
            raise QuarantinedError("too many bytes")
        return b"".join(self._chunks(response))

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body in chunks, as long as it is not too large; as it was sent, so that no encoding can inflate it."""
        size = 0
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > self.config.max_bytes:
                raise QuarantinedError("too many bytes")
            yield chunk
