import numpy as np
from scipy.sparse import csr_array

from models.content.profiles import bag_of_clusters, interests, tag_counts
from models.settings.profiles import InterestConfig


def counts(*rows: list[int]) -> csr_array:
    return csr_array(np.array(rows, np.float32))


def test_users_without_tags_get_those_of_their_favorites_and_others_keep_their_own():
    user_tags = counts([0, 0, 0], [5, 0, 0], [0, 0, 0])
    favorites = csr_array(np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], bool))
    image_tags = csr_array(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool))
    counted, own = tag_counts(user_tags, favorites, image_tags)
    assert counted.dtype == np.float32
    assert counted.toarray().tolist() == [[1, 2, 0], [5, 0, 0], [0, 0, 0]]
    assert own.tolist() == [False, True, False]


def test_if_nobody_has_tags_all_are_those_of_favorites():
    favorites = counts([1, 0], [1, 1])
    counted, own = tag_counts(counts([0, 0], [0, 0]), favorites, counts([1, 0], [1, 1]))
    assert counted.toarray().tolist() == [[1, 0], [2, 1]]
    assert not own.any()


def test_a_bag_of_clusters_is_the_root_of_shares_and_of_unit_norm():
    labels = np.array([1, 0, 1, -1])
    bags = bag_of_clusters(counts([3, 1, 5, 7], [0, 2, 0, 0], [0, 0, 0, 4], [0, 0, 0, 0]), labels, 3)
    assert bags.dtype == np.float32
    np.testing.assert_allclose(bags.toarray(), np.sqrt([[1 / 9, 8 / 9, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]), rtol=1e-6)
    assert np.diff(bags.indptr).tolist() == [2, 1, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(bags.toarray()[:2], axis=1), 1, rtol=1e-6)


def test_an_interest_is_a_tag_that_the_user_has_more_than_the_community():
    counted = counts([10, 9, 0], [10, 0, 1], [10, 0, 0])
    kept, lift = interests(counted, InterestConfig())
    assert kept.toarray().tolist() == [[0, 9, 0], [0, 0, 1], [0, 0, 0]]  # everybody uses the first tag
    np.testing.assert_allclose(lift.toarray()[0, 1], (9 / 19) / (9 / 40), rtol=1e-6)
    np.testing.assert_array_equal(kept.indices, lift.indices)
    np.testing.assert_array_equal(kept.indptr, lift.indptr)


def test_the_papers_reading_takes_every_tag_of_the_user():
    counted = counts([10, 9, 0], [10, 0, 1], [10, 0, 0])
    kept, lift = interests(counted, InterestConfig(mode="all", max_interests=1, min_lift=9))
    assert (kept != counted).nnz == 0
    np.testing.assert_allclose(lift.toarray()[2], [40 / 30, 0, 0], rtol=1e-6)


def test_the_most_surprising_interests_are_kept_before_those_used_once():
    counted = counts([8, 1, 20, 0], [1, 0, 60, 30], [1, 0, 60, 30])
    kept, _ = interests(counted, InterestConfig(max_interests=1))
    assert kept.toarray()[0].tolist() == [8, 0, 0, 0]  # the second has the higher lift, but a count of 1


def test_ties_go_to_the_lower_column_and_rare_tags_need_min_count():
    counted = counts([2, 2, 2, 1, 0], [0, 0, 0, 0, 7])
    kept, _ = interests(counted, InterestConfig(max_interests=2))
    assert kept.toarray().tolist() == [[2, 2, 0, 0, 0], [0, 0, 0, 0, 7]]
    kept, _ = interests(counted, InterestConfig(min_count=2, mode="all"))
    assert np.diff(kept.indptr).tolist() == [3, 1]


def test_fast_ranking_agrees_with_a_loop_over_users():
    rng = np.random.default_rng(0)
    table = rng.poisson(0.5, (40, 30)) * rng.integers(1, 6, (40, 30))
    config = InterestConfig(max_interests=4, min_lift=1.2, min_count=2)
    kept, lift = interests(csr_array(table), config)
    total, users, tags = table.sum(), table.sum(1), table.sum(0)
    for user in range(len(table)):
        ranked = []
        for tag in np.flatnonzero(table[user] >= config.min_count):
            count, expected = table[user, tag], users[user] * tags[tag] / total
            if count / expected >= config.min_lift:
                ranked.append((-(count * np.log(count / expected) - count + expected), tag, count / expected))
        best = sorted(ranked)[: config.max_interests]
        assert kept[[user]].indices.tolist() == sorted(tag for _, tag, _ in best)
        np.testing.assert_allclose(lift[[user]].data, [ratio for *_, ratio in sorted(best, key=lambda x: x[1])])


def test_a_community_without_tags_has_no_interests():
    kept, lift = interests(csr_array((3, 0), dtype=np.float32), InterestConfig())
    assert kept.shape == lift.shape == (3, 0)
    assert kept.nnz == 0
