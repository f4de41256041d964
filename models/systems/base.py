"""The interface of every recommender: settings in, fitted on a community, a score for every user and image out.

U users, I images, N users to score, d dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
from scipy.sparse import csr_array

from models.community import Community

ConfigT = TypeVar("ConfigT")
SYSTEMS: dict[str, "type[System[Any]]"] = {}  # by name; a system is registered when its file is imported


class Vectors(NamedTuple):
    """Vectors of users and images, float32, whose inner product is the score."""

    users_Ud: np.ndarray
    images_Id: np.ndarray
    usable_I: np.ndarray  # bool; images that the system cannot score have vectors of zeros and are never listed


class System(ABC, Generic[ConfigT]):
    """A recommender. Subclasses set the class variables, and implement `fit`, `score`, `state` and `restore`."""

    name: ClassVar[str]
    source: ClassVar[str]  # the paper, and the section or equation
    needs: ClassVar[tuple[str, ...]] = ()  # signals of `models.community.SIGNALS` without which it cannot run
    wants: ClassVar[tuple[str, ...]] = ()  # of pixels, features and profiles, which take long, those it uses if present
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {}  # settings to tune as `configure` names them, and values to try
    Config: ClassVar[type]  # a frozen keyword-only dataclass of the settings, or of sections of them

    def __init__(self, config: ConfigT | None = None, seed: int = 0):
        self.config: ConfigT = self.Config() if config is None else config
        self.seed = seed

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        if "name" in vars(cls):
            if cls.name in SYSTEMS and SYSTEMS[cls.name].__module__ != cls.__module__:
                raise ValueError(
                    f"two systems are called {cls.name!r}, of {SYSTEMS[cls.name].__module__} and of {cls.__module__}; "
                    f"rename one of them"
                )
            SYSTEMS[cls.name] = cls

    def lacking(self, community: Community) -> list[str]:
        """The signals that the system needs and the community lacks."""
        return [signal for signal in self.needs if not community.has(signal)]

    @abstractmethod
    def fit(self, community: Community) -> None:
        """Learn from a community. The same community, settings and seed give the same scores on one machine."""

    def refit(self, community: Community, measured: Self) -> None:
        """Learn from a community that has more favorites than the one that `measured`, of equal settings, learned from.

        Here from nothing; a system may keep what it has found by holding favorites out.
        """
        self.fit(community)

    @abstractmethod
    def score(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I), higher is better; -inf for images that the system cannot score.

        A user's scores do not depend on the other users.
        """

    @property
    def vectors(self) -> Vectors | None:
        """The vectors whose inner product is the score; None for a system whose score is none."""
        return None

    explains: ClassVar[bool] = False  # whether `users_by_signal` says what each signal adds
    users_by_signal: Mapping[str, np.ndarray] = MappingProxyType({})
    """What each signal adds to the users' vectors (U, d), by its name; empty where the system cannot say."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """The arrays that scoring needs, by name."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Become the fitted system with this state."""


class InnerProduct(System[ConfigT]):
    """A system whose score is one inner product; subclasses only implement `fit`, which sets `fitted`."""

    fitted: Vectors

    @property
    def vectors(self) -> Vectors:
        return self.fitted

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = self.fitted.users_Ud[users_N] @ self.fitted.images_Id.T
        scores_NI[:, ~self.fitted.usable_I] = -np.inf
        return np.asarray(scores_NI, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return self.fitted._asdict()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.fitted = Vectors(**state)


def vectors_of(users_Ud: np.ndarray, images_Id: np.ndarray, usable_I: np.ndarray | None = None) -> Vectors:
    """Contiguous float32 `Vectors`; images that are not usable get vectors of zeros. None: all are usable."""
    usable = np.ones(len(images_Id), bool) if usable_I is None else usable_I
    return Vectors(
        np.ascontiguousarray(users_Ud, np.float32),
        np.ascontiguousarray(np.where(usable[:, None], images_Id, 0), np.float32),
        usable,
    )


def pack_sparse(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """A sparse matrix as arrays of a state."""
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
        f"{name}.shape": np.array(matrix.shape),
    }


def unpack_sparse(name: str, state: dict[str, np.ndarray]) -> csr_array:
    """The matrix that `pack_sparse` packed."""
    data, indices, indptr, shape = (state[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape"))
    return csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
