"""The gallery's API and pages over a made-up run with hostile ids: what they answer, and that nothing is written."""

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from storage import snapshots
from storage.roots import Root
from tasks.gallery.guard import POLICY
from tasks.gallery.runs import Runs
from tasks.gallery.server import application
from tests.tasks.gallery import made_up
from tests.tasks.gallery.made_up import HOSTILE, LOST, OUTSIDE

PAGES = ["/", "/clusters", "/search?q=image", "/pick?image=image01&image=image02", "/compare", "/map"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    folder = tmp_path_factory.mktemp("gallery")
    root = Root(str(folder / "root"))
    made_up.publish(root, folder / "source")
    made_up.publish(root, folder / "source", "night-2", seed=1)
    return root


@pytest.fixture(scope="module")
def client(root: Root) -> TestClient:
    return TestClient(application(Runs(root)), base_url="http://127.0.0.1:8020", raise_server_exceptions=False)


def table(root: Root, name: str) -> pl.DataFrame:
    pointer = snapshots.current(root)
    assert pointer
    return pl.read_parquet(snapshots.dataset(root, pointer, name))


def digest(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("id_", HOSTILE)
def test_an_id_is_one_segment_of_the_path_whatever_it_holds(client: TestClient, root: Root, id_: str):
    segment = quote(id_, safe="")
    got = client.get(f"/api/users/{segment}/recommendations?k=3").json()["images"]
    near = client.get(f"/api/images/{segment}/similar?k=3").json()["images"]
    liked = client.get(f"/api/users/{segment}").json()
    expected = table(root, "recommendations").filter(pl.col("user_id") == id_, pl.col("rank") <= 3)
    alike = table(root, "similar_images").filter(pl.col("image_id") == id_, pl.col("rank") <= 3)

    assert [item["image_id"] for item in got] == expected["image_id"].to_list()
    assert [item["score"] for item in got] == pytest.approx(expected["score"].to_list())
    assert [item["image_id"] for item in near] == alike["similar_image_id"].to_list()
    assert (liked["user_id"], liked["num_liked"]) == (id_, 6)


def test_a_known_users_favorites_as_a_bag_give_the_list_that_was_exported(client: TestClient, root: Root):
    # The made-up user vectors are the map that the fold-in learns: the sum of the favorites over the root of six.
    liked = client.get("/api/users/user3").json()["liked"]
    bag = client.post("/api/recommendations", json={"image_ids": liked, "k": made_up.NUM_LISTED}).json()["images"]
    exported = client.get(f"/api/users/user3/recommendations?k={made_up.NUM_LISTED}").json()["images"]

    assert [item["image_id"] for item in bag] == [item["image_id"] for item in exported]
    assert [item["score"] for item in bag] == pytest.approx([item["score"] for item in exported], rel=0.05)


def test_search_finds_by_beginning_by_part_by_title_and_else_what_is_near(client: TestClient):
    def found(query: str, what: str) -> list[str]:
        return client.get("/api/search", params={"q": query}).json()[what]

    assert found("image1", "images")[0] == "image10"
    assert found("GE07", "images") == ["image07"]
    assert found("name of user5", "users") == ["user5"]
    assert found("😺", "users") == ["😺 猫"]
    assert found("imoge07", "images")[0] == "image07"
    assert found("zzzzzzzzzz", "images") == []


def test_errors_are_json_and_name_near_ids(client: TestClient):
    unknown = client.get("/api/users/usr7/recommendations")
    answers = [
        (unknown, 404),
        (client.get("/api/users/user1/recommendations?k=0"), 422),
        (client.get("/api/users/user1?run=night-9"), 404),
        (client.get("/api/users/user1?run=..%2F..%2Fx"), 404),
        (client.post("/api/recommendations", json={"image_ids": []}), 422),
        (client.post("/api/recommendations", content=b"{"), 422),
        (client.get("/api/nothing"), 404),
        (client.put("/api/runs"), 405),
        (client.delete("/"), 405),
        (client.post("/api/recommendations", content=b"x" * 2**21), 413),
        (client.get("/api/runs", headers={"host": "evil.example"}), 421),
    ]

    assert [(answer.status_code, set(answer.json())) for answer, _ in answers] == [
        (status, {"error", "nearest"}) for _, status in answers
    ]
    assert "user7" in unknown.json()["nearest"]


def test_a_page_holds_no_markup_of_an_id_and_fetches_nothing_foreign(client: TestClient):
    class Page(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.elements: list[tuple[str, dict[str, str | None]]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.elements.append((tag, dict(attrs)))

    ids = [urlencode({"id": id_}) for id_ in HOSTILE]
    addresses = [*PAGES, *(f"/user?{id_}" for id_ in ids), *(f"/image?{id_}" for id_ in ids)]
    addresses += [f"/search?{urlencode({'q': id_})}" for id_ in HOSTILE] + [f"/user?{urlencode({'id': '<b>no'})}"]
    for address in addresses:
        answer = client.get(address)
        page = Page()
        page.feed(answer.text)
        links = [
            attrs.get(name) or "" for _, attrs in page.elements for name in ("src", "href", "action") if name in attrs
        ]

        assert answer.status_code == (404 if "no" in address else 200), address
        assert answer.headers["content-security-policy"] == POLICY
        assert all(not name.startswith("on") for _, attrs in page.elements for name in attrs)
        assert all(link.startswith(("/", "#", "data:,")) and not link.startswith("//") for link in links), address
        assert {tag for tag, attrs in page.elements if tag == "script" and not attrs.get("src")} == set()
        for link in {link for link in links if link.startswith("/")}:
            if client.get(link).status_code != 200:
                pytest.fail(f"{address} links to {link}")
        if address in PAGES[:1]:
            assert len(links) > 100


def test_pictures_are_scaled_and_what_lies_outside_or_is_lost_is_a_plate(client: TestClient):
    picture = client.get("/picture", params={"id": "image05"})
    plates = [client.get("/picture", params={"id": id_}) for id_ in (OUTSIDE, LOST)]

    assert picture.headers["content-type"] == "image/jpeg"
    assert "max-age" in picture.headers["cache-control"]
    assert picture.content.startswith(b"\xff\xd8")
    assert {plate.headers["content-type"] for plate in plates} == {"image/svg+xml"}
    assert client.get("/picture", params={"id": "image05", "size": "huge"}).status_code == 422
    assert client.get("/picture", params={"id": "../secret.png"}).status_code == 404


def test_nothing_below_the_root_or_the_source_is_written(client: TestClient, root: Root):
    folder = Path(root.address).parent
    before = digest(folder)
    for address in (*PAGES, "/picture?id=image01", "/api/runs", "/api/clusters", "/user?id=user1", "/image?id=image01"):
        client.get(address)
    client.post("/api/recommendations", json={"image_ids": ["image01"]})

    assert digest(folder) == before


def test_the_current_run_is_followed_and_a_deleted_one_is_not_shown_on(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tasks.gallery.runs.LOOK_S", 0.0)
    root = Root(str(tmp_path / "root"))
    made_up.publish(root, tmp_path / "source")
    client = TestClient(application(Runs(root)), base_url="http://localhost", raise_server_exceptions=False)
    shown = [client.get("/api/users/user1").json()["run_id"]]
    made_up.publish(root, tmp_path / "source", "night-2", seed=1)
    shown.append(client.get("/api/users/user1").json()["run_id"])
    for file in (tmp_path / "root/exports/runs/run_id=night-1").rglob("*.*"):
        file.unlink()

    assert shown == ["night-1", "night-2"]
    assert client.get("/api/users/user1?run=night-1").status_code == 404


def test_a_run_without_embeddings_or_inputs_shows_its_lists_and_says_what_it_cannot(tmp_path: Path):
    root = Root(str(tmp_path / "root"))
    manifest = made_up.publish(root, tmp_path / "source")
    path = tmp_path / "root/exports/runs/run_id=night-1/manifest.json"
    bare = json.loads(path.read_text()) | {"inputs": {}, "source": ""}
    bare["rows"] |= {"image_embeddings": 0, "user_embeddings": 0}
    path.write_text(json.dumps(bare))
    client = TestClient(application(Runs(root)), base_url="http://localhost", raise_server_exceptions=False)
    newcomer = client.post("/api/recommendations", json={"image_ids": ["image01"]})

    assert len(client.get("/api/users/user1/recommendations").json()["images"]) == made_up.NUM_LISTED
    assert newcomer.status_code == 409
    assert "embeddings" in newcomer.json()["error"]
    assert [client.get(page).status_code for page in (*PAGES, "/user?id=user1", "/image?id=image01")] == [200] * 8
    assert client.get("/picture?id=image01").headers["content-type"] == "image/svg+xml"
    assert manifest.rows["recommendations"] == 8 * 20


def test_a_user_sees_why_where_the_run_exports_reasons(tmp_path: Path):
    root = Root(str(tmp_path / "root"))
    made_up.publish(root, tmp_path / "source", with_reasons=True)
    client = TestClient(application(Runs(root)), base_url="http://localhost")

    assert "+0.25 tag &lt;b&gt;sea&lt;/b&gt;" in client.get("/user?id=user1").text


def test_many_lists_keep_the_order_of_their_ranks():
    import pyarrow as pa

    from tasks.gallery.lists import lists_of

    owner, item, rank = (pa.chunked_array([column]) for column in (["b", "a", "b"], ["y", "x", "x"], [2, 1, 1]))
    lists = lists_of(owner, item, np.array(["a", "b"], object), np.array(["x", "y"], object), rank)
    turned = lists.turned(2)

    assert [lists.of(row)[0].tolist() for row in (0, 1)] == [[0], [0, 1]]
    assert [turned.of(row)[0].tolist() for row in (0, 1)] == [[0, 1], [1]]
