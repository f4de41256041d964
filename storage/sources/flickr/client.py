"""Flickr's REST API: a call returns JSON or raises an error that says what it means.

Documented at flickr.com/services/api: requests in `request.rest`, answers in `response.json`, codes at each method.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from storage.settings.flickr import ApiConfig
from storage.sources.downloads.addresses import certificates
from storage.sources.downloads.deadlines import deadline, keeps_deadlines
from storage.sources.downloads.retries import PassingError, backoff, retry_after
from storage.sources.flickr.budget import Budget

INVALID_KEY = 100
PASSING = {0, 105, 106}  # "currently unavailable", "write operation failed": retried
GONE = {1}  # user, photo or group not found
NEEDS_LOGIN = {95, 96, 97, 98, 99}  # needs signed requests, which this crawl does not send
NOT_PUBLIC = {2, 3, 4} | NEEDS_LOGIN


class FlickrError(OSError):
    """The crawl cannot continue; its data is kept."""


class InvalidKeyError(FlickrError):
    """Flickr rejects the API key."""


class GoneError(Exception):
    """The user, photo or group does not exist any more."""


class NotPublicError(Exception):
    """The user, photo or group exists, but is not public."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"code {code}: {message}")
        self.needs_login = code in NEEDS_LOGIN


class Client:
    """Calls the API within the budget. The key goes into the request's body, so that no url ever contains it."""

    def __init__(
        self, key: SecretStr, config: ApiConfig, budget: Budget, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.config, self.budget, self.requests = config, budget, 0
        self._key, self._failures = key, 0
        headers = {
            "User-Agent": "TasteGraph",
            "Accept-Encoding": "gzip",
        }  # which inflates a chunk a thousandfold at most
        self._http = httpx.Client(verify=certificates(), timeout=config.timeout_s, headers=headers)
        keeps_deadlines([self._http._transport, *self._http._mounts.values()])  # those of proxies too
        self._retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(config.attempts),
            wait=backoff(config.backoff_s, config.seed),
            sleep=sleep,
            reraise=True,
        )

    def call(self, method: str, **arguments: str | int) -> dict[str, Any]:
        """The answer of a method.

        Raises GoneError, NotPublicError; PassingError after the last attempt; FlickrError if the crawl cannot continue.
        """
        try:
            answer = self._retrying(self._attempt, method, arguments)
        except PassingError as error:
            self._failures += 1
            if self._failures >= self.config.failures:
                raise FlickrError(
                    f"{self.config.endpoint}: {self._failures} requests failed one after the other, each "
                    f"{self.config.attempts} times, the last one with: {error}; start again later with --resume"
                ) from error
            raise
        self._failures = 0
        return answer

    def close(self) -> None:
        self._http.close()
        self.budget.close()

    def _attempt(self, method: str, arguments: dict[str, str | int]) -> dict[str, Any]:
        self.budget.take()
        self.requests += 1
        form = {"method": method, "format": "json", "nojsoncallback": "1", **arguments}
        form["api_key"] = self._key.get_secret_value()
        try:
            with (
                deadline(self.config.timeout_s),
                self._http.stream("POST", self.config.endpoint, data=form) as response,
            ):
                content = self._content(method, response)
        except httpx.TimeoutException as error:
            raise PassingError(
                f"{method}: no complete answer within api.timeout_s = {self.config.timeout_s:g}"
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise PassingError(f"{type(error).__name__}: {error}") from error
        if response.status_code == 429 or response.status_code >= 500:
            raise PassingError(f"status {response.status_code}", self._required_wait_s(response))
        if response.status_code != 200:
            raise FlickrError(f"{self.config.endpoint}: status {response.status_code}; check api.endpoint")
        return self._read(method, content)

    def _content(self, method: str, response: httpx.Response) -> bytes:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > self.config.max_bytes:
                raise PassingError(f"{method}: an answer of more than api.max_bytes = {self.config.max_bytes} bytes")
        return bytes(content)

    def _required_wait_s(self, response: httpx.Response) -> float:
        wait_s = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        if wait_s > self.config.longest_wait_s:
            raise FlickrError(
                f"{self.config.endpoint}: requires a wait of {wait_s:.0f} s, which is longer than "
                f"api.longest_wait_s = {self.config.longest_wait_s:.0f}; start again then with --resume"
            )
        if wait_s:
            self.budget.pause(wait_s)  # for all processes that share it, also after a restart
        return wait_s

    def _read(self, method: str, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
            if answer["stat"] == "ok":
                return dict(answer)
            code, message = int(answer["code"]), str(answer.get("message", ""))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PassingError(f"{method}: {len(content)} bytes that are no complete JSON answer") from error
        message = message.replace(self._key.get_secret_value(), "...")  # in case a server echoes it
        if code == INVALID_KEY:
            raise InvalidKeyError(
                f"Flickr does not take the API key ({message}); correct FLICKR_API_KEY, or the Prefect Secret "
                f"flickr-api-key, and start again with --resume"
            )
        if code in PASSING:
            raise PassingError(f"{method}: code {code}: {message}")
        if code in GONE:
            raise GoneError(f"{method}: {message}")
        if code in NOT_PUBLIC:
            raise NotPublicError(code, message)
        raise FlickrError(f"{method}: code {code}: {message}; see the method's codes in Flickr's documentation")
