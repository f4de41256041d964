"""Whatever bytes a file holds, it is read or refused in words; longer runs: `make fuzz`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

EXAMPLES = 25  # of each target: a few seconds in all but for the importers
PIECES = (b"", b"\x00", b"\xff", b'"', b"{", b"}", b"[", b"null", b"-1", b"1e999", b"NaN", b"\n", b",", b"\xed\xa0\x80")


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Bytes that were whole, with some of them exchanged, left out or put in; or any bytes at all."""
    data = draw(st.sampled_from([*seeds, b""]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=12)) + data[end:]
    return data


@pytest.mark.filterwarnings("ignore")  # Pillow and polars warn of what they read; a warning is no fault here
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_read_or_refused_in_words(name: str) -> None:
    check, seeds = TARGETS[name]
    for seed in seeds:
        check(seed)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(damaged(seeds))
    def tries(data: bytes) -> None:
        check(data)

    tries()
