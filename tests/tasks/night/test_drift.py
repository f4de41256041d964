"""What has moved from the current run to a night, and what that leads to."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from storage import parquet
from storage.manifests import Manifest, Outcome, PublishedFile
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, IMAGES, USER_TAGS, USERS
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.night.drift import Run, check_drift
from tasks.night.gate import Candidate, _check_drift
from tasks.settings.limits import GateConfig

USER_IDS, IMAGE_IDS = ([f"{kind}{row:03d}" for row in range(count)] for kind, count in (("u", 100), ("i", 200)))
PLACES = 20


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def lists(images_UK: np.ndarray, root: Root, users: list[str] = USER_IDS, scores: Any = None) -> list[Ref]:
    """Lists of these image rows, the scores falling from 1."""
    columns = {
        "user_id": np.repeat(users, PLACES),
        "rank": np.tile(np.arange(1, PLACES + 1), len(users)),
        "image_id": np.array(IMAGE_IDS)[images_UK].ravel(),
        "score": np.tile(np.linspace(1, 0.05, PLACES) if scores is None else scores, len(users)),
        "model": ["m"] * images_UK.size,
    }
    return [parquet.write(RECOMMENDATIONS, columns, root)]


def spread(shift: int = 0) -> np.ndarray:
    """Lists that cover all images evenly; with a shift, each user has those of another."""
    return (np.arange(100)[:, None] * 2 + np.arange(PLACES) + shift) % 200


@pytest.fixture
def run(root: Root) -> Run:
    """100 users, each with a favorite or two, and a list; 200 images of twenty owners."""
    images = {name: [None] * 200 for name in IMAGES.schema.names}
    images |= {"image_id": IMAGE_IDS, "owner_id": [f"owner{row % 20}" for row in range(200)]}
    favorites = {"user_id": USER_IDS + USER_IDS[::2], "image_id": IMAGE_IDS[:100] + IMAGE_IDS[100:150]}
    table = {
        "users": parquet.write(USERS, {"user_id": USER_IDS, "name": [None] * 100}, root),
        "images": parquet.write(IMAGES, images, root),
        "favorites": parquet.write(FAVORITES, {**favorites, "favorited_at": [None] * 150}, root),
    }
    return Run("ease", lists(spread(), root), table)


def verdicts(now: Run, before: Run, root: Root, no_hold: str = "", **limits: Any) -> dict[str, str]:
    """The checks that do not pass."""
    found = check_drift(now, before, GateConfig(**limits), root, no_hold=no_hold)
    return {item.name.removeprefix("drift: "): item.verdict for item in found if not item.passed}


def test_the_same_run_has_not_moved(run, root):
    found = list(check_drift(run, run, GateConfig(), root, no_hold=""))

    assert {item.verdict for item in found} == {"pass"}
    assert {item.name.removeprefix("drift: "): item.figure for item in found} == {
        "users": 0,
        "images": 0,
        "favorites": 0,
        "favorites per user": 0,
        "profiles": 0,
        "users with a list": 0,
        "scores": 0,
        "overlap": 1,
        "popularity": 0,
        "largest owner": 0,
        "coverage": 0,
    }


def test_other_lists_for_everybody_hold(run, root):
    assert verdicts(replace(run, lists=lists(spread(100), root)), run, root) == {"overlap": "hold"}


def test_half_of_each_list_is_an_overlap_of_a_half(run, root):
    found = check_drift(replace(run, lists=lists(spread(10), root)), run, GateConfig(), root, no_hold="")

    assert {item.name: item.figure for item in found}["drift: overlap"] == pytest.approx(0.5)


def test_the_same_few_images_for_everybody_are_named_by_coverage(run, root):
    same = np.tile(np.arange(PLACES), (100, 1))

    assert verdicts(replace(run, lists=lists(same, root)), run, root)["coverage"] == "hold"


def test_popular_images_and_one_owner_in_place_of_all_are_named(run, root):
    popular = np.tile(np.arange(150, 200), (100, 1))[:, :PLACES]  # nobody's favorites
    of_one = np.tile(np.concatenate([np.arange(0, 200, 20), np.arange(1, 11)]), (100, 1))  # half of each list
    found = verdicts(replace(run, lists=lists(popular, root)), run, root)

    assert found["popularity"] == "hold"
    assert verdicts(replace(run, lists=lists(of_one, root)), run, root)["largest owner"] == "hold"


def test_scores_that_are_all_the_same_warn_and_other_systems_scores_are_not_compared(run, root):
    flat = replace(run, lists=lists(spread(), root, scores=np.ones(PLACES)))

    assert verdicts(flat, run, root) == {"scores": "warn"}
    assert verdicts(flat, run, root, score_shift=(0.25, 1.0)) == {"scores": "hold"}
    assert verdicts(replace(flat, system="als"), run, root) == {}


def test_scores_in_another_unit_are_the_same_scores(run, root):
    other = replace(run, lists=lists(spread(), root, scores=7 * np.linspace(1, 0.05, PLACES) + 3))

    assert verdicts(other, run, root) == {}


def test_users_without_a_list_and_a_community_that_shrinks_hold(run, root):
    half = replace(run, lists=lists(spread()[:50], root, USER_IDS[:50]))
    columns = {"user_id": USER_IDS[:70], "image_id": IMAGE_IDS[:70], "favorited_at": [None] * 70}
    table = run.table | {"favorites": parquet.write(FAVORITES, columns, root)}

    assert verdicts(half, run, root)["users with a list"] == "hold"
    assert verdicts(replace(run, table=table), run, root)["favorites"] == "hold"


def with_tags(run: Run, root: Root, **tags_of: int) -> Run:
    """The run, in which every user has these tags, each so many times."""
    rows = [(user, tag, count) for user in USER_IDS for tag, count in tags_of.items()]
    columns = dict(zip(("user_id", "tag", "count"), zip(*rows, strict=True), strict=True))
    return replace(run, table=run.table | {"user_tags": parquet.write(USER_TAGS, columns, root)})


def test_profiles_of_other_tags_warn_and_how_often_a_user_tags_is_no_matter(run, root):
    before = with_tags(run, root, sea=1, sky=3)

    assert verdicts(with_tags(run, root, sea=10, sky=30), before, root) == {}
    assert verdicts(with_tags(run, root, fire=1, sky=1), before, root) == {"profiles": "warn"}


def test_profiles_without_user_tags_are_of_the_favorites_tags_and_without_any_of_the_favorites(run, root):
    def tagged(*tags: str) -> Run:
        columns = {"image_id": IMAGE_IDS, "tag": [tags[row % len(tags)] for row in range(200)]}
        return replace(run, table=run.table | {"image_tags": parquet.write(IMAGE_TAGS, columns, root)})

    columns = {"user_id": USER_IDS + USER_IDS[::2], "image_id": IMAGE_IDS[50:200], "favorited_at": [None] * 150}
    other = replace(run, table=run.table | {"favorites": parquet.write(FAVORITES, columns, root)})

    assert verdicts(tagged("sea", "fire"), tagged("sea", "sky"), root) == {"profiles": "warn"}
    assert verdicts(tagged("sky", "sea"), tagged("sea", "sky"), root) == {}
    assert verdicts(other, run, root)["profiles"] == "warn"


def test_what_was_meant_to_change_warns_in_place_of_holding_and_says_why(run, root):
    now = replace(run, lists=lists(spread(100), root))
    (found,) = [item for item in check_drift(now, run, GateConfig(), root, no_hold="as asked") if not item.passed]

    assert (found.verdict, found.message.endswith("no hold: as asked")) == ("warn", True)
    assert verdicts(now, run, root, overlap=(None, None)) == {}


def test_of_many_users_a_sample_is_compared_and_the_figures_are_about_the_same(run, root):
    now = replace(run, lists=lists(spread(10), root))
    found = {item.name: item for item in check_drift(now, run, GateConfig(sample_users=50), root, no_hold="")}

    assert found["drift: overlap"].figure == pytest.approx(0.5)
    assert "images of 100 users" not in found["drift: overlap"].message


def against(night: Run, last: Manifest | None, root: Root, settings: dict[str, Any] | None = None) -> list[Outcome]:
    candidate = Candidate(
        system=night.system,
        metrics=[],
        exports={"recommendations": night.lists},
        table=night.table,
        lists=None,  # type: ignore[arg-type]  # drift does not look at what they depend on
        comparable={"source": "here"},
        settings=settings or {},
    )
    return list(_check_drift(candidate, last, GateConfig(), root))


def manifest_of(run: Run, **changes: Any) -> Manifest:
    files = tuple(PublishedFile(ref.name, ref.path, ref.rows, ref.bytes, ref.sha256) for ref in run.lists)
    facts = {"comparable": {"source": "here"}, "inputs": run.table, "files": files, "system": run.system}
    return Manifest(run_id="before", generated_at="2026-11-01T02:00:00+00:00", metrics=[], **{**facts, **changes})


def test_a_first_night_has_nothing_to_compare_with_and_says_so(run, root):
    (only,) = against(run, None, root)

    assert (only.verdict, only.message) == ("pass", "nothing is published yet to compare with")


def test_a_run_of_another_source_or_whose_tables_are_gone_is_not_compared(run, root):
    (other,) = against(run, manifest_of(run, comparable={"source": "there"}), root)
    gone = {**run.table, "users": replace(run.table["users"], path="tables/users/gone.parquet")}
    (lost,) = against(run, manifest_of(run, inputs=gone), root)

    assert other.passed
    assert "another source" in other.message
    assert lost.passed
    assert "gone" in lost.message


def test_changed_settings_are_named_where_they_keep_a_drift_from_holding(run, root):
    now = replace(run, lists=lists(spread(100), root))
    last = manifest_of(run, settings={"model": {"system": "ease", "ridge": 1}, "gate": {"overlap": [0.5, 0.2]}})
    changed, same = (
        {item.name: item for item in against(now, last, root, {"model": {"system": "ease", "ridge": ridge}})}
        for ridge in (2, 1)
    )

    assert same["drift: overlap"].verdict == "hold"
    assert changed["drift: overlap"].verdict == "warn"
    assert changed["drift: overlap"].message.endswith("settings differ from those of run before: model")


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"overlap": (0.1, 0.2)}, r"gate.overlap is \[0.1, 0.2\].*at most as high"),
        ({"coverage_fall": (0.5, 0.2)}, r"gate.coverage_fall is \[0.5, 0.2\].*at least as high"),
        ({"sample_users": 0}, "gate.sample_users is 0"),
    ],
)
def test_limits_that_hold_before_they_warn_are_refused(limits, named):
    with pytest.raises(ValueError, match=named):
        GateConfig(**limits)
