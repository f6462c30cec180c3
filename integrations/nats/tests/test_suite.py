"""The store on NATS JetStream passes the suite on a real server, through relays whose connections are cut."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from mcp_sdk_nats import NatsStore, connect
from nats_servers import remove, shared
from relay import Relay

from mcp_sdk.ports import Store
from mcp_sdk.testing import StoreSuite

pytestmark = pytest.mark.services


class TestNatsStore(StoreSuite):
    """Handles are stores of their own on one mesh, each behind a relay of its own."""

    connected = True

    @pytest.fixture(autouse=True)
    def _servers(self) -> Iterator[None]:
        self.address = shared()
        self.names: dict[Path, str] = {}
        self.relays: dict[int, Relay] = {}
        with ExitStack() as self.stack:
            yield
        remove(f"nats://{self.address[0]}:{self.address[1]}", *self.names.values())

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> NatsStore:
        name = self.names.setdefault(place, f"nats_suite_{uuid.uuid4().hex}")
        relay = self.stack.enter_context(Relay(self.address[1]))
        store = connect(f"nats://127.0.0.1:{relay.port}/{name}")
        self.relays[id(store)] = relay
        return store

    async def cut(self, store: Store) -> None:
        await asyncio.to_thread(self.relays[id(store)].cut)

    def server_clock(self, place: Path) -> NoReturn:
        pytest.skip("nats-server is a Go program: it asks the kernel for the time, and no library sets its clock")
