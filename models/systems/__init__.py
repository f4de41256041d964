"""Every system that can be compared or published: importing its file registers it in `SYSTEMS`."""

from models.systems import (
    borda,
    bpr_factors,
    bpr_mf,
    cdl,
    collaborative_dl,
    dvbpr,
    floor,
    frozen_features,
    implicit_library,
    lightgcn,
    linear,
    pinsage,
    tastegraph,
    visual_similarity,
    wide_deep,
)
from models.systems.base import SYSTEMS, InnerProduct, System, Vectors

__all__ = [
    "SYSTEMS",
    "InnerProduct",
    "System",
    "Vectors",
    "borda",
    "bpr_factors",
    "bpr_mf",
    "cdl",
    "collaborative_dl",
    "dvbpr",
    "floor",
    "frozen_features",
    "implicit_library",
    "lightgcn",
    "linear",
    "pinsage",
    "tastegraph",
    "visual_similarity",
    "wide_deep",
]
