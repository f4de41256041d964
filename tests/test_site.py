"""The site that `make docs` builds: every link and anchor of the pages leads somewhere."""

import re
from pathlib import Path

import tastegraph
from docs import build_site

PROJECT = Path(__file__).parents[1]


def test_the_site_is_built_of_every_page_without_a_broken_link(tmp_path):
    build_site.lay(tmp_path / "docs")
    built = build_site.build(tmp_path)
    pages = {file.stem for file in (tmp_path / "docs").glob("*.md")}
    start = (tmp_path / "site" / "index.html").read_text() if built.returncode == 0 else ""

    assert built.returncode == 0, built.stdout + built.stderr
    assert pages == {file.stem for file in (tmp_path / "site").glob("*.html")} - {"404"}
    assert all(
        re.search(rf'href="(?:\./)?{page}\.html"', start) for page in pages - {"index"}
    )  # the navigation leads to each
    assert re.findall(r'(?:src|<link[^>]* href)="https?://[^"]*', start) == []  # nothing is loaded from elsewhere


def test_a_broken_link_or_anchor_ends_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in re.findall(r"[\w-]+\.md", (PROJECT / "docs/zensical.toml").read_text()):
        (tmp_path / "docs" / name).write_text("# Page\n")
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[no page](nowhere.md) [no heading](python.md#nowhere)\n")
    built = build_site.build(tmp_path)

    assert built.returncode == 1
    assert "2 issues found" in built.stdout + built.stderr


def test_the_reference_of_python_has_every_public_name_and_method():
    page = build_site.python_page()
    methods = [name for name in vars(tastegraph.Export) if not name.startswith("_") and name not in ("root", "pointer")]

    assert all(f"## {name}\n" in page for name in tastegraph.__all__)
    assert all(f"### Export.{name}\n" in page for name in methods)
    assert "(self" not in page


def test_the_page_of_options_says_what_each_is():
    page = build_site.options_page()

    assert "## `tastegraph crawl flickr`" in page
    assert re.findall(r"^\| `-.*\|  \|$", page, re.MULTILINE) == []
