"""Every system of the comparison: importing its file enters it in `SYSTEMS`."""

from models.systems import (
    borda,
    cdl,
    collaborative_dl,
    floor,
    implicit_library,
    lightgcn,
    linear,
    pinsage,
    tastegraph,
    visual_bpr,
    wide_deep,
)
from models.systems.base import SYSTEMS, InnerProduct, System, Vectors

__all__ = [
    "SYSTEMS",
    "InnerProduct",
    "System",
    "Vectors",
    "borda",
    "cdl",
    "collaborative_dl",
    "floor",
    "implicit_library",
    "lightgcn",
    "linear",
    "pinsage",
    "tastegraph",
    "visual_bpr",
    "wide_deep",
]
