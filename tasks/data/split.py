"""The record of a night's split: favorites to learn from, and those concealed for the test."""

from dataclasses import dataclass
from typing import Literal

from models.evaluation.protocols import ProtocolConfig
from storage.refs import Ref

Order = Literal["latest", "random"]


@dataclass(frozen=True)
class Split:
    """The favorites to learn from, those concealed, and how they were chosen."""

    training: Ref
    concealed: Ref
    thresholds: ProtocolConfig  # as given, or lowered to the community's size
    order: Order = "random"  # as given, or random for want of times; runs of earlier versions do not tell
