"""The store on PostgreSQL: the suite that every store passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp_sdk_postgres import PostgresStore, connect
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

    def teardown_method(self) -> None:
        self.schemas.close()

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> PostgresStore:
        return connect(self.schemas.url(place))

    async def cut(self, store: Store) -> None:
        assert isinstance(store, PostgresStore)
        await asyncio.to_thread(self.schemas.cut, store.name)
