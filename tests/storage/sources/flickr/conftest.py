from collections.abc import Iterator

import pytest

from tests.storage.sources.flickr.community import make
from tests.storage.sources.flickr.server import Flickr, served


@pytest.fixture
def flickr() -> Iterator[Flickr]:
    """Flickr with a community of its own, as small as can be, for a test that changes it."""
    with served(make(24, 120, addresses=8)) as server:
        yield server
