"""Every system of the comparison: importing its file enters it in `SYSTEMS`."""

from models.systems import floor
from models.systems.base import SYSTEMS, InnerProduct, System, Vectors

__all__ = ["SYSTEMS", "InnerProduct", "System", "Vectors", "floor"]
