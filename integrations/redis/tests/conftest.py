"""Servers that the tests of this integration share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis_servers import RedisServer, cluster


@pytest.fixture(scope="session")
def three_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Give the servers of a cluster."""
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start private servers with settings of the test's own."""
    with ExitStack() as stack:

        def start(*settings: str, name: str = "redis") -> RedisServer:
            server = RedisServer(tmp_path / name, *settings)
            stack.callback(server.stop)
            return server

        yield start
