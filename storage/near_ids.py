"""The ids that are nearest to one that does not exist, for an error that helps."""

from bisect import bisect_left
from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile

WINDOW = 2000  # ids on each side, in order, that are looked at: 10 ms, of however many ids


class UnknownIdError(ValueError):
    """No user or image has this id; the message names the nearest ids."""

    def __init__(self, what: str, wanted: str, where: str, ids: Sequence[str]) -> None:
        super().__init__(what, wanted, where, ids)
        near = ", ".join(map(repr, nearest(wanted, ids)))
        self.message = f"{what} {wanted!r} has no row in {where}; " + (f"near ones: {near}" if near else "nor has any")

    def __str__(self) -> str:
        return self.message


def nearest(wanted: str, ids: Sequence[str], at_most: int = 3) -> list[str]:
    """The ids that look most like the wanted one, the most alike first; where none does, its neighbours in order.

    Args:
        ids: sorted; an id that differs in case or surrounding space alone is found anywhere, others near its place.
    """
    place, plain = bisect_left(ids, wanted), wanted.strip().casefold()
    same = [found for found in ids if found.strip().casefold() == plain]
    found = list(dict.fromkeys([*same, *alike(wanted, ids, at_most)])) or ids[max(0, place - 1) : place + at_most - 1]
    return list(found[:at_most])


def alike(wanted: str, ids: Sequence[str], at_most: int, window: int = WINDOW) -> list[str]:
    """Of sorted ids the most alike ones, first, among so many on each side of its place; none where none is alike."""
    place = bisect_left(ids, wanted)
    among = ids[max(0, place - window) : place + window]
    found = get_close_matches(wanted, among, len(among) or 1)  # of equals it puts the last one in order first
    ratios = [_ratio(wanted, id_) for id_ in found[:at_most]]
    while ratios and len(ratios) < len(found) and (ratio := _ratio(wanted, found[len(ratios)])) == ratios[-1]:
        ratios.append(ratio)
    equals = sorted(zip(ratios, found, strict=False), key=lambda one: (-one[0], -_same_ends(wanted, one[1]), one[1]))
    return [id_ for _, id_ in equals[:at_most]]


def _ratio(wanted: str, id_: str) -> float:
    return SequenceMatcher(None, id_, wanted).ratio()


def _same_ends(wanted: str, id_: str) -> int:
    """How many letters both begin with, and end with."""
    begins, ends = zip(wanted, id_, strict=False), zip(wanted[::-1], id_[::-1], strict=False)
    return sum(1 for pairs in (begins, ends) for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
