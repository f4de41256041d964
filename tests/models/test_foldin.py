"""What a kept model taught of its vectors."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from models import foldin

NUM_USERS, NUM_IMAGES, WIDTH = 400, 120, 6


@pytest.fixture(scope="module")
def model():
    """Favorites, and vectors that follow from them: users are their favorites' sum, images what is told of them."""
    rng = np.random.default_rng(0)
    content_If = csr_array(random_array((NUM_IMAGES, 10), density=0.5, rng=rng))
    images_Id = (content_If @ rng.standard_normal((10, WIDTH))).astype(np.float32)
    favorites_UI = csr_array(
        random_array((NUM_USERS, NUM_IMAGES), density=0.06, rng=rng).astype(bool).astype(np.float32)
    )
    favorites_UI.data[:] = 1
    sizes_U = np.sqrt(np.maximum(np.diff(favorites_UI.indptr), 1))[:, None]
    users_Ud = ((favorites_UI @ images_Id) / sizes_U @ rng.standard_normal((WIDTH, WIDTH))).astype(np.float32)
    return favorites_UI, users_Ud, images_Id, content_If


@pytest.fixture(scope="module")
def maps(model):
    """Learned from all users and images but the first ten of each."""
    favorites_UI, users_Ud, images_Id, content_If = model
    known = csr_array(favorites_UI[10:][:, 10:])
    return foldin.learn(known, users_Ud[10:], images_Id[10:], np.ones(NUM_IMAGES - 10, bool), content_If[10:])


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return (found * wanted).sum(axis=1) / np.maximum(norms, 1e-9)


def test_users_that_the_model_never_saw_get_the_vectors_that_their_favorites_say(model, maps):
    favorites_UI, users_Ud, images_Id, _ = model
    found = foldin.fold_users(maps, csr_array(favorites_UI[:10]), images_Id)

    assert cosines(found, users_Ud[:10]).mean() > 0.95


def test_images_that_nobody_has_favorited_get_the_vectors_that_their_content_says(model, maps):
    _, users_Ud, images_Id, content_If = model
    found = foldin.fold_images(maps, csr_array(content_If[:10]), csr_array((10, NUM_USERS)), users_Ud)

    assert cosines(found, images_Id[:10]).mean() > 0.95


def test_the_more_favorites_an_image_has_the_less_its_content_counts(model, maps):
    favorites_UI, users_Ud, _, content_If = model
    loved, nothing = csr_array(favorites_UI.T[:10].tocsr()), csr_array((10, NUM_USERS))
    alone = foldin.fold_images(maps, csr_array((10, content_If.shape[1])), loved, users_Ud)
    told = foldin.fold_images(maps, csr_array(content_If[:10]), loved, users_Ud) - alone
    untold = foldin.fold_images(maps, csr_array(content_If[:10]), nothing, users_Ud) / maps.newness
    share = np.linalg.norm(told, axis=1) / np.linalg.norm(untold, axis=1)

    assert np.allclose(share, foldin.SHRINK / (np.diff(loved.indptr) + foldin.SHRINK), rtol=1e-4)


def test_a_user_without_favorites_gets_the_mean_user(model, maps):
    _, users_Ud, images_Id, _ = model
    active = np.flatnonzero(np.diff(csr_array(model[0][10:][:, 10:]).indptr))

    found = foldin.fold_users(maps, csr_array((1, NUM_IMAGES)), images_Id)
    assert np.allclose(found, users_Ud[10:][active].mean(axis=0), rtol=1e-4)


def test_a_vector_does_not_hang_on_who_else_is_folded_in(model, maps):
    favorites_UI, _, images_Id, _ = model
    together = foldin.fold_users(maps, favorites_UI, images_Id)

    assert foldin.fold_users(maps, csr_array(favorites_UI[7:8]), images_Id).tobytes() == together[7:8].tobytes()
