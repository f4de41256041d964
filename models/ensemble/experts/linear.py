"""Experts in closed form: ridge regression over the graph, over sequences, over what images contain or users have.

U users, I images, R rows, f columns of content, A attributes of users, d dimensions, N places in the users' histories.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, diags_array, hstack, vstack
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from models.community import Community
from models.ensemble.experts.base import MAX_FLOATS, MAX_ROWS, Expert, commonest, normalised, with_energy
from models.ensemble.low_rank import singular_vectors

MOST_LEVERAGE = 0.95  # that an approximation is believed: beyond, a small error would be a large factor
LEAST_FROM_OTHERS = 1e-6  # the share of a prediction that comes from other images, where hardly any does


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """A linear autoencoder that may not reproduce an image from itself (EASE, Steck, WWW 2019), over more than users.

    Rows are users and, where `tags` is above 0, tags and title words, as if each had favored the images that carry it:
    an image is then predicted from what it is called as well as from who likes it. Rows and columns are normalised by
    degree. Solved through the rows' Gram matrix; only as many tags as fit into MAX_ROWS take part. A community with
    too many users for that gets an approximation (`_approximately`), of which nothing dense is larger than its vectors.
    """

    strength: float = 150.0  # λ, in units of the mean squared entry
    normalise: float = 0.25  # exponent of the degrees
    tags: float = 1.0  # the squared entries of the tags' rows, as a share of those of the favorites
    recency: float = 10.0  # favorites after which a favorite's weight has halved, in the query; where times are told
    rank: int = 256  # singular vectors of the approximation

    def fit(self, community: Community, seed: int) -> Expert | None:
        favorites_UI = community.favorites_UI
        is_large = community.num_users > MAX_ROWS or community.num_users * community.num_images > MAX_FLOATS
        users_UI = normalised(favorites_UI, self.normalise, self.normalise)
        energy = float((users_UI.data.astype(np.float64) ** 2).sum())
        rows_RI = users_UI
        if self.tags:
            most = MAX_ROWS if is_large else min(MAX_ROWS, MAX_FLOATS // community.num_images) - community.num_users
            said_IT = csr_array(hstack([community.image_tags_IT, community.words_IW], format="csr"))
            said_TI = csr_array(said_IT[:, commonest(said_IT, most, least=2)].T)
            if not said_TI.nnz:
                return None
            said_TI = with_energy(normalised(said_TI, self.normalise, self.normalise), self.tags * energy)
            rows_RI = csr_array(vstack([users_UI, said_TI], format="csr"))
        strength = self.strength * energy / max(favorites_UI.nnz, 1)
        queries_UI = normalised(_recent(community, self.recency), self.normalise, self.normalise)
        if is_large:
            return _approximately(rows_RI, queries_UI, strength, self.rank, seed)
        images_RI, leverage_I = _solve(rows_RI, strength)
        queries_UR = np.asarray((queries_UI @ rows_RI.T).toarray(), np.float32)
        images_RI *= _without_itself(leverage_I)
        return Expert(queries_UR, images_RI)


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """What is favored soon after: ridge regression from the last favorites to the next ones.

    As SLIST (Choi et al., WWW 2021), on each place in each user's history; weights fall off by the number of favorites
    between, on both sides.
    """

    window: int = 20  # favorites looked at before and after each place
    decay: float = 10.0  # favorites after which a weight is 1/e
    strength: float = 500.0  # λ

    def fit(self, community: Community, seed: int) -> Expert | None:
        if community.favorited_at_UI is None or community.num_images**2 > MAX_FLOATS:
            return None
        user, image, place, count = _in_order(community)
        weights = np.exp(-np.arange(self.window) / self.decay).astype(np.float32)
        shape = (len(user), community.num_images)
        before_NI = _near(image, shape, [(-step, place >= step, weights[step]) for step in range(self.window)])
        after_NI = _near(
            image, shape, [(step, place + step < count[user], weights[step - 1]) for step in range(1, self.window + 1)]
        )
        known = np.flatnonzero(community.popularity_I)
        before_NK = before_NI[:, known]
        gram_KK = (before_NK.T @ before_NK).toarray().astype(np.float32)
        gram_KK[np.diag_indices_from(gram_KK)] += self.strength
        factor = linalg.cho_factor(gram_KK, lower=True, overwrite_a=True)
        next_KI = linalg.cho_solve(factor, (before_NK.T @ after_NI).toarray().astype(np.float32), overwrite_b=True)
        age = count[user] - 1 - place
        queries_UI = csr_array(
            (np.exp(-age / self.decay).astype(np.float32), (user, image)), shape=community.favorites_UI.shape
        )
        return Expert(csr_array(queries_UI[:, known]), next_KI)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Each user's taste in what images are called and look like, by ridge regression; it knows cold images too.

    Columns are tags, title words, uploaders, how much is said of the image, visual features, and 1.
    """

    strength: float = 200.0  # λ
    rarity: float = 0.25  # how much less a word counts that many images carry
    looks: float = 0.5  # weight of the visual features beside the words, which have 1
    max_words: int = 4096  # of tags, title words and uploaders each, the commonest

    def fit(self, community: Community, seed: int) -> Expert | None:
        content_If = self._content(community)
        if content_If is None:
            return None
        warm = np.flatnonzero(community.popularity_I)
        warm_Wf = content_If[warm]
        gram_ff = np.asarray((warm_Wf.T @ warm_Wf).toarray(), np.float32)
        gram_ff[np.diag_indices_from(gram_ff)] += self.strength
        likes_fU = np.asarray((warm_Wf.T @ community.favorites_UI[:, warm].T).toarray(), np.float32)
        factor = linalg.cho_factor(gram_ff, lower=True, overwrite_a=True)
        tastes_fU = linalg.cho_solve(factor, likes_fU, overwrite_b=True)
        return Expert(np.ascontiguousarray(tastes_fU.T), csr_array(content_If.T))

    def _content(self, community: Community) -> csr_array | None:
        num_images = community.num_images
        parts = []
        for words in (community.image_tags_IT, community.words_IW, community.owned_IU):
            chosen = csr_array(words[:, commonest(words, self.max_words, least=2)])
            if chosen.nnz:
                parts.append(with_energy(normalised(chosen, 0, self.rarity), num_images))
        if community.image_tags_IT.nnz:
            said_I = np.log1p(np.diff(community.image_tags_IT.indptr))[:, None]
            parts.append(with_energy(csr_array(said_I.astype(np.float32)), num_images))
        if community.has_features_I.any():
            looks_If = csr_array(community.centred_features_If)
            parts.append(with_energy(looks_If, self.looks**2 * num_images))
        if not parts:
            return None
        return csr_array(hstack([*parts, csr_array(np.ones((num_images, 1), np.float32))], format="csr"))


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What users of such tags, contacts and groups favor: ridge regression from what is known of users to favorites.

    It needs no favorite of the user asked about. As LoCo (Sedhain et al., Low-rank linear cold-start recommendation
    from social data, AAAI 2017), but with a user's followers beside whom the user follows, and an intercept.
    """

    dimensions: int = 128  # singular vectors of what is known of users that the regression starts from
    strength: float = 3.0  # λ
    rarity: float = 0.25  # how much less a tag, contact or group counts that many users have
    most: int = 20_000  # of each kind, the commonest

    def fit(self, community: Community, seed: int) -> Expert | None:
        """None where nothing but favorites is known of users."""
        known_UA = self._known(community)
        if known_UA is None or not community.favorites_UI.nnz:
            return None
        _, _, right_dA = randomized_svd(known_UA, min(self.dimensions, *known_UA.shape), random_state=seed)
        intercept_U1 = np.ones((community.num_users, 1), np.float32)
        users_Ud = np.hstack([known_UA @ right_dA.T.astype(np.float32), intercept_U1])
        has_favorites_U = np.diff(community.favorites_UI.indptr) > 0
        learned_Ud = users_Ud[has_favorites_U]
        gram_dd = learned_Ud.T @ learned_Ud
        gram_dd[np.diag_indices_from(gram_dd)] += np.append(np.full(len(gram_dd) - 1, self.strength), 0.01)
        liked_dI = np.asarray((community.favorites_UI[has_favorites_U].T @ learned_Ud).T, np.float32)
        return Expert(users_Ud, linalg.solve(gram_dd, liked_dI, assume_a="pos"))

    def _known(self, community: Community) -> csr_array | None:
        """float32 (U, A): tags, contacts either way and groups side by side, each kind of unit length."""
        contacts_UU = community.contacts_UU
        parts = []
        for kind in (community.user_tags_UT.log1p(), contacts_UU, csr_array(contacts_UU.T), community.memberships_UG):
            chosen = csr_array(kind[:, commonest(kind, self.most, least=2)])
            if chosen.nnz:
                parts.append(normalize(normalised(chosen, 0, self.rarity)))
        return csr_array(hstack(parts, format="csr"), dtype=np.float32) if parts else None


def _solve(rows_RI: csr_array, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """(AAᵀ + λ)⁻¹ A, float32 (R, I), and the leverage of each image, a · (AAᵀ + λ)⁻¹ a, float64 (I,)."""
    gram_RR = (rows_RI @ rows_RI.T).toarray().astype(np.float32)
    gram_RR[np.diag_indices_from(gram_RR)] += strength
    factor = linalg.cho_factor(gram_RR, lower=True, overwrite_a=True)
    dense_RI = rows_RI.toarray()
    solved_RI = linalg.cho_solve(factor, dense_RI)
    return solved_RI, np.einsum("ri,ri->i", dense_RI, solved_RI, dtype=np.float64)


def _approximately(rows_RI: csr_array, queries_UI: csr_array, strength: float, rank: int, seed: int) -> Expert:
    """The ridge regression with the leading singular vectors exact and the rest to first order.

    With P = AᵀA, a prediction is q P (P + λ)⁻¹. An eigenvalue s of P becomes s / (s + λ): for the leading ones that is
    done, and for all others, which are small beside λ, s / (λ + a typical s) stands in, which takes no decomposition.
    """
    columns_IR = csr_array(rows_RI.T)
    leading = singular_vectors(rows_RI.dot, columns_IR.dot, rows_RI.shape, rank, seed)
    eigenvalues_D = leading.values_D.astype(np.float64) ** 2
    slope = 1 / (strength + eigenvalues_D[-1] / 2)
    excess_D = eigenvalues_D / (eigenvalues_D + strength) - slope * eigenvalues_D
    own_I = np.asarray(rows_RI.power(2).sum(axis=0), np.float64).ravel()
    leverage_I = slope * own_I + np.square(leading.right_CD, dtype=np.float64) @ excess_D
    scales_I = _without_itself(np.minimum(leverage_I, MOST_LEVERAGE))
    dense = Expert(
        np.asarray((queries_UI @ leading.right_CD) * excess_D, np.float32),
        np.ascontiguousarray(leading.right_CD.T * scales_I),
    )
    met_UR = csr_array(queries_UI @ columns_IR, dtype=np.float32)
    return Expert(met_UR, csr_array(rows_RI @ diags_array(np.float32(slope) * scales_I), dtype=np.float32), dense)


def _without_itself(leverage_I: np.ndarray) -> np.ndarray:
    """float32 (I,): what takes out of a prediction that which comes from the image's own entry (no self-loops)."""
    return np.asarray(1 / np.maximum(1 - leverage_I, LEAST_FROM_OTHERS), np.float32)


def _recent(community: Community, halving: float) -> csr_array:
    """The favorites, a user's older ones at down to a fifth of the weight; as they are where no time is told."""
    if community.favorited_at_UI is None:
        return community.favorites_UI
    user, image, place, count = _in_order(community)
    weights = 0.2 + 0.8 * 0.5 ** ((count[user] - 1 - place) / halving)
    return csr_array((weights.astype(np.float32), (user, image)), shape=community.favorites_UI.shape)


def _in_order(community: Community) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Favorites by user, then time: user rows, image rows and places in the user's history (n,); counts (U,)."""
    times_UI = community.favorited_at_UI
    assert times_UI is not None
    count = np.diff(times_UI.indptr)
    user = np.repeat(np.arange(len(count)), count)
    order = np.lexsort((times_UI.indices, times_UI.data, user))
    place = np.arange(len(user)) - times_UI.indptr[user]
    return user, times_UI.indices[order], place, count


def _near(image: np.ndarray, shape: tuple[int, int], steps: list[tuple[int, np.ndarray, np.floating]]) -> csr_array:
    """Row n holds the images so many places from place n, each with its step's weight."""
    rows, columns, values = [], [], []
    for step, inside, weight in steps:
        row = np.flatnonzero(inside)
        rows.append(row)
        columns.append(image[row + step])
        values.append(np.full(len(row), weight, np.float32))
    return csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
