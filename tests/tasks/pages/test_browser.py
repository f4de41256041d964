"""The reports in a browser: no error in its console, nothing too wide, nothing that axe finds wrong."""

from collections.abc import Iterator

import pytest

from tasks.pages import comparison, night
from tests.browser import CHROMIUM, Browser, browser
from tests.tasks.pages.reports import bare, compared, full

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {"full": night.files_of(full()), "bare": night.files_of(bare())}
    pages["compared"] = {night.PAGE: comparison.render(compared())}
    for name, files in pages.items():
        (folder / name).mkdir()
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    return [(folder / name / night.PAGE).as_uri() for name in pages]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_no_report_is_wider_than_the_screen_or_inaccessible(tab: Browser, addresses: list[str], width, scheme):
    tab.show_as(width, scheme)
    for address in addresses:
        tab.open(address)
        tab.value("document.querySelectorAll('details').forEach((part) => { part.open = true })")

        assert tab.value("document.documentElement.scrollWidth - innerWidth") <= 0, address
        assert tab.violations() == [], address
    assert tab.complaints == []
