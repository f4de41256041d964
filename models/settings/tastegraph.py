"""Settings of `tastegraph`."""

from dataclasses import dataclass
from typing import Literal

from models.settings.weights import WeightsConfig


@dataclass(frozen=True, kw_only=True)
class TasteGraphConfig(WeightsConfig):
    """Settings of the experts, and how their weights are learned."""

    effort: Literal["low", "normal", "high"] = "normal"  # low, normal or high (docs/performance.md)
    leave_out: tuple[str, ...] = ()  # experts to leave out, for ablations; docs/systems.md names them
    ridge_strength: float = 150.0  # λ of the ridge experts, in units of the mean squared entry
    factor_dimensions: int = 128  # of a factorisation
    factor_strength: float = 50.0  # λ of the factorisations, whose α is 10; 8 times as much where it is 100
    coded_dimensions: int = 100  # of the deep coded factors
    tower_dimensions: int = 64  # of the two towers
    tower_steps: int = 0  # of the towers' training; 0: as the effort says
    max_floats: int = 4 * 10**8  # of one dense matrix (1.5 GiB): larger communities get fewer dimensions
    dimensions: int = 0  # of the inner product that approximates the ensemble; 0: exact

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.effort not in ("low", "normal", "high"):
            raise ValueError(f"effort is {self.effort!r}; choose low, normal, high")
        if self.max_floats < 1:
            raise ValueError(f"max_floats is {self.max_floats}: a matrix has at least one entry")
