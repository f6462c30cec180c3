"""The store in Redis: the suite that every store passes, against a real server and a real cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from clocks import ServerClock, server_clock
from mcp_sdk_redis import RedisStore, connect
from redis import Redis
from redis_servers import RedisServer, cut, erase
from services import redis

from mcp_sdk.ports import Store
from mcp_sdk.testing.stores import StoreSuite

pytestmark = pytest.mark.services
PREFIX = "mcp_sdk_test"


class TestRedisStore(StoreSuite):
    """Handles are stores of their own on one server; each test has a prefix of its own."""

    connected = True

    @pytest.fixture(autouse=True)
    def server(self) -> Iterator[None]:
        self.url = redis()
        self.elsewhere: dict[Path, str] = {}
        with Redis.from_url(self.url) as self.admin:
            yield
            erase(self.admin, f"{PREFIX}:suite")

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> RedisStore:
        return connect(self.elsewhere.get(place) or f"{self.url}?prefix={PREFIX}:suite:{place.name}")

    async def cut(self, store: Store) -> None:
        cut(self.admin, store.client_name)

    @contextmanager
    def server_clock(self, place: Path) -> Iterator[ServerClock]:
        with server_clock() as clock:
            server = RedisServer(place / "redis", inside=clock.inside)
            try:
                self.elsewhere[place] = server.url
                yield clock
            finally:
                server.stop()


class TestRedisStoreInACluster(StoreSuite):
    """The same on three servers that share the slots: whatever touched two slots would be refused."""

    connected = True

    @pytest.fixture(autouse=True)
    def servers(self, three_servers: list[RedisServer]) -> None:
        self.cluster = three_servers

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> RedisStore:
        return connect(f"redis+cluster://127.0.0.1:{self.cluster[0].port}?prefix={place.name}")

    async def cut(self, store: Store) -> None:
        for server in self.cluster:
            with server.client() as admin:
                cut(admin, store.client_name)

    def server_clock(self, place: Path) -> NoReturn:
        pytest.skip("in a cluster a store is on one shard, and does there what TestRedisStore has it do on one server")
