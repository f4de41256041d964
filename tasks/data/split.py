"""The record of a night's split: favorites to learn from, and those concealed for the test."""

from dataclasses import dataclass

from models.settings.protocols import ProtocolConfig
from storage.refs import Ref
from tasks.settings.concealment import Order


@dataclass(frozen=True)
class Split:
    """The favorites to learn from, those concealed, and how they were chosen."""

    training: Ref
    concealed: Ref
    thresholds: ProtocolConfig  # as set, or lowered to the community's size
    order: Order = "random"  # as set, or random where a time is missing; runs of version 0.1 do not say
