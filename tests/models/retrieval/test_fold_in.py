"""Ridge maps from favorites and side information to a model's vectors."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from models.retrieval import fold_in

NUM_USERS, NUM_IMAGES, WIDTH = 400, 120, 6


@pytest.fixture(scope="module")
def model():
    """Favorites, content, and vectors that follow from them: of users the favorites' sum, of images their content.

    The side information of users is the sum of their favorites' content.
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
    side_information_Uf = csr_array((favorites_UI @ content_If) / sizes_U)
    return favorites_UI, users_Ud, images_Id, content_If, side_information_Uf


@pytest.fixture(scope="module")
def maps(model):
    """Learned from all users and images but the first ten of each."""
    favorites_UI, users_Ud, images_Id, content_If, side_information_Uf = model
    known = csr_array(favorites_UI[10:][:, 10:])
    usable, side_information = np.ones(NUM_IMAGES - 10, bool), csr_array(side_information_Uf[10:])
    return fold_in.learn_maps(known, users_Ud[10:], images_Id[10:], usable, content_If[10:], side_information)


def fold_users(model, maps, rows) -> np.ndarray:
    favorites_UI, _, images_Id, _, side_information_Uf = model
    return fold_in.fold_users(maps, csr_array(favorites_UI[rows]), images_Id, csr_array(side_information_Uf[rows]))


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return (found * wanted).sum(axis=1) / np.maximum(norms, 1e-9)


def test_users_that_the_model_never_saw_get_vectors_from_their_favorites(model, maps):
    assert cosines(fold_users(model, maps, slice(10)), model[1][:10]).mean() > 0.95


def test_images_without_favorites_get_vectors_from_their_content(model, maps):
    _, users_Ud, images_Id, content_If, _ = model
    found = fold_in.fold_images(maps, csr_array(content_If[:10]), csr_array((10, NUM_USERS)), users_Ud)

    assert cosines(found, images_Id[:10]).mean() > 0.95


def test_the_more_favorites_an_image_has_the_less_its_content_counts(model, maps):
    favorites_UI, users_Ud, _, content_If, _ = model
    favorites, nothing = csr_array(favorites_UI.T[:10].tocsr()), csr_array((10, NUM_USERS))
    without_content = fold_in.fold_images(maps, csr_array((10, content_If.shape[1])), favorites, users_Ud)
    of_content = fold_in.fold_images(maps, csr_array(content_If[:10]), favorites, users_Ud) - without_content
    content_alone = fold_in.fold_images(maps, csr_array(content_If[:10]), nothing, users_Ud) / maps.cold_item_scale
    share = np.linalg.norm(of_content, axis=1) / np.linalg.norm(content_alone, axis=1)

    assert np.allclose(share, fold_in.SHRINK / (np.diff(favorites.indptr) + fold_in.SHRINK), rtol=1e-4)


def test_cold_users_get_vectors_from_their_side_information(model, maps):
    _, users_Ud, images_Id, _, side_information_Uf = model
    found = fold_in.fold_users(maps, csr_array((10, NUM_IMAGES)), images_Id, csr_array(side_information_Uf[:10]))

    assert cosines(found, users_Ud[:10]).mean() > 0.95


def test_a_cold_user_without_side_information_gets_the_mean_vector(model, maps):
    favorites_UI, users_Ud, images_Id, _, side_information_Uf = model
    active = np.flatnonzero(np.diff(csr_array(favorites_UI[10:][:, 10:]).indptr))

    nothing = csr_array((1, side_information_Uf.shape[1]))
    found = fold_in.fold_users(maps, csr_array((1, NUM_IMAGES)), images_Id, nothing)
    assert np.allclose(found, users_Ud[10:][active].mean(axis=0), rtol=1e-4)


def test_a_community_without_side_information_of_users_has_maps_too(model):
    favorites_UI, users_Ud, images_Id, content_If, _ = model
    nothing = csr_array((NUM_USERS, 0))
    maps = fold_in.learn_maps(favorites_UI, users_Ud, images_Id, np.ones(NUM_IMAGES, bool), content_If, nothing)

    found = fold_in.fold_users(maps, csr_array((1, NUM_IMAGES)), images_Id, csr_array((1, 0)))
    assert np.allclose(found, maps.mean_user_d)


def test_a_vector_does_not_depend_on_who_else_is_folded_in(model, maps):
    together = fold_users(model, maps, slice(None))

    assert fold_users(model, maps, slice(7, 8)).tobytes() == together[7:8].tobytes()
