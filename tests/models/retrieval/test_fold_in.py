"""What a kept model taught of its vectors."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from models.retrieval import fold_in

NUM_USERS, NUM_IMAGES, WIDTH = 400, 120, 6


@pytest.fixture(scope="module")
def model():
    """Favorites, and vectors that follow from them: users are their favorites' sum, images what is told of them.

    Of users the same is told as their favorites say.
    """
    rng = np.random.default_rng(0)
    content_If = csr_array(random_array((NUM_IMAGES, 10), density=0.5, rng=rng))
    images_Id = (content_If @ rng.standard_normal((10, WIDTH))).astype(np.float32)
    favorites_UI = csr_array(
        random_array((NUM_USERS, NUM_IMAGES), density=0.06, rng=rng).astype(bool).astype(np.float32)
    )
    favorites_UI.data[:] = 1
    sizes_U = np.sqrt(np.maximum(np.diff(favorites_UI.indptr), 1))[:, None]
    users_Ud = ((favorites_UI @ images_Id) / sizes_U @ rng.standard_normal((WIDTH, WIDTH))).astype(np.float32)
    told_Uf = csr_array((favorites_UI @ content_If) / sizes_U)
    return favorites_UI, users_Ud, images_Id, content_If, told_Uf


@pytest.fixture(scope="module")
def maps(model):
    """Learned from all users and images but the first ten of each."""
    favorites_UI, users_Ud, images_Id, content_If, told_Uf = model
    known = csr_array(favorites_UI[10:][:, 10:])
    usable = np.ones(NUM_IMAGES - 10, bool)
    return fold_in.learn_maps(known, users_Ud[10:], images_Id[10:], usable, content_If[10:], csr_array(told_Uf[10:]))


def fold_users(model, maps, rows) -> np.ndarray:
    favorites_UI, _, images_Id, _, told_Uf = model
    return fold_in.fold_users(maps, csr_array(favorites_UI[rows]), images_Id, csr_array(told_Uf[rows]))


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return (found * wanted).sum(axis=1) / np.maximum(norms, 1e-9)


def test_users_that_the_model_never_saw_get_the_vectors_that_their_favorites_say(model, maps):
    assert cosines(fold_users(model, maps, slice(10)), model[1][:10]).mean() > 0.95


def test_images_that_nobody_has_favorited_get_the_vectors_that_their_content_says(model, maps):
    _, users_Ud, images_Id, content_If, _ = model
    found = fold_in.fold_images(maps, csr_array(content_If[:10]), csr_array((10, NUM_USERS)), users_Ud)

    assert cosines(found, images_Id[:10]).mean() > 0.95


def test_the_more_favorites_an_image_has_the_less_its_content_counts(model, maps):
    favorites_UI, users_Ud, _, content_If, _ = model
    loved, nothing = csr_array(favorites_UI.T[:10].tocsr()), csr_array((10, NUM_USERS))
    alone = fold_in.fold_images(maps, csr_array((10, content_If.shape[1])), loved, users_Ud)
    told = fold_in.fold_images(maps, csr_array(content_If[:10]), loved, users_Ud) - alone
    untold = fold_in.fold_images(maps, csr_array(content_If[:10]), nothing, users_Ud) / maps.cold_item_scale
    share = np.linalg.norm(told, axis=1) / np.linalg.norm(untold, axis=1)

    assert np.allclose(share, fold_in.SHRINK / (np.diff(loved.indptr) + fold_in.SHRINK), rtol=1e-4)


def test_users_without_favorites_get_the_vectors_that_all_else_told_of_them_says(model, maps):
    _, users_Ud, images_Id, _, told_Uf = model
    found = fold_in.fold_users(maps, csr_array((10, NUM_IMAGES)), images_Id, csr_array(told_Uf[:10]))

    assert cosines(found, users_Ud[:10]).mean() > 0.95


def test_a_user_of_whom_nothing_is_told_gets_the_mean_user(model, maps):
    favorites_UI, users_Ud, images_Id, _, told_Uf = model
    active = np.flatnonzero(np.diff(csr_array(favorites_UI[10:][:, 10:]).indptr))

    found = fold_in.fold_users(maps, csr_array((1, NUM_IMAGES)), images_Id, csr_array((1, told_Uf.shape[1])))
    assert np.allclose(found, users_Ud[10:][active].mean(axis=0), rtol=1e-4)


def test_a_community_that_tells_nothing_of_its_users_can_be_kept_too(model):
    favorites_UI, users_Ud, images_Id, content_If, _ = model
    nothing = csr_array((NUM_USERS, 0))
    maps = fold_in.learn_maps(favorites_UI, users_Ud, images_Id, np.ones(NUM_IMAGES, bool), content_If, nothing)

    found = fold_in.fold_users(maps, csr_array((1, NUM_IMAGES)), images_Id, csr_array((1, 0)))
    assert np.allclose(found, maps.mean_user_d)


def test_a_vector_does_not_hang_on_who_else_is_folded_in(model, maps):
    together = fold_users(model, maps, slice(None))

    assert fold_users(model, maps, slice(7, 8)).tobytes() == together[7:8].tobytes()
