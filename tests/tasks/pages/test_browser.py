"""The reports in a browser: no error in its console, nothing too wide, nothing that axe finds wrong; keys and print."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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


REACHED = """(() => {
  const here = document.activeElement, box = here.getBoundingClientRect(), style = getComputedStyle(here);
  const place = [...document.querySelectorAll('a[href], summary, [tabindex="0"]')].indexOf(here);
  return [place, style.outlineStyle !== 'none', box.bottom > 0 && box.top < innerHeight];
})()"""


def press(tab: Browser, key: str, code: int, **more: str) -> None:
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **more)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


@pytest.mark.parametrize("width", [360, 1400])
def test_the_tab_key_reaches_every_link_fold_and_table_in_order_and_shows_where_it_is(tab, addresses, width) -> None:
    tab.show_as(width, "light")
    for address in addresses:
        tab.open(address)
        tab.value("document.querySelectorAll('details').forEach((part) => { part.open = true })")
        number = tab.value("document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length")
        reached = []
        for _ in range(number):
            press(tab, "Tab", 9)
            reached.append(tab.value(REACHED))

        assert reached == [[place, True, True] for place in range(number)], address


def test_the_enter_key_unfolds_the_gate_and_follows_a_link_of_the_contents(tab, addresses) -> None:
    tab.show_as(1400, "light")
    tab.open(addresses[0])
    tab.value("document.querySelector('.gates summary').focus()")
    press(tab, "Enter", 13, text="\r")
    assert tab.value("document.querySelector('.gates').open")
    tab.value("document.querySelector('nav a[href=\"#case\"]').focus()")
    press(tab, "Enter", 13, text="\r")
    tab.wait("location.hash === '#case' && document.querySelector('#case').getBoundingClientRect().top < innerHeight")


def test_a_printed_report_has_every_picture_and_the_gate_s_line_and_fits_the_sheet(tab, tmp_path: Path) -> None:
    report = full()
    people = [replace(report.people[0], user_id=f"u{number}") for number in range(12)]
    for name, content in night.files_of(replace(report, people=people)).items():
        (tmp_path / name).write_bytes(content)
    loaded = "[...document.images].filter((image) => image.complete && image.naturalWidth).length"
    tab.show_as(1400, "light")
    tab.open((tmp_path / night.PAGE).as_uri())
    before, number = tab.value(loaded), tab.value("document.images.length")
    tab.call("Page.printToPDF", printBackground=True)

    assert before < number == tab.value(loaded)  # those far below are loaded when they are needed, and for print
    tab.show_as(688, "dark")  # an A4 sheet without its margins
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.value("document.documentElement.scrollWidth - innerWidth") <= 0
    assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = [tab.value(f"document.querySelector('{part}').offsetHeight") for part in ("nav", ".gates summary")]
    assert heights[0] == 0 < heights[1]
    tab.call("Emulation.setEmulatedMedia", media="")
