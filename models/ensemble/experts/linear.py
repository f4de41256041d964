"""Experts by ridge regression, in closed form: on favorites, on sequences of favorites, on images' or users' content.

U users, I images, K warm images, R rows, f columns of content, A attributes of users, d dimensions, n favorites in the
order of users and times, D singular vectors.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, diags_array, hstack, vstack
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from models.community import Community
from models.ensemble.experts.base import Bounded, Expert
from models.ensemble.low_rank import shifted_inverse, singular_vectors
from models.sparse import commonest_columns, degree_normalised, has_entries, place_in_row, row_of_entry, with_energy

MAX_WORDS = 12_000  # tags and title words that are rows, the commonest
MAX_LEVERAGE = 0.95  # of an approximation: beyond, a small error of the leverage would be a large one of the score
MIN_SHARE_OF_OTHERS = 1e-6  # least share of a prediction that is taken to come from other images


@dataclass(frozen=True, kw_only=True)
class Ridge(Bounded):
    """A linear autoencoder that may not reproduce an image from itself (EASE, Steck, WWW 2019), over users and tags.

    Rows are users and, where `tags` is above 0, tags and title words, as if each had favored the images that carry it:
    an image is then predicted from its tags and title as well as from its favorites. Rows and columns are normalised by
    degree. Solved through the rows' Gram matrix where there are at most `exact_rows` rows; else in the leading singular
    vectors and to first order in the rest (`_approximate`), of which nothing dense is larger than the vectors.
    """

    strength: float = 150.0  # λ, in units of the mean squared entry
    normalise: float = 0.25  # exponent of the degrees
    tags: float = 1.0  # the squared entries of the tags' rows, as a share of those of the favorites
    recency: float = 10.0  # favorites after which an older one's weight has halved, in the query; where there are times
    exact_rows: int = 3000  # at most so many rows are solved exactly: the time grows with their square
    rank: int = 512  # singular vectors of the approximation

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where no user has a favorite, or it is to use tags and the community has none."""
        favorites_UI = community.favorites_UI
        if not favorites_UI.nnz:
            return None
        users_UI = degree_normalised(favorites_UI, self.normalise, self.normalise)
        energy = float((users_UI.data.astype(np.float64) ** 2).sum())
        rows_RI = users_UI
        if self.tags:
            words_IT = csr_array(hstack([community.image_tags_IT, community.words_IW], format="csr"))
            words_TI = csr_array(words_IT[:, commonest_columns(words_IT, MAX_WORDS, min_entries=2)].T)
            if not words_TI.nnz:
                return None
            words_TI = with_energy(degree_normalised(words_TI, self.normalise, self.normalise), self.tags * energy)
            rows_RI = csr_array(vstack([users_UI, words_TI], format="csr"))
        strength = self.strength * energy / favorites_UI.nnz
        queries_UI = degree_normalised(_weighted_by_recency(community, self.recency), self.normalise, self.normalise)
        num_rows = rows_RI.shape[0]
        if num_rows > self.exact_rows or num_rows * max(community.num_images, num_rows) > self.max_floats:
            return _approximate(rows_RI, queries_UI, strength, self.within(self.rank, *rows_RI.shape), seed)
        images_RI, leverage_I = _solve(rows_RI, strength)
        queries_UR = np.asarray((queries_UI @ rows_RI.T).toarray(), np.float32)
        images_RI *= _exclude_itself(leverage_I)
        return Expert(queries_UR, images_RI)


@dataclass(frozen=True, kw_only=True)
class Sequence(Bounded):
    """The next favorite: ridge regression from a user's last favorites to the next ones.

    As SLIST (Choi et al., WWW 2021), at each place in each user's history; on both sides of it weights decay with the
    number of favorites between.
    """

    window: int = 20  # favorites before, and after, each place
    decay: float = 10.0  # favorites after which a weight is 1/e
    strength: float = 500.0  # λ
    exact_images: int = 6000  # at most so many warm images are solved exactly: the time grows with their cube
    rank: int = 256  # singular vectors of the approximation

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where favorites have no times, no user has one, or they are too many."""
        if community.favorited_at_UI is None or not community.favorites_UI.nnz:
            return None
        if 2 * self.window * community.favorites_UI.nnz > self.max_floats:
            return None
        user, image, place, count = _histories(community)
        weights = np.exp(-np.arange(self.window) / self.decay).astype(np.float32)
        shape = (len(user), community.num_images)
        last_nI = _at_offsets(image, shape, [(-step, place >= step, weights[step]) for step in range(self.window)])
        next_nI = _at_offsets(
            image, shape, [(step, place + step < count[user], weights[step - 1]) for step in range(1, self.window + 1)]
        )
        warm = np.flatnonzero(community.popularity_I)
        last_nK = last_nI[:, warm]
        gram_KK, next_KI = csr_array(last_nK.T @ last_nK), csr_array(last_nK.T @ next_nI, dtype=np.float32)
        age = count[user] - 1 - place
        queries_UI = csr_array(
            (np.exp(-age / self.decay).astype(np.float32), (user, image)), shape=community.favorites_UI.shape
        )
        queries_UK = csr_array(queries_UI[:, warm])
        if len(warm) > self.exact_images:
            return self._approximate(gram_KK, queries_UK, next_KI, seed)
        dense_KK = gram_KK.toarray().astype(np.float32)
        dense_KK[np.diag_indices_from(dense_KK)] += self.strength
        factor = linalg.cho_factor(dense_KK, lower=True, overwrite_a=True)
        return Expert(queries_UK, linalg.cho_solve(factor, next_KI.toarray(), overwrite_b=True))

    def _approximate(self, gram_KK: csr_array, queries_UK: csr_array, next_KI: csr_array, seed: int) -> Expert:
        rank = self.within(self.rank, next_KI.shape[1], queries_UK.shape[0])
        found = singular_vectors(gram_KK.dot, gram_KK.dot, gram_KK.shape, rank, seed)
        inverse = shifted_inverse(found._replace(values_D=np.sqrt(found.values_D)), self.strength)
        dense = Expert(
            np.asarray((queries_UK @ inverse.right_CD) * inverse.excess_D, np.float32),
            np.ascontiguousarray((next_KI.T @ inverse.right_CD).T, np.float32),
        )
        return Expert(csr_array(queries_UK * np.float32(inverse.slope)), next_KI, dense)


@dataclass(frozen=True, kw_only=True)
class Content(Bounded):
    """Each user's taste in the content of images, by ridge regression; it scores cold images too.

    Columns are tags, title words, owners, the logarithm of the number of tags, visual features, and 1.
    """

    strength: float = 200.0  # λ
    rarity: float = 0.25  # discount of a tag, word or owner of many images
    appearance: float = 0.5  # weight of the visual features, where the other columns have 1
    max_words: int = 4096  # of tags, title words and owners each, the commonest
    exact_floats: int = 10**8  # at most so many of users times columns are solved exactly
    rank: int = 512  # singular vectors of the approximation

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where images have no content, or no user has a favorite."""
        content_If = self.matrix(community)
        if content_If is None or not community.favorites_UI.nnz:
            return None
        if community.num_users * content_If.shape[1] > self.exact_floats:
            return self._approximate(community, content_If, seed)
        warm = np.flatnonzero(community.popularity_I)
        warm_Kf = content_If[warm]
        gram_ff = np.asarray((warm_Kf.T @ warm_Kf).toarray(), np.float32)
        gram_ff[np.diag_indices_from(gram_ff)] += self.strength
        likes_fU = np.asarray((warm_Kf.T @ community.favorites_UI[:, warm].T).toarray(), np.float32)
        factor = linalg.cho_factor(gram_ff, lower=True, overwrite_a=True)
        tastes_fU = linalg.cho_solve(factor, likes_fU, overwrite_b=True)
        return Expert(np.ascontiguousarray(tastes_fU.T), csr_array(content_If.T))

    def _approximate(self, community: Community, content_If: csr_array, seed: int) -> Expert:
        """Nothing dense is larger than the singular vectors and the columns in which most images have an entry."""
        warm = np.flatnonzero(community.popularity_I)
        warm_Kf = csr_array(content_If[warm])
        rank = self.within(self.rank, community.num_users, community.num_images)
        found = singular_vectors(warm_Kf.dot, csr_array(warm_Kf.T).dot, warm_Kf.shape, rank, seed)
        inverse = shifted_inverse(found, self.strength)
        is_dense_f = np.bincount(content_If.indices, minlength=content_If.shape[1]) > content_If.shape[0] / 2
        tastes_Uf = csr_array(community.favorites_UI @ content_If, dtype=np.float32)
        slope = np.float32(inverse.slope)
        users_UR = np.hstack(
            [(tastes_Uf @ inverse.right_CD) * inverse.excess_D, slope * tastes_Uf[:, is_dense_f].toarray()]
        )
        images_IR = np.hstack([content_If @ inverse.right_CD, content_If[:, is_dense_f].toarray()])
        dense = Expert(np.asarray(users_UR, np.float32), np.ascontiguousarray(images_IR.T, np.float32))
        return Expert(slope * tastes_Uf[:, ~is_dense_f], csr_array(content_If[:, ~is_dense_f].T), dense)

    def matrix(self, community: Community) -> csr_array | None:
        """float32 (I, f): each image's content, the kinds of columns weighed against each other; None without any."""
        num_images = community.num_images
        parts = []
        for words in (community.image_tags_IT, community.words_IW, community.owned_IU):
            chosen = csr_array(words[:, commonest_columns(words, self.max_words, min_entries=2)])
            if chosen.nnz:
                parts.append(with_energy(degree_normalised(chosen, 0, self.rarity), num_images))
        if community.image_tags_IT.nnz:
            num_tags_I1 = np.log1p(np.diff(community.image_tags_IT.indptr))[:, None]
            parts.append(with_energy(csr_array(num_tags_I1.astype(np.float32)), num_images))
        if community.has_features_I.any():
            features_If = csr_array(community.centred_features_If)
            parts.append(with_energy(features_If, self.appearance**2 * num_images))
        if not parts:
            return None
        return csr_array(hstack([*parts, csr_array(np.ones((num_images, 1), np.float32))], format="csr"))


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Favorites from a user's tags, contacts and groups, by ridge regression: it scores for cold users too.

    As LoCo (Sedhain et al., Low-rank linear cold-start recommendation from social data, AAAI 2017), but with followers
    as well as contacts, and with an intercept.
    """

    dimensions: int = 128  # singular vectors of the users' attributes that the regression uses
    strength: float = 3.0  # λ
    rarity: float = 0.25  # discount of a tag, contact or group of many users
    max_words: int = 20_000  # of each kind of attribute, the commonest

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where users have no attributes, or no user has a favorite."""
        attributes_UA = self._attributes(community)
        if attributes_UA is None or not community.favorites_UI.nnz:
            return None
        _, _, right_dA = randomized_svd(attributes_UA, min(self.dimensions, *attributes_UA.shape), random_state=seed)
        intercept_U1 = np.ones((community.num_users, 1), np.float32)
        users_Ud = np.hstack([attributes_UA @ right_dA.T.astype(np.float32), intercept_U1])
        is_warm_U = has_entries(community.favorites_UI)
        warm_Ud = users_Ud[is_warm_U]
        gram_dd = warm_Ud.T @ warm_Ud
        gram_dd[np.diag_indices_from(gram_dd)] += np.append(np.full(len(gram_dd) - 1, self.strength), 0.01)
        likes_dI = np.asarray((community.favorites_UI[is_warm_U].T @ warm_Ud).T, np.float32)
        return Expert(users_Ud, linalg.solve(gram_dd, likes_dI, assume_a="pos"))

    def _attributes(self, community: Community) -> csr_array | None:
        """float32 (U, A): tags, contacts, followers and groups, each kind of unit length; None without any."""
        contacts_UU = community.contacts_UU
        parts = []
        for kind in (community.user_tags_UT.log1p(), contacts_UU, csr_array(contacts_UU.T), community.memberships_UG):
            chosen = csr_array(kind[:, commonest_columns(kind, self.max_words, min_entries=2)])
            if chosen.nnz:
                parts.append(normalize(degree_normalised(chosen, 0, self.rarity)))
        return csr_array(hstack(parts, format="csr"), dtype=np.float32) if parts else None


def _solve(rows_RI: csr_array, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """(AAᵀ + λ)⁻¹ A, float32 (R, I), and the leverage of each image, a · (AAᵀ + λ)⁻¹ a, float64 (I,)."""
    gram_RR = (rows_RI @ rows_RI.T).toarray().astype(np.float32)
    gram_RR[np.diag_indices_from(gram_RR)] += strength
    factor = linalg.cho_factor(gram_RR, lower=True, overwrite_a=True)
    dense_RI = rows_RI.toarray()
    solved_RI = linalg.cho_solve(factor, dense_RI)
    return solved_RI, np.einsum("ri,ri->i", dense_RI, solved_RI, dtype=np.float64)


def _approximate(rows_RI: csr_array, queries_UI: csr_array, strength: float, rank: int, seed: int) -> Expert:
    """The ridge regression, exact in the leading singular vectors and to first order in the rest.

    With P = AᵀA, a prediction is q P (P + λ)⁻¹, which turns an eigenvalue s of P into s / (s + λ). That is computed for
    the leading ones; for all others, small against λ, s / (λ + a typical s) takes its place, which needs no
    decomposition.
    """
    columns_IR = csr_array(rows_RI.T)
    found = singular_vectors(rows_RI.dot, columns_IR.dot, rows_RI.shape, rank, seed)
    inverse = shifted_inverse(found, strength)
    excess_D = inverse.eigenvalues_D * inverse.excess_D
    squares_I = np.asarray(rows_RI.power(2).sum(axis=0), np.float64).ravel()
    leverage_I = inverse.slope * squares_I + np.square(inverse.right_CD, dtype=np.float64) @ excess_D
    scales_I = _exclude_itself(np.minimum(leverage_I, MAX_LEVERAGE))
    dense = Expert(
        np.asarray((queries_UI @ inverse.right_CD) * excess_D, np.float32),
        np.ascontiguousarray(inverse.right_CD.T * scales_I),
    )
    common_UR = csr_array(queries_UI @ columns_IR, dtype=np.float32)
    scaled_RI = csr_array(rows_RI @ diags_array(np.float32(inverse.slope) * scales_I), dtype=np.float32)
    return Expert(common_UR, scaled_RI, dense)


def _exclude_itself(leverage_I: np.ndarray) -> np.ndarray:
    """float32 (I,): 1 / (1 - leverage), which turns a ridge prediction into one without self-loops."""
    return np.asarray(1 / np.maximum(1 - leverage_I, MIN_SHARE_OF_OTHERS), np.float32)


def _weighted_by_recency(community: Community, halving: float) -> csr_array:
    """The favorites, with weights that decay from 1 to a fifth with age; all 1 where the community has no times."""
    if community.favorited_at_UI is None:
        return community.favorites_UI
    user, image, place, count = _histories(community)
    weights = 0.2 + 0.8 * 0.5 ** ((count[user] - 1 - place) / halving)
    return csr_array((weights.astype(np.float32), (user, image)), shape=community.favorites_UI.shape)


def _histories(community: Community) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Favorites by user, then time: user rows, image rows and places in the user's history (n,); counts (U,)."""
    times_UI = community.favorited_at_UI
    assert times_UI is not None
    user = row_of_entry(times_UI)
    order = np.lexsort((times_UI.indices, times_UI.data, user))
    return user, times_UI.indices[order], place_in_row(times_UI), np.diff(times_UI.indptr)


def _at_offsets(
    image: np.ndarray, shape: tuple[int, int], offsets: list[tuple[int, np.ndarray, np.floating]]
) -> csr_array:
    """float32 (n, I): row j holds the images at the offsets from place j, each with its offset's weight.

    Args:
        image: image rows (n,) in the order of the places.
        offsets: each with bool (n,), whether that place is in the same history, and the weight.
    """
    rows, columns, values = [], [], []
    for offset, is_inside, weight in offsets:
        row = np.flatnonzero(is_inside)
        rows.append(row)
        columns.append(image[row + offset])
        values.append(np.full(len(row), weight, np.float32))
    return csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
