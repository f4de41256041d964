"""The gallery in a browser: no error in its console, nothing too wide, search and map work, also from files."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn

from storage.roots import Root
from tasks.gallery import folder
from tasks.gallery.runs import Runs
from tasks.gallery.server import application
from tests.browser import CHROMIUM, Browser, browser
from tests.tasks.gallery import made_up
from tests.tasks.gallery.made_up import HOSTILE

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of uvicorn's websockets
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    place = tmp_path_factory.mktemp("gallery")
    root = Root(str(place / "root"))
    made_up.publish(root, place / "source", "night-0", seed=1)
    made_up.publish(root, place / "source")
    runs = Runs(root)
    runs.run().positions(wait=True)
    return runs


@pytest.fixture(scope="module")
def address(runs: Runs) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(application(runs), log_level="error", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(chromium: Browser) -> Browser:
    chromium.complaints.clear()
    return chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_no_page_is_wider_than_the_screen_or_has_an_error_in_its_console(tab, address, width, scheme):
    tab.show_as(width, scheme)
    ids = [urlencode({"id": id_}) for id_ in HOSTILE[:6:5]]
    pages = ["/", "/map", "/clusters", "/search?q=image", "/pick?image=image01", "/compare?user=user1", "/compare"]
    for page in (*pages, *(f"/user?{id_}" for id_ in ids), *(f"/image?{id_}" for id_ in ids)):
        tab.open(address + page)

        assert tab.value("document.documentElement.scrollWidth - innerWidth") <= 0, page
        assert tab.value("[...document.images].every((image) => !image.complete || image.naturalWidth)"), page
        assert tab.violations() == [], page
    assert (
        tab.value("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(253, 253, 252)",
            "dark": "rgb(21, 23, 26)",
        }[scheme]
    )
    assert tab.complaints == []


def search(tab: Browser, query: str) -> None:
    tab.value(f"document.querySelector('input[name=q]').value = {query!r}")
    tab.value("document.querySelector('.search').requestSubmit()")


def test_search_is_typed_and_a_found_picture_is_followed(tab, address):
    tab.open(address)
    search(tab, "image07")
    tab.wait("location.pathname === '/search' && document.readyState === 'complete'")
    tab.value("document.querySelector('.tile a').click()")
    tab.wait("location.pathname === '/image' && document.readyState === 'complete'")

    assert "image07" in tab.value("document.querySelector('.id').textContent")
    assert tab.complaints == []


def test_the_map_shows_pictures_zooms_by_key_and_wheel_and_opens_one(tab, address):
    tab.show_as(1400, "light")
    tab.open(f"{address}/map")
    tab.wait("document.querySelector('.map').dataset.pictures > 5")
    before = tab.value("document.querySelector('canvas').toDataURL()")
    tab.value("document.querySelector('canvas').focus()")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="+", text="+")
    box = "document.querySelector('canvas').getBoundingClientRect()"
    left, top, width, height = (tab.value(f"{box}.{side}") for side in ("x", "y", "width", "height"))
    middle = {"x": left + width / 2, "y": top + height / 2}
    tab.call("Input.dispatchMouseEvent", type="mouseWheel", **middle, deltaX=0, deltaY=-100)
    tab.wait(f"document.querySelector('canvas').toDataURL() !== {before!r}")
    tab.open(f"{address}/map?zoom=3")  # begins at the first image
    tab.wait("document.querySelector('.map').dataset.pictures > 0")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, **middle, button="left", clickCount=1)
    tab.wait("location.pathname === '/image' && document.readyState === 'complete'")

    assert tab.value("new URLSearchParams(location.search).get('id')") == sorted(HOSTILE)[0]
    assert tab.complaints == []


def test_a_folder_works_from_files_and_its_search_finds(tab, runs, tmp_path: Path):
    written = folder.write(runs.run(), tmp_path / "out", max_users=3)
    out = (tmp_path / "out").as_uri()
    for page in ("index.html", "clusters.html", "map.html"):
        tab.open(f"{out}/{page}")
        assert tab.value("[...document.images].every((image) => !image.complete || image.naturalWidth)"), page
    tab.wait("document.querySelector('.map').dataset.pictures > 5")
    tab.open(f"{out}/index.html")
    search(tab, "name of")
    tab.wait("document.querySelectorAll('#found a').length > 0")
    tab.value("document.querySelector('#found a').click()")
    tab.wait("document.title.startsWith('Name of') && document.querySelectorAll('.tile').length > 5")

    assert written.users == 3
    assert tab.complaints == []


def test_a_folder_of_others_or_below_the_root_is_left_alone(runs, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")

    for place in (tmp_path, Path(runs.root.address) / "gallery"):
        with pytest.raises(ValueError, match=r"holds other files|below the root"):
            folder.write(runs.run(), place, max_users=1)
    assert not (Path(runs.root.address) / "gallery").exists()
