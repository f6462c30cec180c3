"""The store on PostgreSQL: the suite that every store passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clocks import ServerClock, server_clock
from mcp_sdk_postgres import PostgresStore, connect
from postgres_servers import PostgresServer
from schemas import Schemas
from services import postgres

from mcp_sdk.ports import Store
from mcp_sdk.testing import StoreSuite


@pytest.mark.services
class TestPostgresStore(StoreSuite):
    """Handles have connections of their own to one schema a place."""

    connected = True

    def setup_method(self) -> None:
        self.schemas = Schemas(postgres())
        self.elsewhere: dict[Path, str] = {}

    def teardown_method(self) -> None:
        self.schemas.close()

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> PostgresStore:
        return connect(self.elsewhere.get(place) or self.schemas.url(place))

    async def cut(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        await asyncio.to_thread(self.schemas.cut, store.name)

    @contextmanager
    def server_clock(self, place: Path) -> Iterator[ServerClock]:
        with server_clock() as clock, PostgresServer(inside=clock.inside) as server:
            self.elsewhere[place] = server.url()
            yield clock
