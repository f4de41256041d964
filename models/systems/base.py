"""What every recommender is: settings in, fitted on a community, a score for every user and image out.

U users, I images, N users asked about, d dimensions.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from scipy.sparse import csr_array

from models.community import Community

ConfigT = TypeVar("ConfigT")
SYSTEMS: dict[str, "type[System[Any]]"] = {}  # by name; importing a system's file is what enters it


class Vectors(NamedTuple):
    """Float32 vectors whose inner product is the score."""

    users_Ud: np.ndarray
    images_Id: np.ndarray
    usable_I: np.ndarray  # bool; images that the system cannot score have a vector of zeros and are never listed


class System(ABC, Generic[ConfigT]):
    """A recommender. Subclasses say what they are, and write `fit`, `score`, `state` and `restore`."""

    name: ClassVar[str]
    source: ClassVar[str]  # the paper, and the section or equation
    needs: ClassVar[tuple[str, ...]] = ()  # signals of `models.community.SIGNALS` without which it cannot run
    wants: ClassVar[tuple[str, ...]] = ()  # of pixels, features and profiles, which are dear, those it uses if it can
    grid: ClassVar[
        dict[str, tuple[Any, ...]]
    ] = {}  # settings worth tuning and the values to try, the default's included
    Config: ClassVar[type]  # a frozen keyword-only dataclass; its defaults are the paper's

    def __init__(self, config: ConfigT | None = None, seed: int = 0):
        self.config: ConfigT = self.Config() if config is None else config
        self.seed = seed

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        if "name" in vars(cls):
            if cls.name in SYSTEMS and SYSTEMS[cls.name].__module__ != cls.__module__:
                raise ValueError(
                    f"two systems are called {cls.name!r}: {SYSTEMS[cls.name].__module__} and {cls.__module__}"
                )
            SYSTEMS[cls.name] = cls

    def lacking(self, community: Community) -> list[str]:
        """The signals that the system needs and the community lacks."""
        return [signal for signal in self.needs if not community.has(signal)]

    @abstractmethod
    def fit(self, community: Community) -> None:
        """Learn. The same community, settings and seed give the same scores on one machine."""

    @abstractmethod
    def score(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I), higher is better; -inf for images that the system cannot score.

        A user's scores do not depend on who else is asked about.
        """

    @property
    def vectors(self) -> Vectors | None:
        """The fitted system as vectors with one exact inner product; None where it cannot be written so."""
        return None

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """All that scoring needs."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Become the system that gave this state."""


class InnerProduct(System[ConfigT]):
    """A system whose score is one inner product: `fit` sets `fitted`, the rest is here."""

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
    """Vectors in the types that are kept; images that are not usable get a vector of zeros. None: all are usable."""
    usable = np.ones(len(images_Id), bool) if usable_I is None else usable_I
    return Vectors(
        np.ascontiguousarray(users_Ud, np.float32),
        np.ascontiguousarray(np.where(usable[:, None], images_Id, 0), np.float32),
        usable,
    )


def pack_sparse(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """A sparse matrix as entries of a state."""
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
