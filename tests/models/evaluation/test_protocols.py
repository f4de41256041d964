from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array, vstack

from models.evaluation.protocols import (
    Split,
    conceal,
    draw_distractors,
    mix,
    mixture_metrics,
    popularity_vectors,
    random_vectors,
)
from models.retrieval.ranking import score_pairs, top_k
from models.settings.protocols import ProtocolConfig

PAPER = ProtocolConfig(lower_to_community=False)


def long_tailed(num_users: int, num_images: int, seed: int = 0) -> csr_array:
    """A world without taste: users favor 30 to 220 images by popularity alone, as 1 / (rank + 50)."""
    rng = np.random.default_rng(seed)
    weights = np.log(1 / (np.arange(num_images) + 50))
    order = np.argsort(-(weights + rng.gumbel(size=(num_users, num_images))), axis=1)
    favorites = np.zeros((num_users, num_images), bool)
    for user, count in enumerate(rng.integers(30, 221, num_users)):
        favorites[user, order[user, :count]] = True
    return csr_array(favorites)


@pytest.fixture(scope="module")
def favorites() -> csr_array:
    return long_tailed(400, 5000)


@pytest.fixture(scope="module")
def split(favorites: csr_array) -> Split:
    return conceal(favorites, PAPER)


def usable(favorites: csr_array) -> np.ndarray:
    return np.ones(favorites.shape[1], bool)


def mean_precision(scores: np.ndarray, split: Split) -> np.ndarray:
    return np.asarray(mixture_metrics(scores, split).precision.mean(axis=0))


def test_users_with_40_to_200_favorites_have_20_of_them_concealed(favorites: csr_array, split: Split) -> None:
    counts = np.diff(favorites.indptr)
    assert split.test_users.tolist() == [user for user in range(400) if 40 <= counts[user] <= 200]
    concealed = np.diff(split.concealed.indptr)
    assert (concealed[split.test_users] == 20).all()
    assert concealed.sum() == 20 * len(split.test_users)


def test_training_and_concealed_favorites_are_all_favorites_and_share_none(favorites: csr_array, split: Split) -> None:
    np.testing.assert_array_equal((split.training + split.concealed).toarray(), favorites.toarray())
    assert split.training.nnz + split.concealed.nnz == favorites.nnz


def test_every_favorite_is_concealed_equally_often() -> None:
    favorites = csr_array(np.ones((3000, 40), bool))
    times = conceal(favorites, PAPER).concealed.sum(axis=0)
    assert abs(times - 1500).max() < 5 * np.sqrt(750)  # five standard deviations


def test_a_users_concealed_favorites_and_distractors_do_not_depend_on_other_users(
    favorites: csr_array, split: Split
) -> None:
    distractors = draw_distractors(favorites, split, usable(favorites), matched=False)
    more = csr_array(vstack([favorites[:200], long_tailed(300, 5000, seed=1)]))
    split_of_more = conceal(more, PAPER)
    distractors_of_more = draw_distractors(more, split_of_more, usable(more), matched=False)
    tested = int((split.test_users < 200).sum())
    np.testing.assert_array_equal(split_of_more.concealed[:200].toarray(), split.concealed[:200].toarray())
    np.testing.assert_array_equal(distractors_of_more[:tested], distractors[:tested])


def test_another_seed_conceals_other_favorites(favorites: csr_array, split: Split) -> None:
    other = conceal(favorites, replace(PAPER, seed=1))
    assert (other.concealed != split.concealed).nnz > 0


@pytest.mark.parametrize(
    ("num_favorites", "min_favorites", "num_concealed"),
    [(40, 40, 20), (35, 30, 15), (20, 20, 10), (12, 10, 5), (5, 5, 2), (3, 5, 2)],
)
def test_thresholds_go_down_to_the_community(num_favorites: int, min_favorites: int, num_concealed: int) -> None:
    favorites = csr_array(np.repeat(np.arange(300) < num_favorites, 100).reshape(300, 100).T)
    split = conceal(favorites, ProtocolConfig())
    thresholds = split.thresholds
    assert (thresholds.min_favorites, thresholds.num_concealed) == (min_favorites, num_concealed)
    assert (thresholds.num_others, thresholds.max_k) == (4 * num_concealed, num_concealed)
    assert len(split.test_users) == (100 if num_favorites >= 5 else 0)


def test_thresholds_stay_where_lowering_is_off_or_enough_users_qualify() -> None:
    favorites = csr_array(np.ones((99, 35), bool))
    assert conceal(favorites, PAPER).thresholds == PAPER
    few = ProtocolConfig(min_favorites=35, num_concealed=5, num_others=10, max_k=15, min_users=99)
    assert conceal(favorites, few).thresholds == few


@pytest.mark.parametrize("matched", [False, True])
def test_distractors_are_distinct_usable_and_no_favorites(favorites: csr_array, split: Split, matched: bool) -> None:
    can_use = np.random.default_rng(0).random(5000) < 0.9
    distractors = draw_distractors(favorites, split, can_use, matched=matched)
    assert distractors.shape == (len(split.test_users), 80)
    assert can_use[distractors].all()
    for user, of_user in zip(split.test_users, distractors, strict=True):
        assert len(set(of_user.tolist())) == 80
        assert not set(of_user.tolist()) & set(favorites[[user]].indices.tolist())


@pytest.mark.parametrize("matched", [False, True])
def test_distractors_are_all_images_that_are_left_if_just_enough_are(matched: bool) -> None:
    favorites = csr_array(np.tile(np.arange(120) < 40, (100, 1)))
    split = conceal(favorites, PAPER)
    distractors = draw_distractors(favorites, split, np.ones(120, bool), matched=matched)
    np.testing.assert_array_equal(np.sort(distractors, axis=1), np.tile(np.arange(40, 120), (100, 1)))
    with pytest.raises(ValueError, match="user row 0: 79 usable images are no favorites"):
        draw_distractors(favorites, split, np.arange(120) < 119, matched=matched)


def test_uniform_distractors_are_sampled_uniformly() -> None:
    favorites = csr_array(np.tile(np.arange(240) < 40, (2000, 1)))
    distractors = draw_distractors(favorites, conceal(favorites, PAPER), np.ones(240, bool), matched=False)
    times = np.bincount(distractors.ravel(), minlength=240)[40:]
    assert abs(times - 800).max() < 5 * np.sqrt(480)  # 2000 draws of 80 in 200: five standard deviations


def test_popularity_ranks_uniform_mixtures_well_and_can_only_guess_in_matched_ones() -> None:
    favorites = long_tailed(1000, 5000)
    split = conceal(favorites, PAPER)
    users, images = popularity_vectors(split.training)
    uniform, matched = (
        mean_precision(score_pairs(users[split.test_users], images, mix(split, distractors)), split)
        for distractors in (
            draw_distractors(favorites, split, usable(favorites), matched=matched) for matched in (False, True)
        )
    )
    assert uniform[19] > 0.4
    assert matched[19] == pytest.approx(0.2, abs=0.01)
    assert matched[4] == pytest.approx(0.2, abs=0.03)


def test_equal_scores_have_the_precision_of_random(favorites: csr_array, split: Split) -> None:
    metrics = mixture_metrics(np.zeros((len(split.test_users), 100)), split)
    np.testing.assert_allclose(metrics.precision.mean(axis=0)[4:], 0.2, atol=0.03)
    assert metrics.recall[:, 19].mean() == pytest.approx(0.2, abs=0.02)


def test_perfect_scores_have_precision_1(split: Split) -> None:
    metrics = mixture_metrics(np.tile(np.arange(100) < 20, (len(split.test_users), 1)).astype(np.float32), split)
    assert (metrics.precision == 1).all()
    np.testing.assert_allclose(metrics.recall[0], np.arange(1, 21) / 20)


def test_concealed_images_that_cannot_be_scored_rank_last(split: Split) -> None:
    scores = np.where(np.arange(100) < 20, -np.inf, np.zeros((len(split.test_users), 1)))
    assert (mixture_metrics(scores, split).precision == 0).all()
    scores[3, 50] = np.nan
    with pytest.raises(ValueError, match=f"user row {split.test_users[3]}: a score is nan"):
        mixture_metrics(scores, split)


def test_the_mixture_begins_with_the_concealed_images(favorites: csr_array, split: Split) -> None:
    images = mix(split, draw_distractors(favorites, split, usable(favorites), matched=True))
    expected = [split.concealed[[user]].indices for user in split.test_users]
    np.testing.assert_array_equal(images[:, :20], expected)


def test_nobody_to_test_gives_empty_results() -> None:
    favorites = csr_array(np.ones((3, 4), bool))
    split = conceal(favorites, PAPER)
    for matched in (False, True):
        images = mix(split, draw_distractors(favorites, split, np.ones(4, bool), matched=matched))
        assert mixture_metrics(np.zeros(images.shape), split).precision.shape == (0, 20)


def test_popularity_is_the_number_of_training_favorites() -> None:
    users, images = popularity_vectors(csr_array(np.array([[0, 1, 1], [0, 1, 0]])))
    assert top_k(users, images, 3).rows.tolist() == [[1, 2, 0]] * 2
    assert np.floor(users @ images.T).tolist() == [[0, 2, 1]] * 2


def test_popularity_ranks_equally_popular_images_at_random_and_not_by_row() -> None:
    _, images = popularity_vectors(csr_array((1, 1000)))
    order = np.argsort(-images[:, 0])
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


def test_random_lists_all_images_about_equally_often() -> None:
    users, images = random_vectors(3000, 30, seed=0)
    times = np.bincount(top_k(users, images, 3).rows.ravel(), minlength=30)
    assert abs(times - 300).max() < 100
    np.testing.assert_array_equal(random_vectors(10, 30, seed=0)[0], users[:10])


def test_numbers_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="num_concealed 40 < min_favorites 40"):
        ProtocolConfig(num_concealed=40)
    with pytest.raises(ValueError, match="num_others 70 is no multiple of num_concealed 20"):
        ProtocolConfig(num_others=70)
    with pytest.raises(ValueError, match="max_k 101 is not within the 100 mixed images"):
        ProtocolConfig(max_k=101)
    with pytest.raises(ValueError, match="max_k 0 is not within"):
        ProtocolConfig(max_k=0)
    assert ProtocolConfig(max_k=1).max_k == 1
