"""Flickr on loopback: its documented answers for a synthetic community, its pictures, and its failures.

The shapes follow the documentation of each method at flickr.com/services/api, and that of its JSON format.
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.storage.sources.flickr.community import Community, jpeg

KEY = "0123456789abcdef0123456789abcdef"
HANG_S = 5.0  # how long a request that hangs does

Arguments = dict[str, str]
Answer = dict[str, Any]


class StatFailError(Exception):
    """`stat: fail`, with Flickr's code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Faults:
    """Failures, chosen by a digest of the request; only at its first attempt, or always."""

    statuses: dict[int, tuple[int, dict[str, str]]] = field(default_factory=dict)  # remainder -> status, headers
    truncated: set[int] = field(default_factory=set)  # remainders of answers that break off
    hanging: set[str] = field(default_factory=set)  # requests that wait long and then get no answer
    modulus: int = 1000
    methods: str = ""  # only of those that begin so
    for_good: bool = False


@dataclass
class Flickr:
    """The server's state, which a test may change at any time."""

    community: Community
    address: str = ""
    faults: Faults = field(default_factory=Faults)
    shifting: set[str] = field(default_factory=set)  # users whose lists change the first time they are read
    answered: Counter[str] = field(default_factory=Counter)  # complete answers, by request
    asked: Counter[str] = field(default_factory=Counter)  # requests, by name, failed ones included
    received: Counter[str] = field(default_factory=Counter)  # requests of the API, and of pictures
    pictures: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)  # odd ones, by path
    withdrawn: set[str] = field(default_factory=set)  # photos that are gone, although lists still name them
    echoes_key: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, method: str = "") -> int:
        """The number of requests to the API."""
        with self.lock:
            return sum(count for name, count in self.asked.items() if name.startswith(f"flickr.{method}"))

    # -- the API -------------------------------------------------------------------------------------------------------

    def answer(self, arguments: Arguments) -> Answer:
        if arguments.get("api_key") != KEY:
            said = arguments.get("api_key", "") if self.echoes_key else "Key has invalid format"
            raise StatFailError(100, f"Invalid API Key ({said})")
        assert (arguments["format"], arguments["nojsoncallback"]) == ("json", "1")
        words = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", arguments["method"].removeprefix("flickr."))
        method = getattr(self, words.replace(".", "_"), None)
        if method is None:
            raise StatFailError(112, f'Method "{arguments["method"]}" not found')
        return dict(method(arguments))

    def people_get_info(self, arguments: Arguments) -> Answer:
        user_id, user = self._user(arguments)
        return {"person": {"id": user_id, "nsid": user_id, "ispro": 0, "username": {"_content": user.name}}}

    def people_find_by_username(self, arguments: Arguments) -> Answer:
        for user_id, user in self.community.users.items():
            if user.name == arguments["username"]:
                return {"user": {"id": user_id, "nsid": user_id, "username": {"_content": user.name}}}
        raise StatFailError(1, "User not found")

    def contacts_get_public_list(self, arguments: Arguments) -> Answer:
        user_id, user = self._user(arguments)
        contacts = list(user.contacts)
        if self._shifts(user_id, arguments):
            contacts = contacts[1:]  # the first one is added a moment later, and moves all others
        found = [
            {"nsid": contact, "username": self._name(contact), "iconserver": "1", "iconfarm": 1, "ignored": 0}
            for contact in contacts
        ]
        return {"contacts": page_of(found, "contact", arguments, both=True)}

    def favorites_get_public_list(self, arguments: Arguments) -> Answer:
        user_id, user = self._user(arguments)
        if user.hides_favorites:
            raise StatFailError(2, "Permission denied")
        last = int(arguments.get("max_fave_date", 2**40))
        listed = [pair for pair in user.favorites if pair[1] <= last and pair[0] in self.community.photos]
        answer = {"photos": page_of(listed, "photo", arguments)}
        answer["photos"]["photo"] = [
            {**self._listed(photo, arguments["extras"].split(",")), "date_faved": str(second)}
            for photo, second in answer["photos"]["photo"]
        ]
        if self._shifts(user_id, arguments):
            user.favorites.insert(0, (next(iter(self.community.photos)), int(time.time()) + 3600))
        return answer

    def people_get_public_groups(self, arguments: Arguments) -> Answer:
        _, user = self._user(arguments)
        groups = [
            {"nsid": id_, "name": self.community.groups[id_].name, "admin": 0, "eighteenplus": 0} for id_ in user.groups
        ]
        return {"groups": {"group": groups} if groups else {}}

    def tags_get_list_user_popular(self, arguments: Arguments) -> Answer:
        user_id, user = self._user(arguments)
        tags = sorted(user.tags.items(), key=lambda pair: -pair[1])[: int(arguments.get("count", 10))]
        return {"who": {"id": user_id, "tags": {"tag": [{"count": str(n), "_content": word} for word, n in tags]}}}

    def groups_members_get_list(self, _arguments: Arguments) -> Answer:
        raise StatFailError(99, "User not logged in / Insufficient permissions")

    def groups_pools_get_photos(self, arguments: Arguments) -> Answer:
        group = self.community.groups.get(arguments["group_id"])
        if group is None:
            raise StatFailError(1, "Group not found")
        found = [
            {"id": photo, "owner": owner, "ownername": self._name(owner), "secret": "s", "server": "1", "ispublic": 1}
            for photo in group.pool
            if photo in self.community.photos and (owner := self.community.photos[photo].owner)
        ]
        return {"photos": page_of(found, "photo", arguments)}

    def photos_get_sizes(self, arguments: Arguments) -> Answer:
        photo = self._photo(arguments)
        found = [("Square", "_sq"), ("Small 320", ""), ("Original", "_o")]
        sizes = [
            {"label": label, "width": 1, "height": "1", "source": self.address + photo.picture + end, "media": "photo"}
            for label, end in found
        ]
        return {"sizes": {"canblog": 0, "canprint": 0, "candownload": 1, "size": sizes}}

    def tags_get_list_photo(self, arguments: Arguments) -> Answer:
        tags = [{"id": f"1-{word}", "raw": word.title(), "_content": word} for word in self._photo(arguments).tags]
        return {"photo": {"id": arguments["photo_id"], "tags": {"tag": tags}}}

    def _user(self, arguments: Arguments) -> tuple[str, Any]:
        user_id = arguments["user_id"]
        if user_id not in self.community.users:
            raise StatFailError(1, "User not found")
        return user_id, self.community.users[user_id]

    def _photo(self, arguments: Arguments) -> Any:
        if arguments["photo_id"] not in self.community.photos or arguments["photo_id"] in self.withdrawn:
            raise StatFailError(1, "Photo not found")
        return self.community.photos[arguments["photo_id"]]

    def _name(self, user_id: str) -> str:
        user = self.community.users.get(user_id)
        return user.name if user else "a user who left"

    def _listed(self, photo_id: str, extras: list[str]) -> Answer:
        photo = self.community.photos[photo_id]
        fields = {
            "date_upload": {"dateupload": str(photo.uploaded_at)},
            "owner_name": {"ownername": self._name(photo.owner)},
            "tags": {"tags": " ".join(photo.tags)},
            "media": {"media": "photo", "media_status": "ready"},
            "url_n": {"url_n": self.address + photo.picture, "height_n": 24, "width_n": "24"},
        }
        if not photo.is_listed_with_address:
            fields["url_n"] = {}
        found: Answer = {"id": photo_id, "owner": photo.owner, "secret": "s", "server": "65535", "farm": 66}
        found |= {"title": photo.title, "ispublic": 1, "isfriend": 0, "isfamily": 0}
        for extra in extras:
            found |= fields.get(extra, {})
        return found

    def _shifts(self, user_id: str, arguments: Arguments) -> bool:
        """Whether this is the first request for the first page of a list that changes during reading."""
        first = user_id in self.shifting and arguments.get("page", "1") == "1"
        return first and self.asked[name_of(arguments)] == 1


def page_of(found: list[Any], name: str, arguments: Arguments, *, both: bool = False) -> Answer:
    """One page of a list, with Flickr's fields beside it."""
    page, per_page = int(arguments.get("page", 1)), int(arguments.get("per_page", 100))
    header: Answer = {"page": page, "pages": -(-len(found) // per_page), "perpage": per_page, "total": len(found)}
    if both:
        header |= {"per_page": per_page, "total": str(len(found))}
    return {**header, name: found[(page - 1) * per_page : page * per_page]}


def name_of(arguments: Arguments) -> str:
    """The request's name, without the key and without the time at which the crawl began."""
    kept = {name: value for name, value in arguments.items() if name not in ("api_key", "format", "nojsoncallback")}
    if int(kept.get("max_fave_date", 0)) > 1_760_000_000:
        del kept["max_fave_date"]
    return " ".join([kept.pop("method"), *(f"{name}={value}" for name, value in sorted(kept.items()))])


@lru_cache(maxsize=256)
def _picture(style: str, number: int) -> bytes:
    return jpeg(style, number)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet
    disable_nagle_algorithm = True
    flickr: Flickr

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        arguments = dict(parse_qsl(form, keep_blank_values=True))
        assert "api_key" not in self.path
        name = name_of(arguments)
        with self.flickr.lock:
            self.flickr.asked[name] += 1
            self.flickr.received["api"] += 1
            may_fail = self.flickr.asked[name] == 1 or self.flickr.faults.for_good
            may_fail &= name.startswith(f"flickr.{self.flickr.faults.methods}")
            try:
                answer = {**self.flickr.answer(arguments), "stat": "ok"}
            except StatFailError as failure:
                answer = {"stat": "fail", "code": failure.code, "message": failure.message}
        content = json.dumps(answer).encode()
        faults, number = self.flickr.faults, int(hashlib.sha256(name.encode()).hexdigest(), 16)
        number %= faults.modulus
        if may_fail and name in faults.hanging:
            time.sleep(HANG_S)
            self.close_connection = True
        elif may_fail and number in faults.statuses:
            self.send(*faults.statuses[number], b"<html>no JSON at all</html>")
        elif may_fail and number in faults.truncated:
            self.send(200, {}, content[: len(content) // 2])
        else:
            with self.flickr.lock:
                self.flickr.answered[name] += 1
            self.send(200, {"Content-Type": "application/json"}, content)

    def do_GET(self) -> None:
        with self.flickr.lock:
            self.flickr.asked[f"GET {self.path}"] += 1
            self.flickr.received["pictures"] += 1
            odd = self.flickr.pictures.get(self.path)
        if odd:
            self.send(*odd)
            return
        found = re.fullmatch(r"/65535/(\d+)_([a-z]+)_n\.jpg", self.path)
        if not found:
            self.send(404, {}, b"")
            return
        content = _picture(found[2], int(found[1]))
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.headers.get("If-None-Match") == tag:
            self.send(304, {"ETag": tag}, b"")
            return
        self.send(200, {"Content-Type": "image/jpeg", "ETag": tag}, content)
        with self.flickr.lock:
            self.flickr.answered[f"GET {self.path}"] += 1

    def send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if headers.get("Content-Length", str(len(content))) != str(len(content)):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a client that was killed leaves its thread in a read
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        pass  # the client is gone


@contextmanager
def served(community: Community) -> Iterator[Flickr]:
    """The community on a free port of loopback, until the end of the block."""
    flickr = Flickr(community)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"flickr": flickr}))
    flickr.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield flickr
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
