from collections.abc import Iterator

import pytest

from tests.storage.servers import Server, moto_server, rclone_server


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with rclone_server(tmp_path_factory.mktemp("rclone") / "buckets") as server:
        yield server
