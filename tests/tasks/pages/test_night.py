import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from storage.images import thumbnail
from tasks.pages import charts
from tasks.pages.contents import (
    Call,
    Cluster,
    ContentsError,
    Distributions,
    Gate,
    Ingested,
    NegativesAudit,
    Picture,
    Recommendation,
    Stage,
    Training,
)
from tasks.pages.night import PAGE, clock, files_of, render
from tasks.pages.sprites import COLUMNS, ROWS, THUMBNAIL_PX
from tests.tasks.pages.reports import JPEG, bare, full, metric

HOSTILE = '<script>alert(\'x\')</script>"><img src="https://outside.example/a.png" onerror=alert(1)>&amp; $\\frac12$'
VOID = {"meta", "link", "img", "br", "hr", "input"}


def test_the_page_asks_for_nothing_but_the_pictures_beside_it(full_html: str) -> None:
    for html, beside in ((full_html, {"pictures-00.jpg"}), (render(bare()).decode(), set())):
        page = parsed(html)
        links = [value for _, attributes in page.elements for name, value in attributes if name in LINKS]
        assert links
        assert all(re.match("#|data:", link) for link in links if link not in beside)
        styles = page.styles + [
            value for _, attributes in page.elements for name, value in attributes if name == "style"
        ]
        addresses = [address for style in styles for address in re.findall(r"url\(([^)]*)", style)]
        assert all(address.startswith(("#", "data:")) for address in addresses)
        assert not any("@import" in style for style in styles)
        assert "script" not in {tag for tag, _ in page.elements}
        assert "default-src 'none'" in html


LINKS = {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}


def test_the_page_is_well_formed(full_html: str) -> None:
    for html in (full_html, render(bare()).decode()):
        page = parsed(html)
        assert page.open == []
        assert page.problems == []
        ids = [value for _, attributes in page.elements for name, value in attributes if name == "id"]
        assert len(ids) == len(set(ids))
        pointed_at = {
            value[1:] for _, a in page.elements for name, value in a if name == "href" and value.startswith("#")
        }
        assert pointed_at <= set(ids)


def test_every_chart_and_picture_says_in_words_what_it_shows(full_html: str) -> None:
    page = parsed(full_html)
    drawn = [dict(attributes) for tag, attributes in page.elements if tag == "svg"]
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in drawn)
    assert all(dict(attributes).get("alt") for tag, attributes in page.elements if tag == "img")
    assert sum(tag == "table" for tag, _ in page.elements) == sum(tag == "thead" for tag, _ in page.elements)


def test_hostile_strings_are_shown_and_not_obeyed(full_html: str) -> None:
    calm = parsed(full_html)
    hostile = Picture(image_id=HOSTILE, title=HOSTILE, tags=[HOSTILE], jpeg=JPEG)
    person = replace(
        full().people[0],
        user_id=HOSTILE,
        interests=[HOSTILE],
        likes=[hostile, replace(hostile, jpeg=None)],
        got=[Recommendation(picture=hostile, rank=1, score=1.0)],
        found=[Recommendation(picture=hostile, rank=1, score=1.0, concealed=True)],
    )
    report = replace(
        full(),
        title=HOSTILE,
        run_id=HOSTILE,
        source=HOSTILE,
        verdict=HOSTILE,
        warnings=[HOSTILE],
        gates=[Gate(name=HOSTILE, passed=False, message=HOSTILE)],
        metrics=[*full().metrics, *(replace(row, system=HOSTILE) for row in full().metrics if row.system == "cdl")],
        readings=[(HOSTILE, HOSTILE)],
        community=[Ingested(table=HOSTILE, rows=1, quarantined=[(HOSTILE, 2)])],
        clusters=[Cluster(cluster=0, size=1, tokens=[HOSTILE])],
        training=Training(settings=[(HOSTILE, HOSTILE)]),
        stages=[Stage(name=HOSTILE, ran=1, reused=0, seconds=1.0)],
        people=[person],
    )
    page = parsed(render(report).decode())
    assert page.open == []
    assert page.problems == []
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in calm.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name, _ in attributes)
    assert page.text.count("<script>alert('x')</script>") >= 15


def test_each_call_of_a_stage_stands_where_it_ran_and_a_reused_one_is_an_outline(full_html: str) -> None:
    bars = [
        dict(attributes)
        for tag, attributes in parsed(full_html).elements
        if tag == "i" and ("title", "") not in attributes and "at " in str(dict(attributes).get("title"))
    ]

    assert [(bar["style"], bar.get("class"), bar["title"]) for bar in bars] == [  # the clock ends at 100 s
        ("left: 0.00%; width: 30.00%", None, "ran at 0.0 s for 30.0 s"),
        ("left: 50.00%; width: 45.00%", None, "ran at 50.0 s for 45.0 s"),
        ("left: 30.00%; width: 0.50%", "reused", "reused at 30.0 s for 0.5 s"),
    ]


@pytest.mark.parametrize(
    ("end_s", "ticks"), [(0.4, [0, 1]), (9, [0, 2, 4, 6, 8, 10]), (40_000, [0, 10_800, 21_600, 32_400, 43_200])]
)
def test_the_clock_of_the_stages_has_few_ticks_and_ends_behind_the_last_stage(end_s: float, ticks: list[int]) -> None:
    stage = Stage(name="train", ran=1, reused=0, seconds=1, calls=[Call(started_s=0, elapsed_s=end_s)])

    assert clock([stage]) == ticks
    assert clock([replace(stage, calls=())]) == []  # of a report of before


def test_equal_reports_give_equal_bytes(full_html: str) -> None:
    assert render(full()).decode() == full_html


def test_equal_figures_give_equal_charts() -> None:
    losses = np.random.default_rng(0).random(2000)
    once, again = (charts.loss(range(2000), losses, name="loss", label="loss") for _ in range(2))
    assert once == again
    assert "currentColor" in once
    assert not re.search("#0[0-9]0[0-9]0[0-9]|<metadata|DOCTYPE|http", once)
    assert ">step</text>" in once


def test_a_chart_stays_small_however_much_it_shows() -> None:
    amounts = np.random.default_rng(0).zipf(1.3, 200_000).clip(0, 50_000)
    drawn = (
        charts.histogram(amounts, name="c", label="c", x_label="x", y_label="y", y_scale="log"),
        charts.ordered(amounts, name="c", label="c", x_label="x", y_label="y"),
        charts.loss(range(200_000), amounts, name="c", label="c"),
    )
    assert max(map(len, drawn)) < 30_000


def test_a_part_that_a_run_lacks_is_left_out_with_its_link(full_html: str) -> None:
    everywhere, bare_html = (
        re.findall('<section id="([a-z]+)"', html) for html in (full_html, render(bare()).decode())
    )
    assert bare_html == ["figures"]
    assert len(everywhere) > 10
    assert re.findall('<li><a href="#([a-z]+)">', render(bare()).decode()) == bare_html
    assert 'class="missing"' not in full_html


def test_pictures_come_before_tables_and_each_is_in_the_page_once(full_html: str) -> None:
    assert full_html.index('class="strip"') < full_html.index('id="people"') < full_html.index('id="metrics"')
    assert full_html.count("data:image/jpeg") == 0  # those of the first screen have plates
    assert full_html.count('src="pictures-00.jpg"') == 5  # liked, found again, twice in the case, and in a failure
    assert list(files_of(full())) == ["index.html", "pictures-00.jpg", "report.json"]


def test_a_headline_figure_has_a_line_of_the_last_runs_that_measured_it(full_html: str) -> None:
    alone = render(replace(full(), past=())).decode()

    assert full_html.count('class="past"') == 1  # the other two figures have no past
    assert 'aria-label="Precision@20 in the last 3 runs: 0.300, 0.400, 0.500"' in full_html
    assert "the one before this had 0.400" in full_html
    assert 'class="past"' not in alone


def test_a_case_shows_favorites_negatives_weighted_tags_hits_and_what_was_learned(full_html: str) -> None:
    case = full_html.split('id="case"')[1].split("</section>")[0]

    assert case.index('data-image="8"') < case.index("Assigned negatives") < case.index('data-image="7"')
    assert 'style="font-size: 2.00em" title="4 times">blue' in case
    assert 'style="font-size: 1.40em" title="1 times">green' in case
    assert case.count('class="picture concealed"') == 1
    assert "3 clusters; 2 of them are not 0" in case
    assert case.count("<figcaption>Favorite</figcaption>") == case.count("<figcaption>Negative</figcaption>") == 1


def test_the_page_carries_the_pictures_of_the_first_screen_and_each_other_lies_in_its_place_beside_it() -> None:
    colors = {f"i{number}": (4 * number, 250 - 4 * number, 120) for number in range(COLUMNS * ROWS + 5)}
    first, *others = (
        Picture(image_id=image_id, jpeg=thumbnail(np.full((8, 8, 3), color, np.uint8), THUMBNAIL_PX))
        for image_id, color in colors.items()
    )
    person = replace(full().people[0], likes=others, got=[Recommendation(picture=first, rank=1, score=1.0)], found=[])
    files = files_of(replace(bare(), people=[person]))
    html = files[PAGE].decode()
    place = re.compile(r'data-image="(\w+)"[^\0]*<img src="([^"]+)" style="left: -(\d+)%; top: -(\d+)%"')
    shown = [found.groups() for figure in html.split("<figure ") if (found := place.search(figure))]

    assert html.split("</head>")[0].count("data:image/jpeg") == 1
    assert [image_id for image_id, *_ in shown] == [picture.image_id for picture in others]
    assert {file for _, file, *_ in shown} == {"pictures-00.jpg", "pictures-01.jpg"}
    for image_id, file, column, row in shown:
        middle = [int((int(percent) / 100 + 0.5) * THUMBNAIL_PX) for percent in (column, row)]
        pixel = Image.open(BytesIO(files[file])).getpixel((middle[0], middle[1]))
        assert np.abs(np.subtract(pixel, colors[image_id])).max() < 4, image_id


def test_a_report_whose_picture_is_damaged_is_refused() -> None:
    damaged = Picture(image_id="77", jpeg=JPEG[:40])

    with pytest.raises(ContentsError, match="picture"):
        files_of(replace(full(), people=[replace(full().people[0], likes=[damaged])]))


def test_the_gate_is_one_line_unless_something_holds_the_run_back() -> None:
    passed = Gate(name="tables", passed=True, message="every check held")
    warned, held = replace(passed, passed=False, is_warning=True), replace(passed, passed=False)
    calm, loud, stopped = (
        render(replace(bare(), gates=gates)).decode() for gates in ([passed], [passed, warned], [passed, held])
    )
    assert '<details class="gates">' in calm
    assert "The gate: 1 of 1 checks passed</summary>" in calm
    assert '<details class="gates">' in loud  # what warns stands above it in whole
    assert "1 of 2 checks passed, 1 warns</summary>" in loud
    assert '<details class="gates" open>' in stopped


def test_a_community_that_lacks_tags_contacts_and_pixels_has_its_page() -> None:
    none = np.zeros(0, np.int64)
    report = replace(
        bare(),
        distributions=Distributions(users_per_cluster=none, favorites_per_user=np.array([1, 1]), tags_per_user=none),
        negatives=NegativesAudit(
            tagged=np.zeros(2, int), contacts=np.zeros(2, int), groups=np.zeros(2, int), left=np.ones(2, int)
        ),
        training=Training(loss=[(1, 0.7)]),
    )
    text = parsed(render(report).decode()).text
    assert text.count("This community has none.") == 2
    assert text.count("No user has any.") == 3


def test_a_figure_that_nobody_was_there_to_measure_is_a_dash() -> None:
    nobody = [
        replace(row, value=np.nan, low=np.nan, high=np.nan, users=0) for row in full().metrics if row.slice == "cold"
    ]
    html = render(replace(bare(), metrics=[metric("cdl", 0.5, 0.4, 0.6), *nobody])).decode()
    assert ">nan" not in html
    assert 'number">–</td>' in html


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.5, 0.6, "above"), (0.1, 0.2, "below"), (0.25, 0.45, "not apart from")]
)
def test_a_system_stands_above_another_only_with_its_whole_interval(low: float, high: float, said: str) -> None:
    rows = [metric("cdl", (low + high) / 2, low, high), metric("random", 0.35, 0.3, 0.4)]
    text = parsed(render(replace(bare(), metrics=rows)).decode()).text
    assert f"CDL is {said} random." in text


def test_a_gate_that_only_warns_is_not_called_failed() -> None:
    gate = Gate(name="popularity", passed=False, message="below it", is_warning=True)
    text = parsed(render(replace(bare(), gates=[gate, replace(gate, is_warning=False)])).decode()).text
    assert (text.count("! warning"), text.count("✗ hold")) == (1, 1)


def test_a_concealed_favorite_among_the_recommendations_is_marked(full_html: str) -> None:
    assert full_html.split('id="found"')[1].split("</section>")[0].count('class="picture concealed"') == 1
    assert "1 of 20 concealed favorites among the first 2" in full_html


@pytest.fixture(scope="module")
def full_html() -> str:
    return render(full()).decode()


def test_under_a_picture_stand_its_main_reason_and_the_share_of_each_signal_that_raises_the_score(
    full_html: str,
) -> None:
    people = full_html.split('id="people"')[1].split('id="found"')[0]
    assert "likes A lake" in people
    assert 'aria-label="favorites 67 %, tags 33 %"' in people
    assert people.count('class="because"') == 1
    assert "2.5" not in people  # the score, which says less
    assert "1.5" in people  # of the picture without reasons


class Page(HTMLParser):
    """The elements of a page, its text, and what is not closed as it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str]]]] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.styles: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, [(name, value or "") for name, value in attrs]))
        if len({name for name, _ in attrs}) < len(attrs):
            self.problems.append(f"<{tag}> has an attribute twice")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        else:
            self.text += data


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


def test_failures_show_who_got_nothing_what_was_kept_out_and_what_nobody_likes(full_html: str) -> None:
    text = " ".join(parsed(full_html).text.split())

    assert "Of 1,000 test users that were ranked for this, 17 have none of their concealed favorites" in text
    assert "NDCG@20 0.000; 1 favorites were known, 2 concealed" in text
    assert "unknown image_id" in text
    assert 'row 3: {"user": 1}' in text
    assert "5 images have no favorite, and 1 of them are in somebody’s list" in text
    assert 'data-image="11"' in full_html
    assert "4 lists" in text
