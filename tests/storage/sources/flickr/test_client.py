"""One call of the API: its answer, or an error that says what it means and never shows the key."""

import gzip
import json
import threading
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from storage.settings.flickr import ApiConfig, BudgetConfig
from storage.sources.downloads.retries import PassingError, retry_after
from storage.sources.flickr.budget import Budget
from storage.sources.flickr.client import (
    Client,
    FlickrError,
    GoneError,
    InvalidKeyError,
    NotPublicError,
)
from tests.storage.sources.flickr.dripping import WHERE, dripping
from tests.storage.sources.flickr.server import HANG_S, KEY, Faults, Flickr

METHOD = "flickr.contacts.getPublicList"
PAGE = {"page": 1, "per_page": 10}


class Patience:
    """Notes how long was waited, and waits no longer."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def patience() -> Patience:
    return Patience()


@pytest.fixture
def connect(flickr, tmp_path, patience):
    """Makes clients of the server, which are closed in the end."""
    clients = []

    def connect(key: str = KEY, timeout_s: float = HANG_S, **changes) -> Client:
        config = ApiConfig(endpoint=f"{flickr.address}/services/rest/", timeout_s=timeout_s, **changes)
        budget = Budget(tmp_path / "budget", BudgetConfig(requests_per_hour=10**6, burst=10**5), sleep=patience)
        clients.append(Client(SecretStr(key), config, budget, patience))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def always(flickr: Flickr, status: int, **headers: str) -> None:
    """Make every request fail, the repeated ones too."""
    headers_sent = {name.replace("_", "-"): value for name, value in headers.items()}
    flickr.faults = Faults(statuses={0: (status, headers_sent)}, modulus=1, for_good=True)


def test_an_answer_comes_as_its_json(connect, flickr):
    answer = connect().call(METHOD, user_id=flickr.community.first, **PAGE)

    assert answer["contacts"]["total"] == str(len(flickr.community.users[flickr.community.first].contacts))


def test_a_truncated_answer_is_requested_again(connect, flickr):
    flickr.faults = Faults(truncated={0}, modulus=1)

    assert "contacts" in connect().call(METHOD, user_id=flickr.community.first, **PAGE)
    assert flickr.requests() == 2


def test_an_answer_after_the_timeout_is_requested_again(connect, flickr):
    flickr.faults = Faults(hanging={f"{METHOD} page=1 per_page=10 user_id={flickr.community.first}"})

    assert "contacts" in connect(timeout_s=1.0).call(METHOD, user_id=flickr.community.first, **PAGE)
    assert flickr.requests() >= 2


@pytest.fixture
def answering(tmp_path, patience):
    """Makes the client of a server whose only answer is given."""
    servers, clients = [], []

    def answering(content: bytes, **changes) -> Client:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response_only(200)
                self.send_header("Content-Encoding", "gzip" if content[:2] == b"\x1f\x8b" else "identity")
                self.end_headers()
                self.wfile.write(content)

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        config = ApiConfig(endpoint=f"http://127.0.0.1:{servers[-1].server_port}/", attempts=1, **changes)
        budget = Budget(tmp_path / "budget", BudgetConfig(), sleep=patience)
        clients.append(Client(SecretStr(KEY), config, budget, patience))
        return clients[-1]

    yield answering
    for open_ in clients:
        open_.close()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_an_answer_is_read_up_to_its_limit_and_no_further(answering, pack):
    answer = json.dumps({"stat": "ok", "filler": "x" * 10**6}).encode()

    assert answering(pack(answer), max_bytes=len(answer)).call(METHOD)["stat"] == "ok"
    with pytest.raises(PassingError, match=r"getPublicList: an answer of more than api.max_bytes = 1000 bytes"):
        answering(pack(answer), max_bytes=1000).call(METHOD)


@pytest.mark.parametrize(
    "answer", [b'{"stat":' + b"[" * 100_000, b"\x1f\x8bno gzip", b"[]", b"3", b"", b'{"stat": "fail", "code": []}']
)
def test_an_answer_that_is_none_is_a_passing_failure(answering, answer):
    with pytest.raises(PassingError):
        answering(answer).call(METHOD)


@pytest.mark.parametrize("where", WHERE)
def test_an_answer_that_drips_ends_at_the_time_limit(tmp_path, patience, where):
    budget = Budget(tmp_path / "budget", BudgetConfig(), sleep=patience)
    with (
        dripping(*WHERE[where]) as address,
        closing(Client(SecretStr(KEY), ApiConfig(endpoint=address, timeout_s=0.4, attempts=1), budget)) as client,
        pytest.raises(PassingError, match=r"no complete answer within api.timeout_s = 0.4"),
    ):
        client.call(METHOD)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_waited_for_longer_each_time_and_then_given_up(connect, flickr, patience, status):
    always(flickr, status)
    with pytest.raises(PassingError, match=f"status {status}"):
        connect(attempts=5).call(METHOD, user_id=flickr.community.first, **PAGE)

    assert flickr.requests() == 5
    assert all(2.0 * 2**n <= wait <= 4.0 * 2**n for n, wait in enumerate(patience.waits))
    assert len(patience.waits) == 4


def test_waits_are_drawn_from_the_seed(connect, flickr, patience):
    always(flickr, 500)
    waits = []
    for seed in (1, 1, 2):
        patience.waits = []
        with pytest.raises(PassingError):
            connect(attempts=4, seed=seed).call(METHOD, user_id=flickr.community.first, **PAGE)
        waits.append(patience.waits)

    assert waits[0] == waits[1] != waits[2]


def test_a_server_that_says_how_long_is_left_alone_so_long(connect, flickr, patience):
    flickr.faults = Faults(statuses={0: (429, {"Retry-After": "40"})}, modulus=1)
    connect().call(METHOD, user_id=flickr.community.first, **PAGE)

    assert max(patience.waits) >= 40


def test_a_server_that_asks_for_too_long_ends_the_crawl(connect, flickr):
    always(flickr, 503, Retry_After="100000")
    with pytest.raises(FlickrError, match=r"requires a wait of 100000 s.*--resume"):
        connect().call(METHOD, user_id=flickr.community.first, **PAGE)


def test_requests_given_up_one_after_the_other_end_the_crawl(connect, flickr):
    always(flickr, 500)
    client = connect(attempts=1, failures=3)
    for _ in range(2):
        with pytest.raises(PassingError):
            client.call(METHOD, user_id=flickr.community.first, **PAGE)
    with pytest.raises(FlickrError, match="3 requests failed one after the other"):
        client.call(METHOD, user_id=flickr.community.first, **PAGE)


@pytest.mark.parametrize("echoes", [False, True])
def test_a_key_that_is_not_taken_ends_the_crawl_at_once_and_is_not_shown(connect, flickr, echoes):
    flickr.echoes_key = echoes
    with pytest.raises(InvalidKeyError, match="correct FLICKR_API_KEY") as caught:
        connect("a-key-that-nobody-gave").call(METHOD, user_id=flickr.community.first, **PAGE)

    assert "a-key-that-nobody-gave" not in str(caught.value)
    assert flickr.requests() == 1


def test_codes_say_whether_something_is_gone_or_not_for_everybody(connect, flickr):
    client = connect()
    hiding = flickr.community.users[flickr.community.first]
    hiding.hides_favorites = True

    with pytest.raises(GoneError, match="User not found"):
        client.call(METHOD, user_id="1@N00", **PAGE)
    with pytest.raises(NotPublicError) as private:
        client.call("flickr.favorites.getPublicList", user_id=flickr.community.first, extras="", **PAGE)
    with pytest.raises(NotPublicError) as members:
        client.call("flickr.groups.members.getList", group_id="1@N20")
    assert (private.value.needs_login, members.value.needs_login) == (False, True)


def test_a_code_that_trying_again_does_not_mend_ends_the_crawl(connect):
    with pytest.raises(FlickrError, match=r'code 112: Method "flickr\.no\.such" not found'):
        connect().call("flickr.no.such")


def test_an_endpoint_that_is_none_is_named(connect, flickr):
    always(flickr, 404)
    with pytest.raises(FlickrError, match=r"status 404; check api.endpoint"):
        connect().call(METHOD, user_id=flickr.community.first, **PAGE)
    with pytest.raises(ValueError, match=r"api.endpoint = 'flickr'"):
        ApiConfig(endpoint="flickr")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("Thu, 26 Nov 2026 12:01:00 GMT", 60), ("Thu, 26 Nov 2026 11:00:00 GMT", 0), ("soon", 0), (None, 0)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    assert retry_after(value, datetime(2026, 11, 26, 12, tzinfo=UTC)) == seconds
