"""The comparison's page."""

import re
from dataclasses import replace

from tasks.pages.comparison import render
from tests.tasks.pages.reports import compared


def test_the_page_ranks_the_systems_and_sets_their_quality_beside_their_cost():
    html = render(compared()).decode()

    assert "<h1>3 systems on lakes</h1>" in html
    assert "1,234 users." in html
    ranked = html.split("Precision@10 of each system with its interval")[1].split("</svg>")[0]
    assert ranked.index("tastegraph") < ranked.index("popularity")
    assert "Precision@10 by the seconds of a fit" in html
    assert "Recall@K by K" in html


def test_all_words_of_a_chart_are_in_the_page_s_ink():
    styles = re.findall(r"<text[^>]*>", render(compared()).decode())

    assert len(styles) > 20
    assert all("fill: currentColor" in style for style in styles)


def test_settings_are_said_to_be_defaults_or_chosen_and_not_both():
    defaults, chosen = render(compared()).decode(), render(replace(compared(), is_tuned=True)).decode()

    assert ("chosen on validation" in defaults, "has its defaults" in defaults) == (False, True)
    assert ("chosen on validation" in chosen, "has its defaults" in chosen) == (True, False)


def test_a_table_has_the_columns_that_fit_and_the_others_are_folded():
    table, folded = render(compared()).decode().split("All metrics and lengths")

    assert "Precision@5" not in table
    assert "Precision@5" in folded
