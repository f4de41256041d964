"""Collaborative Deep Learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.community import Community
from models.settings.collaborative_dl import CollaborativeDLConfig
from models.systems.collaborative_dl import CollaborativeDL, solve
from tests.models.systems.contract import NUM_IMAGES, SystemContract, two_tastes

SMALL = {"K": 8, "hidden": 16, "pretraining": 5, "rounds": 5, "epochs": 2, "batch_images": 16}


class TestCollaborativeDL(SystemContract):
    system = "collaborative_dl"
    settings = SMALL


def test_vectors_solve_the_systems_of_section_3_4() -> None:
    rng = np.random.default_rng(0)
    favorites_UI = csr_array((rng.random((9, 7)) < np.linspace(0, 1, 9)[:, None]).astype(np.float32))
    images_IK, means_UK = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(9, 3)).astype(np.float32)
    config = CollaborativeDLConfig(a=1.5, b=0.2)
    solved = solve(favorites_UI, torch.from_numpy(images_IK), torch.from_numpy(means_UK), 0.7, config).numpy()
    for user, favored in enumerate(favorites_UI.toarray()):
        C = np.diag(np.where(favored > 0, 1.5, 0.2))
        left = images_IK.T @ C @ images_IK + 0.7 * np.eye(3)
        np.testing.assert_allclose(
            solved[user], np.linalg.solve(left, images_IK.T @ C @ favored + 0.7 * means_UK[user]), rtol=1e-4, atol=1e-5
        )


def test_rows_solved_in_many_small_groups_are_the_same(monkeypatch) -> None:
    favorites_UI = two_tastes().favorites_UI
    images_IK = torch.randn(NUM_IMAGES, 4, generator=torch.Generator().manual_seed(0))
    together = solve(favorites_UI, images_IK, None, 0.1, CollaborativeDLConfig())
    monkeypatch.setattr("models.systems.collaborative_dl.GATHERED_FLOATS", 1)
    torch.testing.assert_close(solve(favorites_UI, images_IK, None, 0.1, CollaborativeDLConfig()), together)


def test_an_image_without_favorites_is_scored_by_its_content() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[:, [20, 50]] = 0  # one red, one blue
    system = CollaborativeDL(CollaborativeDLConfig(**SMALL))
    system.fit(replace(community, favorites_UI=csr_array(favorites)))
    scores = system.score(np.array([0, 23]))
    assert scores[0, 20] > scores[0, 50]
    assert scores[1, 50] > scores[1, 20]


def test_an_image_without_favorites_and_content_is_not_scored() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[:, 20] = 0
    features = community.features_If.copy()
    features[20] = 0
    bare = replace(community, favorites_UI=csr_array(favorites), features_If=features).without("tags", "titles")
    system = CollaborativeDL(CollaborativeDLConfig(**SMALL))
    system.fit(bare)
    assert np.flatnonzero(~np.isfinite(system.score(np.array([0]))[0])).tolist() == [20]


def test_without_any_content_it_is_the_factorisation_alone() -> None:
    system = CollaborativeDL(CollaborativeDLConfig(**SMALL))
    system.fit(two_tastes().without("features", "tags", "titles"))
    scores = system.score(np.array([0]))[0]
    assert scores[:30].mean() > scores[30:].mean()


@pytest.fixture(scope="module")
def faint_taste() -> Community:
    """Even users like even images, odd ones odd ones; it shows in one faint feature among seven loud ones.

    Image 60 looks like image 0; images 60 to 79 have no favorite.
    """
    rng = np.random.default_rng(0)
    is_own_UI = (np.arange(24) % 2)[:, None] == np.arange(80) % 2
    likes_UI = is_own_UI & (rng.random((24, 80)) < 0.7) & (np.arange(80) < 60)
    features_If = 3 * rng.normal(size=(80, 8)).astype(np.float32)
    features_If[:, 0] = np.arange(80) % 2 - 0.5
    features_If[60] = features_If[0]
    return Community(csr_array(likes_UI.astype(np.float32)), features_If=features_If)


def test_lambda_v_pulls_an_images_vector_to_the_code_of_its_content(faint_taste: Community) -> None:
    apart = {}
    for lambda_v in (1.0, 1000.0):
        config = CollaborativeDLConfig(K=4, hidden=8, lambda_v=lambda_v, rounds=3, pretraining=2)
        system = CollaborativeDL(config)
        system.fit(faint_taste)
        warm_K, cold_K = system.vectors.images_Id[[0, 60]]
        apart[lambda_v] = np.linalg.norm(warm_K - cold_K) / np.linalg.norm(cold_K)
    assert apart[1000.0] < 0.1 < 1 < apart[1.0]


def test_the_code_learns_what_tells_tastes_however_faint_it_is(faint_taste: Community) -> None:
    """Reconstruction alone would spend the code's two dimensions on the loud features."""
    config = CollaborativeDLConfig(
        **{"K": 2, "hidden": 8, "lambda_n": 0.01, "lambda_v": 10.0, "pretraining": 5, "rounds": 20, "epochs": 3},
        **{"batch_images": 20, "learning_rate": 0.01},
    )
    system = CollaborativeDL(config)
    system.fit(faint_taste)
    scores_UI = system.score(np.arange(24))[:, 60:]
    own, other = (
        np.where((np.arange(24) % 2)[:, None], scores_UI[:, is_odd::2], scores_UI[:, 1 - is_odd :: 2])
        for is_odd in (1, 0)
    )
    assert (own[:, :, None] > other[:, None]).mean() > 0.9
